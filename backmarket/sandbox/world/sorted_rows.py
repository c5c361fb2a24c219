"""A seller's rows of one kind, and the sorted lists that requests page through.

Each row keeps its JSON as bytes, so a page is a join of bytes. Sorted and filtered lists are cached until a row
changes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, Generic, Protocol, TypeVar

_LISTS_KEPT = 32


class Row(Protocol):
    """What `SortedRows` needs of a row: its id and its JSON."""

    @property
    def id(self) -> Any:
        """Unique among the rows of its kind."""

    @property
    def body(self) -> bytes:
        """The row's JSON."""


R = TypeVar("R", bound=Row)


class SortedRows(Generic[R]):
    """Rows by id; `version` counts the changes."""

    def __init__(self) -> None:
        self._rows: dict[Any, R] = {}
        self._lists: dict[Hashable, list[R]] = {}
        self.version = 0

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[R]:
        return iter(self._rows.values())

    def get(self, row_id: Any) -> R | None:
        """The row with this id, if there is one."""
        return self._rows.get(row_id)

    def put(self, rows: Iterable[R]) -> None:
        """Add rows, or replace those with the same id."""
        self._rows.update((row.id, row) for row in rows)
        self._changed()

    def drop(self, row_id: Any) -> None:
        """Remove a row entirely."""
        self._rows.pop(row_id, None)
        self._changed()

    def listed(
        self,
        key: Hashable,
        *,
        order: Callable[[R], Any],
        descending: bool = False,
        where: Callable[[R], bool] | None = None,
    ) -> list[R]:
        """The rows that pass `where`, sorted.

        Args:
            key: name of this combination of filter and order; the list is cached under it until a row changes.
            order: the sort key.
            descending: whether the greatest is first.
            where: the filter; None: all rows.
        """
        kept = self._lists.get(key)
        if kept is None:
            if len(self._lists) >= _LISTS_KEPT:
                self._lists.pop(next(iter(self._lists)))
            chosen = self._rows.values() if where is None else filter(where, self._rows.values())
            kept = self._lists[key] = sorted(chosen, key=order, reverse=descending)
        return kept

    def _changed(self) -> None:
        self.version += 1
        self._lists.clear()
