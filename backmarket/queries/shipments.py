"""Deliveries and returns: stored BackShip parcels to and from customers: typed, filtered, newest first."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, cast

from backmarket.errors import InvalidArgument
from backmarket.queries.pagination import Stored, created_within
from backmarket.resources.signed_links import expires_at


@dataclass(frozen=True, slots=True)
class StoredLabel:
    """The copy of a shipment's label in the bucket; `BackMarket.get_label_url` gives a link to it.

    Attributes:
        object_key: its name there.
        size: in bytes.
        sha256: hexadecimal.
        stored_at: when it was stored.
    """

    object_key: str
    size: int
    sha256: str
    stored_at: datetime

    @classmethod
    def read(cls, document: Any) -> StoredLabel | None:
        """Convert from the form that the queries return."""
        if not isinstance(document, dict):
            return None if document is None else cast(StoredLabel, document)
        return cls(**{**document, "stored_at": datetime.fromisoformat(document["stored_at"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A parcel to a customer as the API last showed it. Its `repr` shows no personal data."""

    organization_id: str
    shipment_id: int
    order_id: int | None
    orderlines: list[int] | None
    carrier_id: int | None
    carrier_name: str | None
    reference_number: str | None
    tracking_number: str | None = field(repr=False)
    tracking_url: str | None = field(repr=False)
    hub_scanned: bool | None
    type: str | None
    invoiced_currency: str | None
    invoiced_price: Decimal | None
    date_creation: datetime | None
    date_pickup: datetime | None
    date_delivery: datetime | None
    label_url: str | None = field(repr=False)
    stored_label: StoredLabel | None
    pickup_info: dict[str, Any] | None = field(repr=False)
    raw: dict[str, Any] = field(repr=False)
    first_seen_at: datetime
    last_synced_at: datetime
    removed_at: datetime | None
    erased_at: datetime | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "stored_label", StoredLabel.read(self.stored_label))

    @property
    def label_url_expires_at(self) -> datetime | None:
        """When `label_url` expires; None: it does not say. `fetch_delivery` gets a fresh one."""
        return expires_at(self.label_url)


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """A parcel from a customer as the API last showed it. Its `repr` shows no personal data."""

    organization_id: str
    shipment_id: int
    order_id: int | None
    orderline_id: int | None
    carrier_id: int | None
    carrier_name: str | None
    reference_number: str | None
    tracking_number: str | None = field(repr=False)
    tracking_url: str | None = field(repr=False)
    hub_scanned: bool | None
    type: str | None
    invoiced_currency: str | None
    invoiced_price: Decimal | None
    date_creation: datetime | None
    date_pickup: datetime | None
    date_delivery: datetime | None
    label: str | None = field(repr=False)
    stored_label: StoredLabel | None
    raw: dict[str, Any] = field(repr=False)
    first_seen_at: datetime
    last_synced_at: datetime
    removed_at: datetime | None
    erased_at: datetime | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "stored_label", StoredLabel.read(self.stored_label))

    @property
    def label_expires_at(self) -> datetime | None:
        """When the link `label` expires; None: it does not say. `fetch_return` gets a fresh one."""
        return expires_at(self.label)


class ShipmentStage(StrEnum):
    """How far a parcel is."""

    WAITING = "waiting"
    """It was not picked up yet."""
    UNDER_WAY = "under_way"
    """It was picked up, and is not delivered."""
    DELIVERED = "delivered"
    LATE = "late"
    """It is not delivered a week after its creation."""


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Which deliveries; None does not restrict. Times without an offset count as UTC.

    Args:
        order_id: of this order.
        hub_scanned: whether the parcel's label was scanned.
        created_after: created then or later.
        created_before: created earlier.
        tracking_number: of the parcel, in exact spelling.
        stage: how far it is.
    """

    order_id: int | None = None
    hub_scanned: bool | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    tracking_number: str | None = None
    stage: ShipmentStage | str | None = None


@dataclass(frozen=True, slots=True)
class ReturnFilter:
    """Which returns; see `DeliveryFilter`.

    Args:
        order_id: of this order.
        orderline_id: of this order line.
        hub_scanned: whether the parcel's label was scanned.
        created_after: created then or later.
        created_before: created earlier.
        tracking_number: of the parcel, in exact spelling.
        stage: how far it is.
    """

    order_id: int | None = None
    orderline_id: int | None = None
    hub_scanned: bool | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    tracking_number: str | None = None
    stage: ShipmentStage | str | None = None


def stage_of(stage: ShipmentStage | str | None) -> ShipmentStage | None:
    """A caller's stage.

    Raises:
        InvalidArgument: if it is not a stage.
    """
    try:
        return None if stage is None else ShipmentStage(stage)
    except ValueError:
        raise InvalidArgument(f"There is no stage {str(stage)!r}. Choose one of {', '.join(ShipmentStage)}.") from None


def _filters(table: str) -> dict[str, str]:
    return {
        "order_id": f"{table}.order_id = %(order_id)s",
        "hub_scanned": f"{table}.hub_scanned = %(hub_scanned)s",
        **created_within(table),
        "tracking_number": f"{table}.tracking_number = %(tracking_number)s",
        "stage": f"""CASE %(stage)s WHEN 'delivered' THEN {table}.date_delivery IS NOT NULL
            WHEN 'waiting' THEN {table}.date_delivery IS NULL AND {table}.date_pickup IS NULL
            WHEN 'under_way' THEN {table}.date_delivery IS NULL AND {table}.date_pickup IS NOT NULL
            ELSE {table}.date_delivery IS NULL AND {table}.date_creation < now() - interval '7 days' END""",
    }


def _stored_label(table: str) -> str:
    """SQL for the label: one index lookup for each returned row."""
    members = ", ".join(f"'{each.name}', l.{each.name}" for each in fields(StoredLabel))
    return (
        f"(SELECT jsonb_build_object({members}) FROM backmarket.labels l"
        f" WHERE l.organization_id = {table}.organization_id AND l.resource = '{table}'"
        f" AND l.shipment_id = {table}.shipment_id AND l.state = 'stored')"
    )


STORED_DELIVERIES = Stored(
    "deliveries",
    Delivery,
    "shipment_id",
    "newest",
    _filters("deliveries"),
    others={"stored_label": _stored_label("deliveries")},
)
STORED_RETURNS = Stored(
    "returns",
    Return,
    "shipment_id",
    "newest",
    {**_filters("returns"), "orderline_id": "returns.orderline_id = %(orderline_id)s"},
    others={"stored_label": _stored_label("returns")},
)
