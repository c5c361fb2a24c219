"""Where the header of a file is, and which column a name that is not known may mean."""

from __future__ import annotations

import csv
import difflib
import io
import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import islice

from backmarket.bulk.csv_file.column_map import BY_NAME, ColumnMap

TITLE_ROWS = 10
"""Rows that may stand above the header."""

TITLE_CELLS = 2
"""Cells that a row above the header may have, at most: a title, a date."""

MATCH = 'match it ("sent as" in the console, --column)'
"""What else to do about a column's name than to change it in the file."""

_MEANT = {
    "sku": "seller sku|sku seller|item sku|reference|ref|ref vendeur|artikelnummer|artikelnr|codice|referencia|my sku",
    "quantity": "stock|qty|quantite|qte|menge|anzahl|bestand|quantita|giacenza|cantidad|stock quantity|units",
    "price": "prix|preis|prezzo|precio|selling price|prix de vente|verkaufspreis|prezzo di vendita|unit price|amount",
    "min_price": "prix min|prix minimum|mindestpreis|prezzo minimo|precio minimo|minimum price|lowest price",
    "max_price": "prix max|prix maximum|hochstpreis|prezzo massimo|precio maximo|maximum price",
    "grade": "etat|zustand|condition|stato|grado|estado|aesthetic grade",
    "currency": "devise|wahrung|waehrung|valuta|moneda|divisa",
    "comment": "commentaire|kommentar|commento|comentario|description|beschreibung",
    "warranty_delay": "garantie|garanzia|garantia|warranty|warranty months",
    "new_battery": "batterie neuve|neue batterie|neuer akku|batteria nuova|bateria nueva",
    "ean": "gtin|ean13|ean code|barcode|code barre|code barres",
    "product_id": "product uuid|bm product id|back market product id",
}
_BY_NAME = {name: known for known, names in _MEANT.items() for name in names.split("|")}

_OLDER = frozenset(
    {"snowden", "noisy_camera", "images", "title", "min_quantity", "max_quantity"}
    | {f"shipper_delay_{place}" for place in (1, 2, 3)}
)
"""Names in use that resemble others."""


_CONTROL = re.compile("[\0-\x08\x0e-\x1f]")
"""What no text has."""


def find_header(
    text: str, delimiter: str, quotechar: str, columns: ColumnMap = BY_NAME
) -> tuple[int, list[str]] | None:
    """The first row with a cell `sku`, or one that is matched to it, with at most ten rows of titles above it.

    Returns:
        how many rows with content are above it, and its names as they are sent, in lower case; None: there is no such
        row.
    """
    for above, cells in enumerate(_rows_with_content(text, delimiter, quotechar)):
        names = columns.keys(cells)
        if "sku" in names:
            return above, names
        if not is_title(cells) or above == TITLE_ROWS:
            break
    return None


def likely_header(text: str, delimiter: str, quotechar: str) -> tuple[int, list[str]] | None:
    """The row that most likely names the columns of a file in which none is called `sku`: the first one with more
    cells than a title, or else the widest one.

    Returns:
        as `find_header`; None: the text is no table.
    """
    if _CONTROL.search(text):
        return None
    rows = list(islice(_rows_with_content(text, delimiter, quotechar), TITLE_ROWS + 1))
    if not rows:
        return None
    above = most_likely(rows)
    return above, rows[above]


def most_likely(rows: Sequence[Sequence[str]]) -> int:
    """Which of the first rows with content most likely names the columns."""
    wide = (at for at, cells in enumerate(rows) if not is_title(cells))
    return next(wide, max(range(len(rows)), key=lambda at: sum(map(bool, rows[at]))))


def _rows_with_content(text: str, delimiter: str, quotechar: str) -> Iterator[list[str]]:
    """The rows that have any, with cells without spaces round them, up to one that is no CSV."""
    with suppress(csv.Error):
        for cells in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quotechar=quotechar):
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                yield stripped


def is_title(cells: Sequence[str]) -> bool:
    """Whether a row may stand above a header."""
    return sum(map(bool, cells)) <= TITLE_CELLS


def meant(name: str, known: Collection[str]) -> str | None:
    """The known column that a name most likely means; None: none comes near."""
    if name.lower() in _OLDER or name.lower() in known:
        return None
    return _meant(_plain(name), tuple(sorted(known)))


@lru_cache(maxsize=512)
def _meant(plain: str, known: tuple[str, ...]) -> str | None:
    names = {_plain(each): each for each in known}
    if plain in names or plain in _BY_NAME:
        return names.get(plain) or _BY_NAME[plain]
    near = difflib.get_close_matches(plain, names, 1, 0.85) if 4 <= len(plain) <= 40 else []
    return names[near[0]] if near else None


def _plain(name: str) -> str:
    """A name without case, accents and signs."""
    letters = unicodedata.normalize("NFKD", name.lower())
    return re.sub(r"[^0-9a-z]+", " ", "".join(each for each in letters if not unicodedata.combining(each))).strip()
