"""Whether a line of a bulk file would change anything, by its listing as it is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from backmarket.bulk.csv_file import comparison

_CARRIER = ("shipper", "shipper_display", "shipping_delay", "shipping_price")
_PLACES = (1, 2, 3)
_CARRIERS = frozenset(f"{name}_{place}" for name in _CARRIER for place in _PLACES)
_IDS = frozenset({"product_id", "backmarket_id"})


def unchanged(row: Mapping[str, str], listing: Mapping[str, Any], *, locale: str) -> bool:
    """Whether a line changes nothing. An empty cell requests nothing; a column that cannot be compared is a change.

    Args:
        row: its cells by column, good ones.
        listing: the columns of the table `listings`, as they are in the market of `locale`.
        locale: the market that the file is meant for.
    """
    cells = {name: cell for name, cell in row.items() if cell and name != "sku"}
    asked = comparison.wanted(cells)
    if not cells.keys() <= asked.keys() | _CARRIERS | _IDS:
        return False
    if any(cells[name].lower() != str(listing[name]).lower() for name in _IDS & cells.keys()):
        return False
    own = [one for one in listing["shippings"] or () if one.get("country_code") == locale]
    return comparison.seen(listing, asked) == asked and all(_carried(cells, own, place) for place in _PLACES)


def _carried(cells: Mapping[str, str], own: Sequence[Mapping[str, Any]], place: int) -> bool:
    """Whether the carrier of a place is what the cells say; the API lists them in the order of their places."""
    asked = {name: cells[f"{name}_{place}"] for name in _CARRIER if f"{name}_{place}" in cells}
    if not asked:
        return True
    if len(own) < place:
        return False
    has = {name: own[place - 1].get(name) for name in asked}
    return all(has[name] is not None and _same(name, asked[name], str(has[name])) for name in asked)


def _same(name: str, asked: str, has: str) -> bool:
    return Decimal(asked) == Decimal(has) if name == "shipping_price" else asked == has
