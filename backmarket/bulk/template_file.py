"""The file to fill in: an Excel workbook with the seller's own listings, as the latest sync has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from itertools import islice
from typing import BinaryIO

from backmarket.bulk.csv_file.column_map import PRODUCT
from backmarket.bulk.csv_file.columns import Column, columns_for, conflicts, needed_currency
from backmarket.bulk.csv_file.workbook_guard import ROWS_LIMIT
from backmarket.bulk.csv_file.workbook_writer import WorkbookWriter
from backmarket.errors import TooLarge
from backmarket.queries.listings import Listing

WIDTHS = {
    "sku": 26,
    PRODUCT: 44,
    "price": 11,
    "currency": 9,
    "min_price": 11,
    "quantity": 9,
    "grade": 12,
    "warranty_delay": 14,
    "new_battery": 12,
    "comment": 60,
}
"""The template's columns, each with its width in characters: what a sync stores of a listing and a file may set."""

_MEANINGS = {
    "sku": "Your own name for the listing. Needed in each row.",
    PRODUCT: "What Back Market calls the product. For you to read; it is never sent.",
    "price": "The selling price in the market of the connection.",
    "currency": "The currency of the prices.",
    "min_price": "The lowest price that automatic pricing may set.",
    "quantity": "Number of pieces on sale.",
    "grade": "The condition.",
    "warranty_delay": "Months of warranty.",
    "new_battery": "Whether the battery is new.",
    "comment": "Your text about the item.",
}


def write_template(listings: Iterable[Listing], into: BinaryIO, *, locale: str) -> int:
    """Write the template, with a second sheet that says what each column may hold.

    Args:
        listings: those that it is filled with; one without a SKU is left out.
        into: an empty file.
        locale: the market of the listings' prices and texts.

    Returns:
        The number of listings.

    Raises:
        TooLarge: if they are more than a workbook may have when it is sent.
        InvalidArgument: if the locale does not exist.
    """
    known, needed, names = columns_for(locale), needed_currency(locale), list(WIDTHS)
    with WorkbookWriter(into) as workbook:
        workbook.add_sheet("Listings", widths=WIDTHS.values(), texts=[names.index("sku")], frozen=1)
        workbook.add_row(names, bold=True)
        rows = (_row(each, names, known, needed) for each in listings if each.sku)
        count = 0
        for row in islice(rows, ROWS_LIMIT - 1):
            workbook.add_row(row)
            count += 1
        if next(rows, None) is not None:
            raise TooLarge(
                f"The listings are more than the {ROWS_LIMIT - 1} that a workbook may have."
                " Export them as CSV (`iter_listings`, `backmarket listings export`)."
            )
        workbook.add_sheet("What to write", widths=(18, 60, 90))
        workbook.add_row(("Column", "Meaning", "What to write"), bold=True)
        for name in names:
            workbook.add_row((name, _MEANINGS[name], known[name].expected if name in known else ""))
        workbook.add_row(())
        workbook.add_row(("", "An empty cell leaves what it stands for as it is."))
    return count


def _row(listing: Listing, names: Iterable[str], known: Mapping[str, Column], needed: str | None) -> list[object]:
    """A listing's cells; what could not be sent back as it is stays empty."""
    values = {name: getattr(listing, "title" if name == PRODUCT else name) for name in names}
    texts = {name: _text(value) for name, value in values.items()}
    for name, text in texts.items():
        if name != "sku" and name in known and text and not known[name].accepts(text):
            texts[name] = ""
    for name, *_ in [*conflicts(texts, needed)]:
        texts |= {"price": "", "min_price": ""} if name == "currency" else {name: ""}
    return [_cell(value, texts[name]) for name, value in values.items()]


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else f"{value:f}" if isinstance(value, Decimal) else str(value)


def _cell(value: object, text: str) -> object:
    if not text or isinstance(value, bool | int):
        return value if text else None
    return float(text) if isinstance(value, Decimal) else text
