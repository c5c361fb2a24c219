"""A seller's rows of one kind, and the changes that can happen to them without the client."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import count
from random import Random
from typing import Any, ClassVar, Generic, Literal, TypeVar

from backmarket.sandbox.world.sorted_rows import Row, SortedRows

Where = Literal["newest", "oldest", "anywhere"]
R = TypeVar("R", bound=Row)


class Ids:
    """Ids that are unique across all sellers of a world, rising with gaps."""

    def __init__(self, first: int, rng: Random, gap: int) -> None:
        self._last = first
        self._rng = rng
        self._gap = gap

    def __call__(self) -> int:
        """The next id."""
        self._last += 1 + int(self._rng.random() * self._gap)
        return self._last


class Stock(ABC, Generic[R]):
    """One seller's rows of one kind.

    Args:
        rng: the source of everything that is invented or picked.
    """

    name: ClassVar[str]
    """The control API's name of this kind of row."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.rows: SortedRows[R] = SortedRows()
        self._numbers = count(1)

    @abstractmethod
    def shown(self) -> list[R]:
        """The rows that the list shows, oldest first."""

    @abstractmethod
    def add(self, now: datetime, where: Where) -> R:
        """A new row at the newest or the oldest end of the list."""

    @abstractmethod
    def modify(self, row: R, now: datetime, fields: dict[str, Any], *, silent: bool, market: str = "") -> None:
        """Let a row progress, or set some of its fields; `silent`: its dates stay; `market`: in this one alone."""

    def hide(self, row: R, now: datetime, *, silent: bool) -> None:
        """Take a row off the list without removing it.

        Raises:
            ValueError: if rows of this kind cannot be hidden.
        """
        raise ValueError(f"{self.name} cannot be hidden")

    def remove(self, row: R, market: str = "") -> None:
        """Remove a row as if it had never existed; `market`: in this one alone."""
        self.rows.drop(row.id)

    def pick(self, wanted: int, where: Where) -> list[R]:
        """The given number of rows that the list shows."""
        shown = self.shown()
        wanted = min(wanted, len(shown))
        if where == "anywhere":
            return self.rng.sample(shown, wanted)
        return shown[:wanted] if where == "oldest" else shown[len(shown) - wanted :]

    def truth(self, market: str = "") -> Iterator[bytes]:
        """All rows by id, each as its single-row operation would answer it, in one market where that matters."""
        return (row.body for row in sorted(self.rows, key=_by_id))

    def new_number(self) -> int:
        """A number not returned before."""
        return next(self._numbers)


def _by_id(row: Row) -> Any:
    return row.id


Progress = Callable[[dict[str, Any]], None]
"""Changes a row's body in place."""
