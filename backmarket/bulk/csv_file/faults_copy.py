"""A copy of a file with the faults of each line in a column of their own, for a person to correct and send again.

Rows, columns, encoding and separator are the file's own, and so is what stands in each cell, also where it looks like a
formula: it is to be sent as it is. A reason never begins like one.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator, Sequence
from typing import BinaryIO, Protocol

from backmarket.bulk.csv_file.column_map import REASONS, column_key
from backmarket.bulk.csv_file.dialect import Dialect, encoder
from backmarket.bulk.csv_file.reader import CsvSource
from backmarket.bulk.csv_file.source import Broken, Record, Source
from backmarket.bulk.csv_file.workbook import WorkbookSource
from backmarket.bulk.csv_file.workbook_writer import WorkbookWriter
from backmarket.errors import InvalidArgument

_MARKS = {
    "utf-8": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}
"""Without one, Excel takes such a file for one in the encoding of its country."""


def write_copy(source: Source, faults: Iterator[tuple[int, str]], into: BinaryIO) -> None:
    """Write the copy.

    Args:
        source: at its beginning.
        faults: the number of each bad line, and what is wrong with it, in the order of the file.
        into: an empty file.

    Raises:
        InvalidArgument: if a broken quote hides the rest of the file.
    """
    if isinstance(source, WorkbookSource):
        with WorkbookWriter(into) as workbook:
            workbook.add_sheet(source.sheet)
            _copy(source, faults, _Sheet(workbook, source.first_column))
    elif isinstance(source, CsvSource):
        _copy(source, faults, _Csv(source.dialect, into))


class _Copy(Protocol):
    def cells(self, row: Record | Broken) -> list[object]:
        """The cells of a row, as they are."""

    def add(self, cells: Sequence[object]) -> None:
        """Add a row."""


def _copy(source: Source, faults: Iterator[tuple[int, str]], copy: _Copy) -> None:
    above, reasons = source.above, _Reasons(faults)
    column: _Column | None = None
    for row in source.rows():
        if isinstance(row, Broken) and row.is_last:
            raise InvalidArgument(f"The file cannot be copied: line {row.line} {row.problem}. {row.expected}.")
        cells = copy.cells(row)
        has_content = any(cell is not None and str(cell).strip() for cell in cells)
        if column is not None:
            reason = reasons.until(row.line)
            cells = column.filled(cells, reason) if has_content or reason else cells
        elif has_content and above:
            above -= 1
        elif has_content:
            column = _Column(cells)
            cells = column.filled(cells, REASONS)
        copy.add(cells)


class _Reasons:
    def __init__(self, faults: Iterator[tuple[int, str]]) -> None:
        self._faults = faults
        self._next = next(faults, None)

    def until(self, line: int) -> str:
        """The reasons up to a line that were not told before."""
        found = []
        while self._next and self._next[0] <= line:
            found.append(self._next[1])
            self._next = next(self._faults, None)
        return " | ".join(found)


class _Column:
    """Where the reasons stand: behind the columns that have names, or where an earlier copy has them."""

    def __init__(self, header: Sequence[object]) -> None:
        names = [column_key(str(cell or "")) for cell in header]
        self._is_there = column_key(REASONS) in names
        self._at = names.index(column_key(REASONS)) if self._is_there else len(_without_trailing(names))

    def filled(self, cells: Sequence[object], text: str) -> list[object]:
        """A row with this text in the column."""
        before = [*cells[: self._at], *[""] * (self._at - len(cells))]
        return [*before, text, *_without_trailing(cells[self._at + self._is_there :])]


def _without_trailing(cells: Sequence[object]) -> Sequence[object]:
    end = len(cells)
    while end and cells[end - 1] in (None, ""):
        end -= 1
    return cells[:end]


class _Csv:
    def __init__(self, dialect: Dialect, into: BinaryIO) -> None:
        into.write(dialect.mark or _MARKS.get(dialect.encoding, b""))
        self._delimiter = dialect.delimiter
        self._encode = encoder(dialect).encode
        self._into = into
        self._writer = csv.writer(
            self, delimiter=dialect.delimiter, quotechar=dialect.quotechar, lineterminator=dialect.line_end
        )

    def cells(self, row: Record | Broken) -> list[object]:
        """The cells; of a line whose quotes are wrong, what stands between its separators."""
        if isinstance(row, Record):
            return [*row.cells]
        return [*row.text.rstrip("\r\n").split(self._delimiter)]

    def add(self, cells: Sequence[object]) -> None:
        self._writer.writerow(cells)

    def write(self, text: str) -> None:
        """Write the text of a row; called by `csv`."""
        self._into.write(self._encode(text))


class _Sheet:
    def __init__(self, workbook: WorkbookWriter, first_column: int) -> None:
        self._workbook = workbook
        self._first_column = first_column

    def cells(self, row: Record | Broken) -> list[object]:
        return [*row.values] if isinstance(row, Record) else []

    def add(self, cells: Sequence[object]) -> None:
        self._workbook.add_row(cells, first_column=self._first_column)
