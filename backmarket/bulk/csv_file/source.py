"""A bulk file as rows of cells, from its header on, whatever kind of file it is."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType, TracebackType
from typing import NamedTuple, Self

from backmarket.bulk.csv_file.column_map import BY_NAME, ColumnMap
from backmarket.bulk.csv_file.template import TemplateRows

_SPACES = " \t\r\n\u00a0\u202f\u2007\u2009"
"""What is taken off both ends of a cell."""

_NONE: Mapping[int, tuple[str, str]] = MappingProxyType({})


class Record(NamedTuple):
    """A record that can be told from its neighbours.

    Attributes:
        line: the line of the file where it begins, from 1; of a workbook, the row.
        last: the line where it ends.
        cells: without spaces round them.
        text: all of them in one.
        typed: which cells, from 0, a workbook holds as numbers: how they are written leaves no doubt.
        odd: cells that a workbook holds as something that no listing has: what is wrong, and what to do.
        values: the cells as a workbook holds them; of a CSV file: none.
    """

    line: int
    last: int
    cells: list[str]
    text: str
    typed: frozenset[int] = frozenset()
    odd: Mapping[int, tuple[str, str]] = _NONE
    values: Sequence[object] = ()


class Broken(NamedTuple):
    """A line whose quotes are wrong.

    Attributes:
        line: its number, from 1.
        problem: what is wrong with it.
        expected: what to write instead.
        astray: where it ends is not known, so nothing that follows is sure to be a record.
        text: the line itself; empty: it is too long to be kept.
        is_last: nothing that follows was read.
    """

    line: int
    problem: str
    expected: str
    astray: bool
    text: str = ""
    is_last: bool = False


class Source:
    """A bulk file that is being read, once. Its opener closes it: use it in a `with`.

    Attributes:
        notes: what was passed over or put right, a sentence each; complete once all records are read.
        above, first_column, columns: see below.

    Args:
        columns: under which names its columns are sent.
        above: rows with content above the header.
        hidden_rows: lines at the beginning that Excel does not show as rows.
        first_column: of the cells as Excel counts them, from 0; a workbook's may begin further right.
    """

    def __init__(
        self, columns: ColumnMap = BY_NAME, *, above: int = 0, hidden_rows: int = 0, first_column: int = 0
    ) -> None:
        self.notes: list[str] = []
        self.columns = columns
        self.above = above
        self.first_column = first_column
        self._above = above
        self._row = -hidden_rows
        self._hidden = hidden_rows
        self._begins, self._shifts = array("Q", [0]), array("q", [hidden_rows])
        self._template: TemplateRows | None = None
        self._titles: list[int] = []
        self._explained: list[int] = []
        self._trimmed = 0
        self._first_trimmed = 0
        self._header_row = 0
        self._given = self._shaped()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def written(self) -> str:
        """How the file is written, in words."""
        raise NotImplementedError

    @property
    def encoding(self) -> str:
        """The name of its encoding."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the file, unless the caller had opened it."""

    def records(self) -> Iterator[Record | Broken]:
        """The records from where the last call stopped, the header being the first one. Empty rows are passed over."""
        return self._given

    def row_of(self, line: int) -> int:
        """The row, as Excel numbers it, that begins at a line that was read."""
        return max(1, line - self._shifts[bisect_right(self._begins, line) - 1])

    def rows(self) -> Iterator[Record | Broken]:
        """Every row as it is there, the empty ones and those above the header, too. Read these or `records`."""
        raise NotImplementedError

    def _shaped(self) -> Iterator[Record | Broken]:
        for row in self.rows():
            each = row
            self._row += 1
            if each.line - self._row != self._shifts[-1]:
                self._begins.append(each.line)
                self._shifts.append(each.line - self._row)
            if isinstance(each, Record):
                if not each.text or each.text.isspace():
                    continue
                each = self._trim(each)
            if self._above:
                self._above -= 1
                self._titles += [self._row] if self._row > 0 else []
            elif self._template is None:
                cells = each.cells if isinstance(each, Record) else []
                self._template = TemplateRows(self.columns.keys(cells))
                self._header_row = self._row
                yield each
            elif isinstance(each, Record) and self._template.explains(each.cells):
                self._explained.append(self._row)
            else:
                yield each
        self._tell()

    def _trim(self, record: Record) -> Record:
        cells = [cell.strip(_SPACES) for cell in record.cells]
        if cells == record.cells:
            return record
        if self._template is not None:
            self._trimmed += 1
            self._first_trimmed = self._first_trimmed or self._row
        return record._replace(cells=cells, text="".join(cells))

    def _tell(self) -> None:
        if self._titles:
            self.notes.append(f"{_rows_named(self._titles)} above the column names: left out.")
        if self._explained:
            self.notes.append(f"{_rows_named(self._explained)} of Back Market's template, explaining it: left out.")
        if self._trimmed:
            rows = "1 row" if self._trimmed == 1 else f"{self._trimmed} rows"
            self.notes.append(
                f"Spaces at the beginning or end of cells were taken off in {rows}, first in row {self._first_trimmed}."
            )


def _rows_named(rows: list[int]) -> str:
    return f"Row {rows[0]}" if len(rows) == 1 else f"Rows {rows[0]} to {rows[-1]}"
