"""Listings, as the API writes them, with prices and texts of the requested market."""

from __future__ import annotations

from typing import TypedDict


class Shipping(TypedDict, total=False):
    """Shipping of a listing, in one market."""

    country_code: str
    shipper: str
    shipper_display: str
    shipping_delay: int
    shipping_price: str


class Listing(TypedDict, total=False):
    """A listing, as the list shows it."""

    backmarket_id: int
    comment: str | None
    currency: str
    grade: str
    id: str
    listing_id: int
    max_price: str
    min_price: str | None
    new_battery: bool
    price: str
    product_id: str
    publication_state: int
    quantity: int
    shippings: list[Shipping]
    sku: str
    state: int
    title: str
    warranty_delay: int


class ListingDetail(Listing, total=False):
    """A listing that was requested by itself."""

    statuscode: int


class UpdatedListing(TypedDict, total=False):
    """A listing after it was updated."""

    backmarket_id: int
    comment: str | None
    currency: str
    grade: str
    id: str
    listing_id: int
    max_price: str
    min_price: str | None
    price: str
    product_id: str
    publication_state: int
    quantity: int
    shippings: list[Shipping]
    shippings_response: list[str]
    sku: str
    state: int
    statuscode: int
    title: str
    warranty_delay: int


class BulkTask(TypedDict, total=False):
    """The task for a file of listings."""

    bodymessage: int
    statuscode: int
