"""Writes an Excel workbook row by row, in bounded memory. A text stays a text: Excel calculates none of it."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO, Self

from xlsxwriter import Workbook

_OPTIONS = {
    "constant_memory": True,
    "strings_to_formulas": False,
    "strings_to_numbers": False,
    "strings_to_urls": False,
    "nan_inf_to_errors": True,
}
_FORMATS: Mapping[type, str] = {
    datetime.datetime: "yyyy-mm-dd hh:mm:ss",
    datetime.date: "yyyy-mm-dd",
    datetime.time: "hh:mm:ss",
    datetime.timedelta: "[h]:mm:ss",
}


class WorkbookWriter:
    """A workbook that is being written; closing it completes the file.

    Args:
        into: an empty file, which stays open.
    """

    def __init__(self, into: BinaryIO) -> None:
        self._workbook = Workbook(into, _OPTIONS)
        self._formats = {kind: self._workbook.add_format({"num_format": text}) for kind, text in _FORMATS.items()}
        self._bold = self._workbook.add_format({"bold": True})
        self._as_text = self._workbook.add_format({"num_format": "@"})
        self._sheet: Any = None
        self._row = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._workbook.close()

    def add_sheet(self, name: str, *, widths: Iterable[int] = (), texts: Iterable[int] = (), frozen: int = 0) -> None:
        """Begin a sheet.

        Args:
            name: of the sheet.
            widths: of its columns, in characters.
            texts: columns, from 0, in which Excel takes whatever is typed for text, so that it keeps leading zeros.
            frozen: rows at the top that stay in sight.
        """
        self._sheet, self._row = self._workbook.add_worksheet(name), 0
        of_text = set(texts)
        for at, width in enumerate(widths):
            self._sheet.set_column(at, at, width, self._as_text if at in of_text else None)
        if frozen:
            self._sheet.freeze_panes(frozen, 0)

    def add_row(self, values: Iterable[object], *, first_column: int = 0, bold: bool = False) -> None:
        """Add a row; None and empty texts are empty cells.

        Args:
            values: of its cells: texts, numbers, booleans, dates and times.
            first_column: where the first one stands, from 0.
            bold: written as a heading.
        """
        for column, value in enumerate(values, first_column):
            self._write(column, value, self._bold if bold else None)
        self._row += 1

    def _write(self, column: int, value: object, style: Any) -> None:
        match value:
            case None | "":
                pass
            case str():
                self._sheet.write_string(self._row, column, value, style)
            case bool():
                self._sheet.write_boolean(self._row, column, value, style)
            case datetime.date() | datetime.time() | datetime.timedelta():
                self._sheet.write_datetime(self._row, column, value, self._formats[type(value)])
            case _:
                self._sheet.write_number(self._row, column, value, style)
