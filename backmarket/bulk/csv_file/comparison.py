"""Compares the values that a line requests with those of its listing, before and now. Pure.

A listing's members are compared by their meaning: `12` and `12.00` are one price. Only members that can be seen in the
listing are compared; an empty cell requests nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any

from backmarket.client.skus import sku_key

Members = dict[str, Any]
"""Members of a listing that can be compared, as values that JSON can hold."""


class Reading(StrEnum):
    """What reading a listing back says of its line."""

    PROOF = "proof"
    """It is as the line says, and was not before: the file arrived."""
    AGREES = "agrees"
    """It is as the line says, and may have been so before."""
    UNAPPLIED = "unapplied"
    """It is as it was before, and not as the line says."""
    CHANGED = "changed"
    """It is neither as it was nor as the line says: something else changed it."""
    PROOF_CHANGED = "proof_changed"
    """Some of it is as the line says and was not before; something else changed the rest."""
    UNDECIDABLE = "undecidable"
    """It is not as the line says, and what it was is not known."""
    UNREADABLE = "unreadable"
    """It could not be read."""
    UNSEEN = "unseen"
    """The line requests nothing that the listing shows."""


def _amount(value: Any) -> str | None:
    try:
        return None if value in (None, "") else f"{Decimal(str(value)).normalize():f}"
    except InvalidOperation:
        return str(value)


def _whole(value: Any) -> int | str | None:
    text = str(value).strip()
    return None if value in (None, "") else int(text) if text.isascii() and text.isdigit() else text


def _text(value: Any) -> str | None:
    return None if value in (None, "") else str(value).strip()


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else {"true": True, "1": True}.get(str(value).strip().lower(), False)


_SEEN: dict[str, Callable[[Any], Any]] = {
    "price": _amount,
    "min_price": _amount,
    "currency": _text,
    "quantity": _whole,
    "comment": _text,
    "warranty_delay": _whole,
    "grade": _text,
    "state": _whole,
    "new_battery": _flag,
}

OF_A_MARKET = frozenset({"price", "min_price", "currency", "comment", "warranty_delay"})
"""What a listing has in each market; the rest is the same in all of them."""


def wanted(row: Mapping[str, str]) -> Members:
    """The values that a line requests, as far as its listing shows them.

    Args:
        row: its cells by the names of their columns.
    """
    cells = {name.strip().lower(): cell for name, cell in row.items()}
    return {name: read(cells[name]) for name, read in _SEEN.items() if cells.get(name, "").strip()}


def seen(listing: Mapping[str, Any], members: Mapping[str, Any]) -> Members:
    """These members as a listing has them.

    Args:
        listing: as the API shows it.
        members: which.
    """
    return {name: _SEEN[name](listing.get(name)) for name in members}


def is_of(listing: Mapping[str, Any], sku: str) -> bool:
    """Whether a listing is the one of a SKU."""
    return isinstance(listing.get("sku"), str) and sku_key(listing["sku"]) == sku_key(sku)


def compare(asked: Members, prior: Members | None, now: Members | None, *, known: bool = True) -> Reading:
    """What a listing that was read back says of its line.

    Args:
        asked: the values that the line requests.
        prior: what the listing was, as far as that is known; None: it was not there.
        now: what it is; None: it is not there.
        known: False: whether it was there is not known either.
    """
    born = known and prior is None
    if now is None:
        return Reading.UNAPPLIED if born or not known else Reading.CHANGED
    if not asked:
        return Reading.PROOF if born else Reading.UNSEEN
    before = (prior or {}) if known else {}
    right = {name for name, value in asked.items() if now[name] == value}
    proof = bool(right) and (born or any(name in before and before[name] != asked[name] for name in right))
    wrong = asked.keys() - right
    if not wrong or proof:
        return Reading.PROOF_CHANGED if wrong else Reading.PROOF if proof else Reading.AGREES
    if not born and any(name not in before for name in wrong):
        return Reading.UNDECIDABLE
    return Reading.CHANGED if born or any(before[name] != now[name] for name in wrong) else Reading.UNAPPLIED
