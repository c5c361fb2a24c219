"""Listings: the list with its search, all markets side by side, and prices and quantity changed in place."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from http import HTTPStatus
from typing import Any
from uuid import UUID

from starlette.exceptions import HTTPException
from starlette.responses import Response

from backmarket.console import paths
from backmarket.console.numbers import whole_number
from backmarket.console.pages.orders import once
from backmarket.console.request_context import RequestContext, status_of
from backmarket.errors import BackMarketError, InvalidArgument
from backmarket.facade.writes import ListingChanges
from backmarket.queries.listings import Listing, PublicationState
from backmarket.writes.models import Write

ROWS = 50
"""Number of listings on a page."""


def show_all(context: RequestContext) -> Response:
    """The list."""
    organization_id, fault, found = context.organization_id, None, None
    chosen = {name: context.asked(name) or "" for name in ("search", "state", "stock")}
    connection = context.bm.get_connection_status(organization_id).connection
    try:
        found = context.bm.get_listings(organization_id, limit=ROWS, cursor=context.asked("cursor"), **_filters(chosen))
    except InvalidArgument as error:
        fault = error.message
    markets: dict[UUID, list[Listing]] = {}
    if connection.markets and found:
        for each in context.bm.get_listing_markets(organization_id, [one.listing_id for one in found]):
            markets.setdefault(each.listing_id, []).append(each)
    here, following = paths.organization(organization_id, "listings"), found.next_cursor if found else None
    return context.render(
        "listings.html",
        status=HTTPStatus.UNPROCESSABLE_ENTITY if fault else HTTPStatus.OK,
        connection=connection,
        listings=found.items if found else [],
        markets=markets,
        fault=fault,
        chosen=chosen,
        filtered=any(chosen.values()),
        states=PublicationState,
        next_page=paths.with_query(here, chosen | {"cursor": following}) if following else None,
        first_page=paths.with_query(here, chosen) if context.asked("cursor") else None,
        tab="listings",
    )


def row(context: RequestContext) -> Response:
    """One listing, or what it has in one further market, as a row of the list, with the outcome of its write."""
    number = whole_number(context.asked("write"))
    listing = _listing(context)
    write = context.bm.get_write(context.organization_id, number) if number is not None else None
    return _row(context, listing, write=write if write and write.object_id == str(listing.listing_id) else None)


def update(context: RequestContext) -> Response:
    """Change the fields that differ from what the user saw."""
    listing = _listing(context)
    try:
        changes = _changes(context)
        if not changes:
            raise InvalidArgument("Nothing has changed. Enter another price or quantity.")
        handle = context.bm.update_listing(
            context.organization_id,
            listing.listing_id,
            market=listing.market or None,
            idempotency_key=once(context),
            **changes,
        )
    except BackMarketError as error:
        if not context.is_partial:
            context.say(str(error), bad=True)
            return context.go(paths.organization(context.organization_id, "listings"))
        return _row(context, listing, fault=str(error), status=status_of(error))
    if not context.is_partial:
        context.say(f"Queued a change of {listing.sku}.")
        return context.go(paths.organization(context.organization_id, "listings"))
    return _row(context, listing, write=handle.write())


def _row(
    context: RequestContext,
    listing: Listing,
    *,
    write: Write | None = None,
    fault: str | None = None,
    status: int = HTTPStatus.OK,
) -> Response:
    shown = {name: context.given(name) for name in ("price", "quantity")} if fault else {}
    return context.render(
        "_listing.html",
        status=status,
        organization_id=context.organization_id,
        listing=listing,
        write=write,
        fault=fault,
        shown=shown,
    )


def _listing(context: RequestContext) -> Listing:
    try:
        listing_id, market = context.request.path_params["listing"], context.asked("market")
        found = context.bm.get_listing_by_id(context.organization_id, listing_id, market=market)
    except InvalidArgument:
        found = None
    if found is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "This listing is not stored.")
    return found


def _changes(context: RequestContext) -> ListingChanges:
    changes: ListingChanges = {}
    price, quantity = context.given("price"), context.given("quantity")
    if price is not None and _amount(price) != _amount(context.given("price_shown") or "0"):
        changes["price"] = _amount(price)
    if quantity is not None and quantity != context.given("quantity_shown"):
        number = whole_number(quantity, digits=9)
        if number is None:
            raise InvalidArgument(f"A quantity is a whole number from 0, not {quantity[:40]!r}.")
        changes["quantity"] = number
    return changes


def _amount(text: str) -> Decimal:
    try:
        amount = Decimal(text.replace(",", ".").replace(" ", ""))
    except InvalidOperation:
        raise InvalidArgument(f"A price is an amount such as 249.90, not {text[:40]!r}.") from None
    if not amount.is_finite():
        raise InvalidArgument("A price is an amount such as 249.90.")
    return amount


def _filters(chosen: dict[str, str]) -> dict[str, Any]:
    state = whole_number(chosen["state"], digits=8)
    if chosen["state"] and state is None:
        raise InvalidArgument(f"There is no state {chosen['state'][:40]!r}.")
    stock: dict[str, dict[str, int]] = {"some": {"min_quantity": 1}, "none": {"max_quantity": 0}}
    return {
        "publication_state": state,
        "search": chosen["search"] or None,
        **stock.get(chosen["stock"], {}),
    }
