"""Listings: the list with its search, and price and quantity changed in place."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from backmarket.console import paths
from backmarket.console.pages.orders import once
from backmarket.console.visit import Visit, status_of
from backmarket.errors import BackMarketError, InvalidArgument
from backmarket.facade.writes import ListingChanges
from backmarket.queries.listings import Listing, PublicationState
from backmarket.writes.models import Write

ROWS = 50
"""Listings on a page."""


def show_all(visit: Visit) -> Response:
    """The list."""
    organization_id, fault, found = visit.organization_id, None, None
    chosen = {name: visit.asked(name) or "" for name in ("search", "state", "stock")}
    connection = visit.bm.get_connection_status(organization_id).connection
    try:
        found = visit.bm.get_listings(organization_id, limit=ROWS, cursor=visit.asked("cursor"), **_filters(chosen))
    except InvalidArgument as error:
        fault = error.message
    here, following = paths.organization(organization_id, "listings"), found.next_cursor if found else None
    return visit.render(
        "listings.html",
        status=HTTPStatus.UNPROCESSABLE_ENTITY if fault else HTTPStatus.OK,
        connection=connection,
        listings=found.items if found else [],
        fault=fault,
        chosen=chosen,
        filtered=any(chosen.values()),
        states=PublicationState,
        next_page=paths.with_query(here, chosen | {"cursor": following}) if following else None,
        first_page=paths.with_query(here, chosen) if visit.asked("cursor") else None,
        tab="listings",
    )


def row(visit: Visit) -> Response:
    """One listing as a row of the list, with the outcome of a write of it."""
    number = visit.asked("write")
    listing = _listing(visit)
    write = visit.bm.get_write(visit.organization_id, int(number)) if number and number.isdigit() else None
    return _row(visit, listing, write=write if write and write.object_id == str(listing.listing_id) else None)


def update(visit: Visit) -> Response:
    """Change what differs from what the person saw."""
    listing = _listing(visit)
    try:
        changes = _changes(visit)
        if not changes:
            raise InvalidArgument("Nothing is changed: enter another price or quantity.")
        handle = visit.bm.update_listing(
            visit.organization_id, listing.listing_id, idempotency_key=once(visit), **changes
        )
    except BackMarketError as error:
        if not visit.is_partial:
            visit.say(str(error), bad=True)
            return visit.go(paths.organization(visit.organization_id, "listings"))
        return _row(visit, listing, fault=str(error), status=status_of(error))
    if not visit.is_partial:
        visit.say(f"Asked for a change of {listing.sku}.")
        return visit.go(paths.organization(visit.organization_id, "listings"))
    return _row(visit, listing, write=handle.write())


def _row(
    visit: Visit, listing: Listing, *, write: Write | None = None, fault: str | None = None, status: int = HTTPStatus.OK
) -> Response:
    shown = {name: visit.given(name) for name in ("price", "quantity")} if fault else {}
    return visit.render(
        "_listing.html",
        status=status,
        organization_id=visit.organization_id,
        listing=listing,
        write=write,
        fault=fault,
        shown=shown,
    )


def _listing(visit: Visit) -> Listing:
    try:
        found = visit.bm.get_listing_by_id(visit.organization_id, visit.request.path_params["listing"])
    except InvalidArgument:
        found = None
    if found is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "This listing is not stored.")
    return found


def _changes(visit: Visit) -> ListingChanges:
    changes: ListingChanges = {}
    price, quantity = visit.given("price"), visit.given("quantity")
    if price is not None and _amount(price) != _amount(visit.given("price_shown") or "0"):
        changes["price"] = _amount(price)
    if quantity is not None and quantity != visit.given("quantity_shown"):
        if not (quantity.isascii() and quantity.isdigit() and len(quantity) < 10):
            raise InvalidArgument(f"A quantity is a whole number from 0, not {quantity[:40]!r}.")
        changes["quantity"] = int(quantity)
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
    state = chosen["state"]
    if state and not (state.isascii() and state.isdigit() and len(state) < 9):
        raise InvalidArgument(f"There is no state {state[:40]!r}.")
    stock: dict[str, dict[str, int]] = {"some": {"min_quantity": 1}, "none": {"max_quantity": 0}}
    return {
        "publication_state": int(state) if state else None,
        "search": chosen["search"] or None,
        **stock.get(chosen["stock"], {}),
    }
