"""Listings (`GET /ws/listings`, `GET /ws/listings/{listingId}`).

Their list has no filter for changes, so every sync is a full walk.
"""

from __future__ import annotations

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
