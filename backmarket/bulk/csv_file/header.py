"""Where the header of a file is, and which column a name that is not known may mean."""

from __future__ import annotations

import csv
import difflib
import io
import re
import unicodedata
from collections.abc import Collection, Sequence
from functools import lru_cache

TITLE_ROWS = 10
"""Rows that may stand above the header."""

TITLE_CELLS = 2
"""Cells that a row above the header may have, at most: a title, a date."""

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


def find_header(text: str, delimiter: str, quotechar: str) -> tuple[int, list[str]] | None:
    """The first row with a cell `sku`, with at most ten rows of titles above it.

    Returns:
        how many rows with content are above it, and its names in lower case, without spaces round them; None: there
        is no such row.
    """
    above = 0
    try:
        for cells in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quotechar=quotechar):
            names = [cell.strip().lower() for cell in cells]
            if "sku" in names:
                return above, names
            if not any(names):
                continue
            if not is_title(names) or above == TITLE_ROWS:
                return None
            above += 1
    except csv.Error:
        pass
    return None


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
