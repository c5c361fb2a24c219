"""What a seller reads whose file has no column `sku`."""

from __future__ import annotations

import codecs
import re

from backmarket.bulk.csv_file.dialect import DELIMITERS
from backmarket.bulk.csv_file.faults import Fault, letter, shown
from backmarket.bulk.csv_file.header import MATCH, is_title, meant
from backmarket.errors import BulkFileRefused

_BINARY = re.compile(rb"%PDF-|\x89PNG|\xff\xd8\xff|GIF8|Rar!\x1a|7z\xbc|\x1f\x8b|.{0,1000}[\x01-\x08]", re.DOTALL)
"""How files that are no text begin."""

_WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

_LOOKED_AT = 4000
"""Characters of a row that are looked at."""

_ROWS_LOOKED_AT = 50


def no_header(sample: bytes, *, is_text: bool) -> BulkFileRefused:
    """The refusal of a CSV file without a header.

    Args:
        sample: its beginning.
        is_text: the caller gave a text, not a file.
    """
    other = is_no_table(sample)
    if other:
        return other
    text = sample.removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace").replace("\0", "")
    row, names = _likely_header(text)
    hint = ""
    if is_text and len(sample) < 300 and b"\n" not in sample:
        hint = "; if this is the path of a file, give it as a pathlib.Path"
    return refused(without_sku(names, row, hint=hint))


def is_no_table(sample: bytes) -> BulkFileRefused | None:
    """The refusal of a file that begins as no CSV file does; None: it may be one."""
    if not sample.strip():
        return empty()
    if sample.removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"<":
        return is_unreadable("is a web page (HTML) or XML, not a list", "open it in Excel, and save it as .xlsx")
    if _BINARY.match(sample) and not sample.startswith(_WIDE_MARKS):
        return is_unreadable("is neither a CSV file nor an Excel workbook", "save the list as .xlsx or as CSV UTF-8")
    return None


def _likely_header(text: str) -> tuple[int, list[str]]:
    """The first row with more cells than a title has, or else the first one with content; its number and its cells."""
    lines = [line[:_LOOKED_AT] for line in text.splitlines()[:_ROWS_LOOKED_AT]]
    if lines and lines[0].lower().startswith("sep="):
        del lines[0]
    rows = [
        (row, max(([cell.strip(" \t\"'") for cell in line.split(each)] for each in DELIMITERS), key=len))
        for row, line in enumerate(lines, 1)
        if line.strip(" \t\"'" + "".join(DELIMITERS))
    ]
    return next(((row, cells) for row, cells in rows if not is_title(cells)), rows[0] if rows else (1, []))


def without_sku(names: list[str], row: int, *, first_column: int = 0, hint: str = "") -> Fault:
    """The fault of a row of column names without a cell `sku`, with the cell that most likely means it.

    Args:
        names: the cells.
        row: as Excel numbers it.
        first_column: of the cells as Excel counts them, from 0.
        hint: is added to what to do.
    """
    for at, name in enumerate(names, first_column):
        if meant(name, ("sku",)) == "sku":
            problem = "is not a name that Back Market knows, and no column is called sku; did you mean sku?"
            expected = f"rename cell {letter(at)}{row} to sku, or {MATCH}"
            return Fault(row, shown(name), None, problem, expected, letter(at))
    expected = "write the names of the columns in the row above the listings, such as sku, price and quantity"
    return Fault(row, None, None, "has no cell that says sku", expected + hint)


def empty() -> BulkFileRefused:
    """The refusal of a file without content."""
    fault = Fault(1, None, None, "is empty", "write the names of the columns here, one of them sku")
    return BulkFileRefused(
        "The file is empty. Write the names of the columns into row 1, one of them sku, and the listings below.",
        [fault],
    )


def is_unreadable(problem: str, expected: str) -> BulkFileRefused:
    """The refusal of a file as a whole."""
    return BulkFileRefused(f"The file {problem}. To send it, {expected}.")


def refused(fault: Fault) -> BulkFileRefused:
    """The refusal for one fault."""
    return BulkFileRefused(f"The column names are not found: {fault}.", [fault])
