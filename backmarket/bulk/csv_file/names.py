"""The names in a file's header: under which each column is sent, and what is wrong with one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from backmarket.bulk.csv_file.column_map import ColumnMap
from backmarket.bulk.csv_file.columns import KNOWN, column_name
from backmarket.bulk.csv_file.header import MATCH, meant


class Names:
    """The columns of a file.

    Attributes:
        sent: the name under which each is sent; None: it is left out.
        titles: the name by which faults call each: the file's own where it was matched to another.

    Args:
        cells: of the header.
        columns: how they are matched.
    """

    def __init__(self, cells: Sequence[str], columns: ColumnMap) -> None:
        self._cells = cells
        self._columns = columns
        self.sent = tuple(None if (field := columns.field(name)) is None else column_name(field) for name in cells)
        self.titles = tuple(
            (" ".join(name.split()) if columns.is_matched(name) else field) or ""
            for name, field in zip(cells, self.sent, strict=True)
        )

    def is_matched(self, at: int) -> bool:
        """Whether a person has matched the column at this place."""
        return self._columns.is_matched(self._cells[at])

    def faults(self, cell_name: Callable[[int], str]) -> Iterator[tuple[int, str, str]]:
        """Each wrong name: its place from 0, what is wrong with it, and what to do.

        Args:
            cell_name: what Excel calls a cell of the header, such as C1.
        """
        for at, name in enumerate(self.sent):
            found = None if name is None else self._fault(at, name, cell_name)
            if found:
                yield at, *found

    def _fault(self, at: int, name: str, cell_name: Callable[[int], str]) -> tuple[str, str] | None:
        if not name:
            return "has no name", "name it in Excel, or delete the column"
        is_matched = self.is_matched(at)
        if name.lower() in ((before or "").lower() for before in self.sent[:at]):
            if is_matched:
                return f"is sent as {name}, as an earlier column is", "leave one of the two out"
            return "is the name of an earlier column, too", "keep one of the two"
        known = None if is_matched else meant(name, KNOWN)
        if known and known not in self.sent:
            return (
                f"is not a name that Back Market knows; did you mean {known}?",
                f"rename cell {cell_name(at)} to {known}, {MATCH}, or delete the column",
            )
        return None
