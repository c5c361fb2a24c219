"""The choices in forms, in the words that users see."""

from __future__ import annotations

from typing import Any, get_args

from backmarket.queries.orders import OrderLineState

VERBS = {
    OrderLineState.ACCEPTED: "Accept",
    OrderLineState.SHIPPED: "Ship",
    OrderLineState.CANCELLED: "Cancel",
    OrderLineState.REFUNDED_BEFORE_SHIPPING: "Refund before shipping",
    OrderLineState.REFUNDED_AFTER_SHIPPING: "Refund after shipping",
}
"""Names of moving a line to a state."""

RETURN_REASONS = {
    0: "not in stock",
    1: "withdrawn within 14 days",
    11: "wrong address",
    12: "parcel did not arrive",
    13: "parcel lost",
    21: "faulty on arrival",
    22: "failed at first use",
    23: "failed within the warranty",
    24: "not as described",
    25: "other",
}
"""Reasons of a cancellation or a refund (schema `ReturnReason`)."""


ONE_OF = {"orders": "order", "listings": "listing", "deliveries": "delivery", "returns": "return"}
"""The name of one row of each resource."""

FIELD_NAMES = {
    "country_code": "country",
    "date_creation": "time of creation",
    "date_payment": "time of payment",
    "date_shipping": "time of shipping",
    "expected_dispatch_date": "deadline to dispatch",
    "is_backship": "BackShip",
    "orderlines": "lines",
    "paypal_reference": "PayPal reference",
    "psp_reference": "payment reference",
    "shipper_display": "carrier as customers see it",
    "shipper": "carrier",
    "tracking_url": "tracking link",
}
"""Names of an order's fields that people know, where they are not the API's with spaces."""


def choices_of(literal: Any) -> tuple[str, ...]:
    """The values of a `Literal`."""
    return get_args(literal)
