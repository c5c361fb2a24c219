"""A checked request: one type for each kind of write, and its form as a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, ClassVar, TypeAlias

from backmarket.queries.orders import OrderLineState


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateOrder:
    """Move lines of an order to another state. Fields that are None are not sent.

    Attributes:
        new_state: of the lines.
        sku: of the lines to move, as in the order; None: with state 3, which moves all accepted ones.
        date_shipping: in UTC, to the second.
    """

    kind: ClassVar = "update_order"
    order_id: int
    new_state: OrderLineState
    sku: str | None = None
    tracking_number: str | None = field(default=None, repr=False)
    tracking_url: str | None = field(default=None, repr=False)
    shipper: str | None = None
    date_shipping: datetime | None = None
    return_reason: int | None = None
    return_message: str | None = field(default=None, repr=False)
    vat_type: str | None = None
    imei: str | None = field(default=None, repr=False)
    serial_number: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateOrderline:
    """Register the identifiers of a sold device, for good. Fields that are None are not sent."""

    kind: ClassVar = "update_orderline"
    orderline_id: int
    imei: str | None = field(default=None, repr=False)
    serial_number: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateListing:
    """Change a listing.

    Attributes:
        listing_id: its UUID, or its older whole number.
        locale: the market of prices, texts and carriers.
        changes: the fields as they are sent; None empties one. Amounts are texts.
    """

    kind: ClassVar = "update_listing"
    listing_id: str
    locale: str
    changes: Mapping[str, str | int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadOrderInvoice:
    """Give an order an invoice; the file itself is in the bucket."""

    kind: ClassVar = "upload_order_invoice"
    order_id: int
    filename: str = field(repr=False)


WriteRequest: TypeAlias = UpdateOrder | UpdateOrderline | UpdateListing | UploadOrderInvoice


def as_json(request: WriteRequest) -> dict[str, Any]:
    """A request as `api_writes.request` stores it; equal requests give equal objects."""
    if isinstance(request, UpdateListing):
        return {"listing_id": request.listing_id, "locale": request.locale, "changes": dict(request.changes)}
    given = {each.name: getattr(request, each.name) for each in fields(request)}
    return {name: _plain(value) for name, value in given.items() if value is not None}


def from_json(kind: str, kept: Mapping[str, Any]) -> WriteRequest:
    """Rebuild the request from what `as_json` returned.

    Args:
        kind: such as `update_order`.
        kept: what `as_json` returned.
    """
    if kind == UpdateOrder.kind:
        shipped = kept.get("date_shipping")
        when = {"date_shipping": datetime.fromisoformat(shipped)} if shipped else {}
        return UpdateOrder(**{**kept, "new_state": OrderLineState(kept["new_state"]), **when})
    if kind == UpdateOrderline.kind:
        return UpdateOrderline(**kept)
    if kind == UpdateListing.kind:
        return UpdateListing(**kept)
    return UploadOrderInvoice(**kept)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    return int(value) if isinstance(value, OrderLineState) else value
