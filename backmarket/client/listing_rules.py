"""Fields that may be set on a listing, by the published document."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from backmarket.client import field_rules

MIN_WARRANTY_MONTHS = 12
"""Minimum warranty, in months."""
MAX_COMMENT_CHARS = 500
PLACES = (1, 2, 3)
"""Places of a listing's carriers."""


def _publish(value: object) -> int:
    if str(value) != "2":
        raise ValueError("2, which publishes the listing, as no other value is known")
    return 2


UNDOCUMENTED: dict[str, field_rules.Rule] = {"pub_state": _publish}
"""Fields of a single update that the document does not have, and recorded use shows."""


def listing_rules(locale: str) -> dict[str, field_rules.Rule]:
    """Rules of the fields that may be set on a listing in one market, by name, in the document's order.

    Args:
        locale: such as `fr-fr`.
    """
    currency = field_rules.currency_of(locale)
    price = field_rules.amount(currency)
    rules: dict[str, field_rules.Rule] = {
        "price": price,
        "currency": field_rules.choice([currency], "currencies"),
        "min_price": field_rules.nullable(price),
        "quantity": field_rules.whole(0),
        "comment": field_rules.nullable(field_rules.prose(MAX_COMMENT_CHARS)),
        "warranty_delay": field_rules.whole(MIN_WARRANTY_MONTHS),
    }
    of_a_carrier: dict[str, Callable[[object], Any]] = {
        "shipper": field_rules.shipper,
        "shipper_display": field_rules.text(200),
        "shipping_delay": field_rules.whole(0),
        "shipping_price": field_rules.amount(currency, zero=True),
    }
    for place in PLACES:
        rules |= {f"{name}_{place}": field_rules.nullable(rule) for name, rule in of_a_carrier.items()}
    return rules
