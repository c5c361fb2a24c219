"""Listings (`GET /ws/listings`, `GET /ws/listings/{listingId}`), in the connection's locale and in further markets.

Their list has no filter for changes, so every sync is a full walk.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from backmarket.resources.columns import Column
from backmarket.resources.resource import Resource

LISTINGS = Resource(
    name="listings",
    table="listings",
    path="/ws/listings",
    field="results",
    paging=(("page-size", "50"),),
    beside=("statuscode", "shippings_response"),
    key=Column("listing_id", "uuid", "id"),
    columns=(
        Column("legacy_listing_id", "bigint", "listing_id"),
        Column("sku", "text"),
        Column("product_id", "text"),
        Column("backmarket_id", "bigint"),
        Column("title", "text"),
        Column("price", "numeric"),
        Column("currency", "text"),
        Column("min_price", "numeric"),
        Column("max_price", "numeric"),
        Column("quantity", "integer"),
        Column("publication_state", "integer"),
        Column("state", "integer"),
        Column("grade", "text"),
        Column("comment", "text"),
        Column("warranty_delay", "integer"),
        Column("new_battery", "boolean"),
        Column("shippings", "jsonb"),
    ),
)

OF_A_MARKET = (
    "price",
    "currency",
    "min_price",
    "max_price",
    "publication_state",
    "comment",
    "warranty_delay",
    "shippings",
)
"""What a listing has in each market, by the API's names, which are those of the columns; all else is common."""


@lru_cache(maxsize=256)
def listings_in(market: str) -> Resource:
    """The listings as one market shows them: in a further one, what differs by market.

    Args:
        market: a locale; empty: the connection's own.
    """
    if not market:
        return LISTINGS
    columns = tuple(column for column in LISTINGS.columns if column.name in OF_A_MARKET)
    return replace(LISTINGS, table="listing_markets", columns=columns, members=OF_A_MARKET, market=market)
