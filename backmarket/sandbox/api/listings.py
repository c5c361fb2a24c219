"""Listings: reading them, and changing one at once."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from backmarket.sandbox.api import listing_fields, pagination
from backmarket.sandbox.api.calls import Call
from backmarket.sandbox.api.responses import Answer, Refused, in_json, refusal
from backmarket.sandbox.world.listing_stock import PUBLICATION_STATES, Listing, number_of
from backmarket.sandbox.world.people import COUNTRY_CODES

PUBLISH: Final = 2
"""The value of `pub_state` that publishes a listing."""
_REGIONS: Final = {"en-us": "NA", "ja-jp": "AP", "en-au": "AP"}


def market_of(call: Call) -> str:
    """The market that `Accept-Language` selects; the account's own if it names no market of the account's region."""
    home = call.seller.spec.market
    asked = call.headers.get(b"accept-language", b"").decode("latin-1").lower()
    if call.world.settings.assumptions.price_market == "account" or asked not in COUNTRY_CODES:
        return home
    return asked if _REGIONS.get(asked, "EU") == _REGIONS.get(home, "EU") else home


def state_market(call: Call) -> str:
    """The market whose publication state is shown and set."""
    return call.seller.spec.market if call.world.settings.assumptions.state_market == "account" else market_of(call)


def is_listed(call: Call, listing: Listing) -> bool:
    """Whether the request's market knows a listing."""
    market = market_of(call)
    everywhere = call.world.settings.assumptions.market_list == "all"
    return everywhere or market == call.seller.spec.market or listing.is_offered(market)


def apply_fields(call: Call, listing: Listing, fields: dict[str, Any]) -> Listing:
    """The listing with some members set in the request's market."""
    state = {name: fields[name] for name in ("publication_state",) if name in fields}
    others = {name: value for name, value in fields.items() if name not in state}
    changed = listing.changed(market_of(call), others)
    return changed.changed(state_market(call), state) if state else changed


def take_sku_lines(call: Call, lines: int) -> None:
    """Count SKU lines against the hourly limit of the guidelines (2,000).

    Raises:
        Refused: if it is exceeded (429 as JSON, response `RateLimited`); nothing is counted then.
    """
    settings = call.world.settings
    now = call.world.now().timestamp()
    if not call.seller.sku_ledger.take(lines, now, settings.sku_lines_limit, settings.sku_lines_window):
        raise Refused(refusal(429, "Too many SKU lines in the last hour.", code="rate-limited"))


async def list_listings(call: Call) -> Answer:
    """`GET /ws/listings`: pages of at most 50, by publication state and quantity."""
    assumed, query, market, of_state = call.world.settings.assumptions, call.query, market_of(call), state_market(call)
    page, size = pagination.page_number(query, assumed), pagination.page_size(query, assumed)
    state = _number(query, "publication_state")
    if state is not None and state not in PUBLICATION_STATES:
        raise _bad("parameter publication_state is unknown")
    least, most = _number(query, "min_quantity"), _number(query, "max_quantity")

    def asked_for(listing: Listing) -> bool:
        quantity = listing.shared["quantity"]
        return (
            is_listed(call, listing)
            and (state is None or listing.state(of_state) == state)
            and (least is None or quantity >= least)
            and (most is None or quantity <= most)
        )

    descending = assumed.list_order.endswith("_desc")
    key = (market, of_state, assumed.market_list, state, least, most, descending)
    listings = call.seller.listings.rows.listed(key, order=number_of, descending=descending, where=asked_for)
    return pagination.page_of(
        listings, page, size, call, "/ws/listings", body=lambda one: one.rendered(market, of_state)
    )


async def get_listing(call: Call) -> Answer:
    """`GET /ws/listings/{listingId}`, by UUID or by the older integer id."""
    return _single(call, _in_path(call))


async def get_listing_detail(call: Call) -> Answer:
    """`GET /ws/listings/detail`, by `sku`, `listing_id` or `id`."""
    stock, query = call.seller.listings, call.query
    if "sku" in query:
        found = stock.by_sku(query["sku"])
    elif "id" in query:
        found = stock.rows.get(query["id"])
    else:
        number = _number(query, "listing_id")
        if number is None:
            raise _bad("parameter sku, listing_id or id not found")
        found = stock.by_number(number)
    return _single(call, _there(call, found))


async def update_listing(call: Call) -> Answer:
    """`POST /ws/listings/{listingId}`: change some fields at once, prices in one market only."""
    listing, market = _in_path(call, shape="string"), market_of(call)
    update = await call.json_object(shape="string")
    try:
        fields = listing_fields.fields_of(update, market, call.seller.spec.market)
    except ValueError as error:
        raise Refused(refusal(400, str(error), shape="string")) from None
    take_sku_lines(call, 1)
    if fields.pop("pub_state", None) == PUBLISH:
        fields["publication_state"] = 1  # its quantity and price decide whether it is shown so
    messages = listing_fields.split_shippers(fields, market, listing.shared["shippings"])
    changed = apply_fields(call, listing, fields)
    call.seller.listings.put(changed)
    call.seller.applied("listings.update", listing.id, update)
    shown = changed.seen_from(market, state_market(call))
    return in_json(shown | {"shippings_response": messages, "statuscode": 200})


def _single(call: Call, listing: Listing) -> Answer:
    return in_json(listing.seen_from(market_of(call), state_market(call)) | {"statuscode": 200})


def _in_path(call: Call, *, shape: str = "v1") -> Listing:
    name: str = call.scope["path_params"]["listing_id"]
    if name.isascii() and name.isdigit():
        return _there(call, call.seller.listings.by_number(int(name[:18])))
    try:
        return _there(call, call.seller.listings.rows.get(str(UUID(name))))
    except ValueError:
        raise _bad("the listing id is neither a UUID nor a number", shape=shape) from None


def _there(call: Call, listing: Listing | None) -> Listing:
    if listing is None or not is_listed(call, listing):
        raise Refused(refusal(404, "Listing not found.", code="listing-not-found"))
    return listing


def _number(query: dict[str, str], name: str) -> int | None:
    value = query.get(name)
    if value is None:
        return None
    if pagination.WHOLE.fullmatch(value) is None:
        raise _bad(f"parameter {name} must be a whole number")
    return int(value)


def _bad(message: str, *, shape: str = "v1") -> Refused:
    return Refused(refusal(400, message, code="invalid-parameter", shape=shape))
