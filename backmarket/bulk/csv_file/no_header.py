"""What a seller reads whose file has no column `sku`."""

from __future__ import annotations

import codecs
import re

from backmarket.bulk.csv_file.dialect import DELIMITERS
from backmarket.bulk.csv_file.faults import Fault, letter, shown
from backmarket.bulk.csv_file.header import meant
from backmarket.errors import BulkFileRefused

_LOOKED_AT = 4000
"""Characters of the first row that are looked at."""


def no_header(sample: bytes, *, is_text: bool) -> BulkFileRefused:
    """The refusal of a CSV file without a header.

    Args:
        sample: its beginning.
        is_text: the caller gave a text, not a file.
    """
    if not sample.strip():
        return refused(Fault(1, None, None, "is empty", "the first row names the columns, one of them sku"))
    text = sample.removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace").replace("\0", "")
    first = next((line for line in text.splitlines() if line.strip()), "")[:_LOOKED_AT]
    names = max((re.split(re.escape(each), first) for each in DELIMITERS), key=len)
    hint = ""
    if is_text and len(sample) < 300 and b"\n" not in sample:
        hint = "; if this is the path of a file, give it as a pathlib.Path"
    return refused(without_sku([name.strip(" \t\"'") for name in names], hint))


def without_sku(names: list[str], hint: str = "") -> Fault:
    """The fault of a first row that has no cell `sku`, with the cell that most likely means it."""
    for at, name in enumerate(names):
        if meant(name, ("sku",)) == "sku":
            problem = "is not a name that Back Market knows, and no column is called sku; did you mean sku?"
            return Fault(1, shown(name), None, problem, f"rename cell {letter(at)}1 to sku", letter(at))
    known = " ".join("tab" if each == "\t" else each for each in DELIMITERS)
    expected = f"name the columns in the first row, one of them sku; in CSV, between them one of: {known}"
    return Fault(1, None, None, "has no column sku", expected + hint)


def refused(fault: Fault) -> BulkFileRefused:
    """The refusal for one fault."""
    return BulkFileRefused(f"The file has no header: {fault}.", [fault])
