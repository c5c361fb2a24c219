"""Stored listings (the offers in the seller's catalogue): typed, filtered, found by id or SKU."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any
from uuid import UUID

from backmarket.database import Database
from backmarket.errors import InvalidArgument
from backmarket.queries.pagination import Stored, enum_or_value


class PublicationState(IntEnum):
    """Whether a listing is on sale (field `publication_state`)."""

    NOT_ONLINE = 0
    ONLINE = 1
    WAITING_FOR_VALIDATION = 2
    REJECTED = 3
    PENDING = 4


class Grade(StrEnum):
    """The condition of the offered item (schema `AestheticGradeValue`)."""

    PREMIUM = "PREMIUM"
    EXCELLENT = "EXCELLENT"
    VERY_GOOD = "VERY_GOOD"
    GOOD = "GOOD"
    FAIR = "FAIR"
    STALLONE = "STALLONE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A listing as the API last showed it, with the prices and texts of the connection's locale."""

    organization_id: str
    listing_id: UUID
    legacy_listing_id: int | None
    sku: str | None
    product_id: str | None
    backmarket_id: int | None
    title: str | None
    price: Decimal | None
    currency: str | None
    min_price: Decimal | None
    max_price: Decimal | None
    quantity: int | None
    publication_state: PublicationState | int | None
    state: int | None
    grade: Grade | str | None
    comment: str | None
    warranty_delay: int | None
    new_battery: bool | None
    shippings: Any
    raw: dict[str, Any] = field(repr=False)
    first_seen_at: datetime
    last_synced_at: datetime
    removed_at: datetime | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "publication_state", enum_or_value(PublicationState, self.publication_state))
        object.__setattr__(self, "grade", enum_or_value(Grade, self.grade))


@dataclass(frozen=True, slots=True)
class ListingFilter:
    """Which listings; None does not restrict.

    Args:
        publication_state: known or not.
        min_quantity: minimum number on sale.
        max_quantity: maximum number on sale.
        search: a part of the SKU or title, ignoring case. It reads all listings of the organization.
    """

    publication_state: int | None = None
    min_quantity: int | None = None
    max_quantity: int | None = None
    search: str | None = None


def listing_key(listing_id: UUID | str | int) -> UUID | int:
    """A listing's id in its normal form: the UUID, or the older integer.

    Raises:
        InvalidArgument: if it is neither of them.
    """
    if isinstance(listing_id, UUID | int):
        return listing_id
    if listing_id.isascii() and listing_id.isdigit() and len(listing_id) < 20:
        return int(listing_id)
    try:
        return UUID(listing_id)
    except ValueError:
        raise InvalidArgument(
            "A listing's id is a UUID, or the older integer id; one is found by its SKU, too"
            " (`get_listing_by_sku`, `backmarket listings show ORG --sku SKU`)."
        ) from None


def get_listing(database: Database, organization_id: str, listing_id: UUID | str | int) -> Listing | None:
    """One listing, also one that the API no longer knows; None: it is not stored.

    Args:
        listing_id: the UUID, as such or as text, or the older integer id.

    Raises:
        InvalidArgument: if the id is invalid.
    """
    key = listing_key(listing_id)
    if isinstance(key, UUID):
        return STORED_LISTINGS.get(database, organization_id, key)
    return STORED_LISTINGS.find(database, organization_id, _BY_LEGACY_ID, {"number": key})


def get_listing_by_sku(database: Database, organization_id: str, sku: str) -> Listing | None:
    """The listing with this SKU, ignoring case, also one that the API no longer knows; None: it is not stored."""
    return STORED_LISTINGS.find(database, organization_id, _BY_SKU, {"sku": sku})


STORED_LISTINGS = Stored(
    "listings",
    Listing,
    "listing_id",
    "lowest",
    {
        "publication_state": "listings.publication_state = %(publication_state)s",
        "min_quantity": "listings.quantity >= %(min_quantity)s",
        "max_quantity": "listings.quantity <= %(max_quantity)s",
        "search": "(position(lower(%(search)s) IN lower(listings.sku)) > 0"
        " OR position(lower(%(search)s) IN lower(listings.title)) > 0)",
    },
    UUID,
)

# A SKU may be used again after its listing was removed: a present listing comes before removed ones.
_FIRST = "ORDER BY listings.removed_at DESC NULLS FIRST, listings.listing_id"
_BY_LEGACY_ID = f"listings.legacy_listing_id = %(number)s {_FIRST}"
# A search disregards the case of all letters; where SKUs must be one and the same, `backmarket.sku_key` compares them.
_BY_SKU = f"listings.sku_key = lower(left(%(sku)s, 200)) AND lower(listings.sku) = lower(%(sku)s) {_FIRST}"
