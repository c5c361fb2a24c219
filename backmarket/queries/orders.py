"""Stored orders and their lines: typed, filtered, newest first."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import IntEnum
from typing import Any

from backmarket.queries.pagination import Stored, created_within, enum_or_value
from backmarket.queries.skus import has_sku
from backmarket.resources.signed_links import expires_at


class OrderState(IntEnum):
    """States of an order (schema `OrderState`)."""

    NEW = 0
    PAID = 1
    TO_BE_SHIPPED = 3
    NOT_PAID = 8
    PROCESSED = 9
    PENDING_PAYMENT = 10


class OrderLineState(IntEnum):
    """States of an order line (schema `OrderLineState`)."""

    NEW = 0
    PAID = 1
    ACCEPTED = 2
    SHIPPED = 3
    CANCELLED = 4
    REFUNDED_BEFORE_SHIPPING = 5
    REFUNDED_AFTER_SHIPPING = 6
    NOT_PAID = 7
    PENDING_PAYMENT = 8
    ON_HOLD = 9


NEXT_STATES: dict[int, frozenset[int]] = {1: frozenset({2, 4}), 2: frozenset({3, 5}), 3: frozenset({6})}
"""States to which a seller may move a line of each state (schema `OrderLineState`); all others are final."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order as the API last showed it. Its `repr` shows no personal data."""

    organization_id: str
    order_id: int
    state: OrderState | int | None
    country_code: str | None
    date_creation: datetime | None
    date_modification: datetime | None
    date_shipping: datetime | None
    date_payment: datetime | None
    expected_dispatch_date: datetime | None
    tracking_number: str | None = field(repr=False)
    tracking_url: str | None = field(repr=False)
    shipper_display: str | None
    is_backship: bool | None
    delivery_note: str | None = field(repr=False)
    price: Decimal | None
    shipping_price: Decimal | None
    currency: str | None
    payment_method: str | None
    sales_taxes: Decimal | None
    shipping_address: dict[str, Any] | None = field(repr=False)
    billing_address: dict[str, Any] | None = field(repr=False)
    shipper: str | None
    psp_reference: str | None = field(repr=False)
    paypal_reference: str | None = field(repr=False)
    invoice_uploaded_at: datetime | None
    raw: dict[str, Any] = field(repr=False)
    first_seen_at: datetime
    last_synced_at: datetime
    removed_at: datetime | None
    erased_at: datetime | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", enum_or_value(OrderState, self.state))

    @property
    def delivery_note_expires_at(self) -> datetime | None:
        """When the link to the delivery note expires; None: it does not say. `fetch_order` gets a fresh one."""
        return expires_at(self.delivery_note)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderLine:
    """A line of an order as the API last showed it."""

    organization_id: str
    orderline_id: int
    order_id: int
    state: OrderLineState | int | None
    date_creation: datetime | None
    price: Decimal | None
    shipping_price: Decimal | None
    shipping_delay: int | None
    currency: str | None
    return_reason: int | None
    return_message: str | None = field(repr=False)
    listing: str | None
    listing_id: int | None
    orderline_fee: Decimal | None
    product: str | None
    quantity: int | None
    brand: str | None
    product_id: int | None
    backcare: bool | None
    backcare_price: int | None
    sales_taxes: Decimal | None
    imei: str | None = field(repr=False)
    serial_number: str | None = field(repr=False)
    condition: int | None
    shipper: str | None
    raw: dict[str, Any] = field(repr=False)
    first_seen_at: datetime
    last_synced_at: datetime
    removed_at: datetime | None
    erased_at: datetime | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", enum_or_value(OrderLineState, self.state))

    @property
    def next_states(self) -> tuple[OrderLineState, ...]:
        """States to which `update_order` may move it, by the document."""
        return tuple(OrderLineState(each) for each in sorted(NEXT_STATES.get(self.state or 0, ())))


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """Which orders; None does not restrict. Times without an offset count as UTC.

    Args:
        state: an order state, known or not.
        country_code: such as `fr-fr`.
        created_after: created then or later.
        created_before: created earlier.
        modified_after: modified then or later.
        sku: with a line of this SKU, ignoring case.
        tracking_number: of its parcel, in exact spelling.
    """

    state: int | None = None
    country_code: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    modified_after: datetime | None = None
    sku: str | None = None
    tracking_number: str | None = None


@dataclass(frozen=True, slots=True)
class OrderLineFilter:
    """Which order lines; None does not restrict.

    Args:
        order_id: of this order.
        state: an order line state, known or not.
        sku: the listing's SKU, ignoring case.
    """

    order_id: int | None = None
    state: int | None = None
    sku: str | None = None


_OF_SKU = has_sku("orderlines", "listing")

STORED_ORDERS = Stored(
    "orders",
    Order,
    "order_id",
    "newest",
    {
        "state": "orders.state = %(state)s",
        "country_code": "orders.country_code = %(country_code)s",
        **created_within("orders"),
        "modified_after": "orders.date_modification >= %(modified_after)s",
        "sku": "EXISTS (SELECT FROM backmarket.orderlines WHERE orderlines.organization_id = orders.organization_id"
        f" AND orderlines.order_id = orders.order_id AND orderlines.removed_at IS NULL AND {_OF_SKU})",
        "tracking_number": "orders.tracking_number = %(tracking_number)s",
    },
)
STORED_ORDERLINES = Stored(
    "orderlines",
    OrderLine,
    "orderline_id",
    "highest",
    {"order_id": "orderlines.order_id = %(order_id)s", "state": "orderlines.state = %(state)s", "sku": _OF_SKU},
)
