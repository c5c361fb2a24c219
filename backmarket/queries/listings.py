"""Stored listings (the offers in the seller's catalogue): typed, filtered, found by id or SKU."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any
from uuid import UUID

from backmarket.database import Database, Transaction
from backmarket.errors import InvalidArgument
from backmarket.queries.pagination import Page, Stored, enum_or_value
from backmarket.queries.skus import has_sku


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
    """A listing as the API last showed it in one market.

    Attributes:
        market: the further market that price, currency, publication state, comment, warranty and shippings are of, such
            as `de-de`; empty: that of the connection's locale. The other fields are the same in all markets.
    """

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
    market: str = ""

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
        market: a further market of the connection; None: that of its locale.
    """

    publication_state: int | None = None
    min_quantity: int | None = None
    max_quantity: int | None = None
    search: str | None = None
    market: str | None = None


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


def get_listings(
    database: Database, organization_id: str, where: ListingFilter, *, limit: int = 50, cursor: str | None = None
) -> Page[Listing]:
    """Listings of one organization in one market, by id; see `Stored.page`."""
    stored = STORED_IN_MARKETS if where.market else STORED_LISTINGS
    return stored.page(database, organization_id, where, limit=limit, cursor=cursor)


def get_listing(
    database: Database, organization_id: str, listing_id: UUID | str | int, market: str = ""
) -> Listing | None:
    """One listing, also one that the API no longer knows; None: it is not stored.

    Args:
        listing_id: the UUID, as such or as text, or the older integer id.
        market: a further market of the connection; empty: that of its locale.

    Raises:
        InvalidArgument: if the id is invalid.
    """
    key = listing_key(listing_id)
    if isinstance(key, UUID):
        if not market:
            return STORED_LISTINGS.get(database, organization_id, key)
        return _find(database, organization_id, _BY_ID, {"key": key}, market)
    return _find(database, organization_id, _BY_LEGACY_ID, {"number": key}, market)


def get_listing_by_sku(database: Database, organization_id: str, sku: str, market: str = "") -> Listing | None:
    """The listing with this SKU, ignoring case, also one that the API no longer knows; None: it is not stored.

    Args:
        sku: the seller's own name of it.
        market: a further market of the connection; empty: that of its locale.
    """
    return _find(database, organization_id, _BY_SKU, {"sku": sku}, market)


def get_listing_markets(database: Database, organization_id: str, listing_ids: Collection[UUID]) -> list[Listing]:
    """Some listings as all further markets of the connection show them, by id and market; one statement.

    Those that the API no longer knows in a market are among them.
    """
    return STORED_IN_MARKETS.find_all(database, organization_id, _BY_IDS, {"keys": [*listing_ids]}, limit=None)


def select_listing(transaction: Transaction, organization_id: str, listing_id: UUID, market: str) -> Listing | None:
    """One listing in a further market, within a transaction."""
    found = STORED_IN_MARKETS.select_all(
        transaction, organization_id, f"{_OF_MARKET} AND {_BY_ID}", {"key": listing_id, "market": market}, limit=1
    )
    return found[0] if found else None


def _find(
    database: Database, organization_id: str, condition: str, values: dict[str, Any], market: str
) -> Listing | None:
    if not market:
        return STORED_LISTINGS.find(database, organization_id, f"{condition} {_FIRST.format('listings')}", values)
    condition = f"{_OF_MARKET} AND {condition} {_FIRST.format('listing_markets')}"
    return STORED_IN_MARKETS.find(database, organization_id, condition, values | {"market": market})


_OF_MARKET = "listing_markets.market = %(market)s"

_FILTERS = {
    "publication_state": "{}.publication_state = %(publication_state)s",
    "min_quantity": "listings.quantity >= %(min_quantity)s",
    "max_quantity": "listings.quantity <= %(max_quantity)s",
    "search": "(position(lower(%(search)s) IN lower(listings.sku)) > 0"
    " OR position(lower(%(search)s) IN lower(listings.title)) > 0)",
}

STORED_LISTINGS = Stored(
    "listings",
    Listing,
    "listing_id",
    "lowest",
    {name: condition.format("listings") for name, condition in _FILTERS.items()},
    UUID,
    {"market": "''"},
)

_COMMON = (
    "legacy_listing_id",
    "sku",
    "product_id",
    "backmarket_id",
    "title",
    "quantity",
    "state",
    "grade",
    "new_battery",
)
"""Columns of a listing that are the same in all markets."""

STORED_IN_MARKETS = Stored(
    "listing_markets",
    Listing,
    "listing_id",
    "lowest",
    {"market": _OF_MARKET} | {name: condition.format("listing_markets") for name, condition in _FILTERS.items()},
    UUID,
    {name: f"listings.{name}" for name in _COMMON} | {"raw": "COALESCE(listings.raw, '{}') || listing_markets.raw"},
    # a market's walk may find a listing before that of the connection's locale does
    "LEFT JOIN backmarket.listings ON listings.organization_id = listing_markets.organization_id"
    " AND listings.listing_id = listing_markets.listing_id",
)
"""The listings in further markets; the common columns are those of the connection's locale."""

# A SKU may be used again after its listing was removed: a present listing comes before removed ones.
_FIRST = "ORDER BY {0}.removed_at DESC NULLS FIRST, {0}.listing_id"
_BY_ID = "listing_markets.listing_id = %(key)s"
_BY_LEGACY_ID = "listings.legacy_listing_id = %(number)s"
_BY_SKU = has_sku("listings", "sku")
# the markets are named, so that the key serves
_BY_IDS = """
listing_markets.market = ANY(ARRAY(
    SELECT unnest(markets) FROM backmarket.connections WHERE organization_id = %(organization)s
)) AND listing_markets.listing_id = ANY(%(keys)s) ORDER BY listing_markets.listing_id, listing_markets.market
"""
