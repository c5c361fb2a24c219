"""What a seller has of one kind of row, and what can happen to it behind a client's back."""

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
    """The rows of one kind that one seller has.

    Args:
        rng: whatever is invented or picked is drawn from it.
    """

    name: ClassVar[str]
    """What the control API calls this kind of row."""

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
    def modify(self, row: R, now: datetime, fields: dict[str, Any], *, silent: bool) -> None:
        """Let a row go on in its life, or set some of its fields; `silent`: without a trace in its dates."""

    def hide(self, row: R, now: datetime, *, silent: bool) -> None:
        """Take a row off the list without removing it.

        Raises:
            ValueError: rows of this kind can't be hidden.
        """
        raise ValueError(f"{self.name} can't be hidden")

    def remove(self, row: R) -> None:
        """Remove a row as if it had never been."""
        self.rows.drop(row.id)

    def pick(self, wanted: int, where: Where) -> list[R]:
        """So many of the rows that the list shows."""
        shown = self.shown()
        wanted = min(wanted, len(shown))
        if where == "anywhere":
            return self.rng.sample(shown, wanted)
        return shown[:wanted] if where == "oldest" else shown[len(shown) - wanted :]

    def truth(self) -> Iterator[bytes]:
        """Every row as the operation for a single one would answer it, by id."""
        return (row.body for row in sorted(self.rows, key=_by_id))

    def new_number(self) -> int:
        """A number not given before."""
        return next(self._numbers)


def _by_id(row: Row) -> Any:
    return row.id


Progress = Callable[[dict[str, Any]], None]
"""Changes a row's body in place."""
