"""An Excel workbook (.xlsx) as rows of cells: bounded before it is read, formulas by their values."""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Iterator
from tempfile import NamedTemporaryFile, TemporaryFile
from typing import Any, BinaryIO, cast

from python_calamine import CalamineError, CalamineWorkbook, SheetTypeEnum, SheetVisibleEnum

from backmarket.bulk.csv_file.column_map import BY_NAME, ColumnMap
from backmarket.bulk.csv_file.excel import AS_TEXT
from backmarket.bulk.csv_file.faults import Fault
from backmarket.bulk.csv_file.header import TITLE_ROWS, is_title, most_likely
from backmarket.bulk.csv_file.no_header import empty, is_unreadable, refused, without_sku
from backmarket.bulk.csv_file.source import Broken, Record, Source
from backmarket.bulk.csv_file.workbook_guard import DAMAGED, SAVE_AGAIN, copy_checked

_ZIP = b"PK\x03\x04"
_OLD_EXCEL = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"

EXACT_DIGITS = 15
"""Digits of a number that Excel keeps."""

_DATE = ("is a date to Excel", AS_TEXT.replace("the SKU", "it"))
_LONG = (f"is a number of more than {EXACT_DIGITS} digits, of which Excel keeps {EXACT_DIGITS}", _DATE[1])


class WorkbookSource(Source):
    """A sheet of a workbook that is being read, once.

    Attributes:
        sheet: its name.

    Args:
        name: of the sheet.
        rows: its cells, from its first row on.
        columns: under which names its columns are sent.
        above: rows with content above the header.
        first_column: that has a cell, from 0.
    """

    def __init__(
        self, name: str, rows: Iterator[list[Any]], columns: ColumnMap, *, above: int, first_column: int
    ) -> None:
        super().__init__(columns, above=above, first_column=first_column)
        self.sheet = name
        self._cells = rows

    @property
    def written(self) -> str:
        """How the file is written, in words."""
        return f"Excel workbook, sheet {self.sheet!r}"

    @property
    def encoding(self) -> str:
        """That of its texts."""
        return "utf-8"

    def rows(self) -> Iterator[Record | Broken]:
        """Every row of the sheet."""
        for row, values in enumerate(self._cells, 1):
            yield _record(row, values)


def is_spreadsheet(sample: bytes) -> bool:
    """Whether a file begins as a zip file or an old Excel file does, whatever its name."""
    return sample.startswith((_ZIP, _OLD_EXCEL))


def open_workbook(
    sample: bytes, rest: BinaryIO, columns: ColumnMap = BY_NAME, *, any_header: bool = False
) -> WorkbookSource:
    """Read the first visible sheet that has a column `sku`.

    Args:
        sample: the beginning of the file.
        rest: what follows it.
        columns: under which names its columns are sent.
        any_header: where no sheet has such a column, read the first one with content.

    Raises:
        BulkFileRefused: if it is no .xlsx, is too large, or has no such sheet; the reason says what to do in Excel.
    """
    if sample.startswith(_OLD_EXCEL):
        raise is_unreadable("is an old Excel file (.xls), or has a password", "save it as .xlsx without a password")
    with cast(BinaryIO, TemporaryFile()) as file, NamedTemporaryFile(suffix=".xlsx") as checked:
        file.write(sample)
        shutil.copyfileobj(rest, file)
        copy_checked(file, cast(BinaryIO, checked))
        checked.flush()
        try:
            with CalamineWorkbook.from_path(checked.name) as workbook:
                return _first_listing_sheet(workbook, columns, any_header=any_header)
        except (CalamineError, OSError, ValueError) as error:
            raise is_unreadable(DAMAGED, SAVE_AGAIN) from error


def _first_listing_sheet(workbook: CalamineWorkbook, columns: ColumnMap, *, any_header: bool) -> WorkbookSource:
    fault: Fault | None = None
    likely: WorkbookSource | None = None
    for sheet in workbook.sheets_metadata:
        if sheet.typ != SheetTypeEnum.WorkSheet or sheet.visible != SheetVisibleEnum.Visible:
            continue
        found = workbook.get_sheet_by_name(sheet.name)
        header = _header(found.iter_rows(), columns)
        if header is None:
            continue
        row, names, above = header
        column = found.start[1] if found.start else 0
        source = WorkbookSource(sheet.name, found.iter_rows(), columns, above=above, first_column=column)
        if "sku" in columns.keys(names):
            return source
        fault = fault or without_sku([name.lower() for name in names], row, first_column=column)
        likely = likely or source
    if likely and any_header:
        return likely
    raise refused(fault) if fault else empty()


def _header(rows: Iterator[list[Any]], columns: ColumnMap) -> tuple[int, list[str], int] | None:
    """The first row that has a cell `sku`, or else the one that most likely names the columns: its number, its names,
    and how many titles are above it; None: all rows are empty.
    """
    looked_at: list[tuple[int, list[str]]] = []
    for row, values in enumerate(rows, 1):
        names = [_text(value).strip() for value in values]
        if not any(names):
            continue
        looked_at.append((row, names))
        if "sku" in columns.keys(names):
            return row, names, len(looked_at) - 1
        if not is_title(names) or len(looked_at) > TITLE_ROWS:
            break
    if not looked_at:
        return None
    above = most_likely([names for _, names in looked_at])
    return *looked_at[above], above


def _record(row: int, values: list[Any]) -> Record:
    cells, typed, odd = [], [], {}
    for at, value in enumerate(values):
        text = _text(value)
        cells.append(text)
        if isinstance(value, str | bool):
            continue
        if isinstance(value, int | float):
            typed.append(at)
            if abs(value) >= 10**EXACT_DIGITS:
                odd[at] = _LONG
        else:
            odd[at] = _DATE
    return Record(row, row, cells, "".join(cells), frozenset(typed), odd, values)


def _text(value: Any) -> str:
    """A cell as a listing has it: numbers without `.0`, and not more exact than Excel shows them."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else _fraction(value)
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        value = value.date()
    return str(value)


def _fraction(value: float) -> str:
    text = f"{value:.{EXACT_DIGITS}g}"
    return f"{value:.20f}".rstrip("0") if "e" in text else text
