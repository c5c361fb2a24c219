"""The fields that a single update or a row of a bulk file may set on a listing, and the errors of the others."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from backmarket.sandbox.world.listing_stock import GRADES
from backmarket.sandbox.world.people import MARKETS

_PRICE: Final = re.compile(r"\d{1,9}(\.\d{1,2})?")
_HOME_CURRENCY: Final = {"en-us": "USD", "ja-jp": None, "en-au": None}
"""Currency of a price that names none, by the account's own market; EUR in Europe."""


def price(value: object) -> str:
    """An amount as a decimal text with two digits; numbers are accepted, as in the document."""
    text = f"{value:.2f}" if isinstance(value, float) else str(value)
    if isinstance(value, bool) or not _PRICE.fullmatch(text):
        raise ValueError("must be an amount such as 160.99")
    whole, _, cents = text.partition(".")
    return f"{int(whole)}.{cents:0<2}"


def whole(least: int) -> Callable[[object], int]:
    """A reader of whole numbers, given as numbers or text."""

    def read(value: object) -> int:
        text = str(value)
        if isinstance(value, bool) or not (text.isascii() and text.isdigit()) or int(text) < least:
            raise ValueError(f"must be a whole number from {least}")
        return int(text)

    return read


def text(longest: int) -> Callable[[object], str]:
    """A reader of texts."""

    def read(value: object) -> str:
        if not isinstance(value, str) or len(value) > longest:
            raise ValueError(f"must be a text of at most {longest} characters")
        return value

    return read


def _nullable(read: Callable[[object], Any]) -> Callable[[object], Any]:
    return lambda value: None if value is None else read(value)


SINGLE: Final[dict[str, Callable[[object], Any]]] = {
    "price": price,
    "min_price": _nullable(price),
    "currency": text(3),
    "comment": _nullable(text(500)),
    "warranty_delay": whole(12),
    "quantity": whole(0),
    "pub_state": whole(0),
}
"""`POST /ws/listings/{listingId}`: the fields other than those of shippers."""

for _number in (1, 2, 3):
    SINGLE[f"shipper_{_number}"] = _nullable(text(200))
    SINGLE[f"shipper_display_{_number}"] = _nullable(text(200))
    SINGLE[f"shipping_delay_{_number}"] = _nullable(whole(0))
    SINGLE[f"shipping_price_{_number}"] = _nullable(price)


def fields_of(given: dict[str, Any], market: str, home: str) -> dict[str, Any]:
    """The known fields of an update, checked; unknown ones are ignored.

    Args:
        given: names and values as received.
        market: the market that prices apply to.
        home: the account's own market, which decides the currency of a price that names none.

    Raises:
        ValueError: if a field is invalid; the text names it.
    """
    fields: dict[str, Any] = {}
    for name, read in SINGLE.items():
        if name in given:
            try:
                fields[name] = read(given[name])
            except ValueError as error:
                raise ValueError(f"{name} {error}") from None
    if "price" in fields or "currency" in fields:
        _check_currency(fields.get("currency", _HOME_CURRENCY.get(home, "EUR")), market)
    return fields


def _check_currency(currency: str | None, market: str) -> None:
    if currency != MARKETS[market].currency:
        raise ValueError(f"currency must be {MARKETS[market].currency}, the currency of the market {market}")


def fields_of_row(row: dict[str, str], market: str, home: str, *, new: bool) -> dict[str, Any]:
    """The fields of a row of a bulk file; an empty cell leaves its field as it is.

    Raises:
        ValueError: if a field is invalid, or a new listing lacks a required one.
    """
    given = {name: value for name, value in row.items() if value != "" and name != "sku"}
    if new:
        if not (given.get("product_id") or given.get("ean")):
            raise ValueError("product_id or ean is required for a new listing")
        missing = [name for name in ("price", "quantity") if name not in given]
        if missing:
            raise ValueError(f"{missing[0]} is required for a new listing")
    fields = fields_of({name: value for name, value in given.items() if name != "pub_state"}, market, home)
    grade = given.get("grade")
    if grade is not None:
        if grade not in GRADES:
            raise ValueError("grade is unknown")
        fields |= {"grade": grade, "state": GRADES[grade]}
    if "new_battery" in given:
        fields["new_battery"] = given["new_battery"].lower() == "true"
    return fields


def split_shippers(fields: dict[str, Any], market: str, shippings: list[dict[str, Any]]) -> list[str]:
    """Convert `shipper_1` and similar fields into `shippings` of a market.

    Args:
        fields: the fields of an update; shipper fields, if any, are replaced by `shippings`.
        market: the market that they apply to.
        shippings: the listing's current ones.

    Returns:
        A message for each, as the API's `shippings_response`.
    """
    others = [one for one in shippings if one["country_code"] != market]
    own = [one for one in shippings if one["country_code"] == market]
    messages = []
    for number in (1, 2, 3):
        part = {
            name: fields.pop(f"{name}_{number}")
            for name in ("shipper", "shipper_display", "shipping_delay", "shipping_price")
            if f"{name}_{number}" in fields
        }
        if not part:
            continue
        own += [{}] * (number - len(own))
        own[number - 1] = own[number - 1] | part | {"country_code": market}
        messages.append(f"Shipping method {number} ({part.get('shipper')}) updated")
    if messages:
        fields["shippings"] = others + [_whole_shipping(one) for one in own if one.get("shipper")]
    return messages


def _whole_shipping(one: dict[str, Any]) -> dict[str, Any]:
    empty = {"shipper_display": one["shipper"], "shipping_delay": 48, "shipping_price": "0.00"}
    return empty | {name: value for name, value in one.items() if value is not None}
