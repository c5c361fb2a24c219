"""Orders: the list with its filters, one order with its lines, parcels and writes, and its actions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from http import HTTPStatus
from typing import Any

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.responses import Response

from backmarket.client.types.values import CountryCode
from backmarket.console import paths
from backmarket.console.choices import RETURN_REASONS, VERBS, choices_of
from backmarket.console.numbers import whole_number
from backmarket.console.order_history import history_of
from backmarket.console.order_moves import IRREVERSIBLE, Move, chosen_move, moves_of
from backmarket.console.request_context import RequestContext, status_of
from backmarket.errors import BackMarketError, InvalidArgument
from backmarket.queries.orders import Order, OrderLineState, OrderState
from backmarket.resources import ResourceName

ROWS = 50
"""Number of orders on a page."""
LINES = 200
"""Maximum number of lines, parcels and writes of an order that are shown."""
LINK_SECONDS = 300
"""Seconds for which the link to a label is valid: long enough to open it."""
FETCH_SECONDS = 15.0
"""Seconds that a user waits for a label that a worker fetches."""


def show_all(context: RequestContext) -> Response:
    """The list."""
    number = context.asked("order")
    if whole_number(number) is not None:
        return context.go(paths.organization(context.organization_id, "orders", number))
    fault = f"An order's number has digits only, not {number[:40]!r}." if number else None
    found, values = None, dict.fromkeys(("state", "country", "from", "until", "sku", "tracking"), "")
    values |= {name: context.asked(name) or "" for name in values}
    try:
        found = context.bm.get_orders(
            context.organization_id, limit=ROWS, cursor=context.asked("cursor"), **_filters(values)
        )
    except InvalidArgument as error:
        fault = error.message
    following = found.next_cursor if found else None
    connection = context.bm.get_connection_status(context.organization_id).connection
    here = paths.organization(context.organization_id, "orders")
    return context.render(
        "orders.html",
        status=HTTPStatus.UNPROCESSABLE_ENTITY if fault else HTTPStatus.OK,
        connection=connection,
        orders=found.items if found else [],
        fault=fault,
        chosen=values,
        filtered=any(values.values()),
        states=OrderState,
        countries=choices_of(CountryCode),
        next_page=paths.with_query(here, values | {"cursor": following}) if following else None,
        first_page=paths.with_query(here, values) if context.asked("cursor") else None,
        tab="orders",
    )


def show(
    context: RequestContext, fault: str | None = None, about: str | None = None, status: int = HTTPStatus.OK
) -> Response:
    """One order.

    Args:
        context: the request's context.
        fault: why the submitted form did nothing.
        about: the form that `fault` is about.
        status: the HTTP status.
    """
    organization_id, number = context.organization_id, context.number("order")
    connection = context.bm.get_connection_status(organization_id).connection
    order = context.bm.get_order_by_id(organization_id, number)
    if order is None:
        raise HTTPException(
            HTTPStatus.NOT_FOUND, f"Order {number} is not stored. If Back Market has it, the next sync stores it."
        )
    lines = [*context.bm.get_orderlines(organization_id, order_id=number, limit=LINES)]
    return context.render(
        "order.html",
        status=status,
        connection=connection,
        order=order,
        lines=lines,
        moves=moves_of(lines),
        reasons=RETURN_REASONS,
        parcels=_parcels(context, number),
        fault=fault,
        about=about,
        sent=context.form if about else FormData(),
        tab="orders",
        **_history(context, number, order),
    )


def history(context: RequestContext) -> Response:
    """The part of the page that shows the order's writes; when a write has ended, the whole page is reloaded."""
    number = context.number("order")
    found = _history(context, number, context.bm.get_order_by_id(context.organization_id, number))
    answer = context.render("_history.html", organization_id=context.organization_id, **found)
    if context.asked("waits") and not found["under_way"]:
        answer.headers["HX-Refresh"] = "true"
    return answer


def move(context: RequestContext) -> Response:
    """Move lines of an order to another state."""
    number, state = context.number("order"), context.given("state") or ""
    shown = context.given_all("line")
    moves = moves_of(context.bm.get_orderlines(context.organization_id, order_id=number, limit=LINES))
    try:
        if state not in {str(each.value) for each in OrderLineState}:
            raise InvalidArgument("Choose an action.")
        new_state, sku = OrderLineState(int(state)), context.given("sku")
        chosen_move(moves, new_state, shown, sku)
        if new_state in IRREVERSIBLE and context.given("return_reason") is None:
            raise InvalidArgument("Choose a reason. This cannot be undone.")
        handle = context.bm.update_order(
            context.organization_id,
            number,
            new_state,
            sku=sku,
            tracking_number=context.given("tracking_number"),
            tracking_url=context.given("tracking_url"),
            shipper=context.given("shipper"),
            imei=context.given("imei"),
            return_reason=_reason(context),
            return_message=context.given("return_message"),
            idempotency_key=once(context),
        )
    except BackMarketError as error:
        return show(context, str(error), _card(moves, state, shown), status_of(error))
    context.say(f"Queued: {VERBS[new_state].lower()}. {_sent(handle.nudged)}")
    return context.go(f"{paths.organization(context.organization_id, 'orders', number)}#history")


def register(context: RequestContext) -> Response:
    """Register the IMEI or serial number of a sold device."""
    number, line = context.number("order"), context.number("line")
    try:
        handle = context.bm.update_orderline(
            context.organization_id,
            line,
            imei=context.given("imei"),
            serial_number=context.given("serial_number"),
            idempotency_key=once(context),
        )
    except BackMarketError as error:
        return show(context, str(error), f"line-{line}", status_of(error))
    context.say(f"Queued: register the device. {_sent(handle.nudged)}")
    return context.go(f"{paths.organization(context.organization_id, 'orders', number)}#history")


def invoice(context: RequestContext) -> Response:
    """Upload an invoice of the order."""
    number, file = context.number("order"), context.file("invoice")
    try:
        if file is None:
            raise InvalidArgument("Choose a PDF file.")
        handle = context.bm.upload_order_invoice(
            context.organization_id,
            number,
            file=file.file,
            filename=file.filename,
            idempotency_key=once(context),
        )
    except BackMarketError as error:
        return show(context, str(error), "invoice", status_of(error))
    context.say(f"The invoice is stored. {_sent(handle.nudged)}")
    return context.go(f"{paths.organization(context.organization_id, 'orders', number)}#history")


def refresh(context: RequestContext) -> Response:
    """Fetch the order from the API now."""
    number = context.number("order")
    try:
        context.bm.fetch_order(context.organization_id, number)
    except BackMarketError as error:
        return show(context, str(error), "refresh", status_of(error))
    context.say("Fetched. This is the order as Back Market has it now.")
    return context.go(paths.organization(context.organization_id, "orders", number))


def open_label(context: RequestContext) -> Response:
    """Redirect to a label in the bucket, by a link that is valid for minutes."""
    shipment = context.number("shipment")
    link = context.bm.get_label_url if _is_of_delivery(context) else context.bm.get_return_label_url
    return context.go(link(context.organization_id, shipment, expires=LINK_SECONDS))


def fetch_label(context: RequestContext) -> Response:
    """Have a worker fetch a label now."""
    shipment, order = context.number("shipment"), whole_number(context.given("order"))
    download = context.bm.download_label if _is_of_delivery(context) else context.bm.download_return_label
    here = paths.organization(context.organization_id, "orders", order or "")
    try:
        download(context.organization_id, shipment, timeout=FETCH_SECONDS)
        context.say(f"The label of {shipment} is stored.")
    except BackMarketError as error:
        return context.go_back(here, error)
    return context.go_back(here)


def once(context: RequestContext) -> str | None:
    """The idempotency key of a form: sending the form twice queues one write."""
    token = context.given("once")
    return f"console/{token[:100]}" if token else None


def _card(moves: Sequence[Move], state: str, shown: Sequence[str]) -> str:
    """Name of the card whose form was sent; one that is no longer there has another name than all others."""
    same = (move.name for move in moves if str(move.state.value) == state)
    return next((name for name in same if not shown or name.rpartition("-")[2] in shown), "move-gone")


def _is_of_delivery(context: RequestContext) -> bool:
    """The shipment whose label the path names."""
    resource = context.request.path_params["resource"]
    if resource not in {"deliveries", "returns"}:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    return bool(resource == "deliveries")


def _filters(chosen: dict[str, str]) -> dict[str, Any]:
    state = whole_number(chosen["state"], digits=8)
    if chosen["state"] and state is None:
        raise InvalidArgument(f"There is no state {chosen['state'][:40]!r}.")
    until = _day(chosen["until"])
    return {
        "state": state,
        "country_code": chosen["country"] or None,
        "created_after": _day(chosen["from"]),
        "created_before": until + timedelta(days=1) if until else None,
        "sku": chosen["sku"] or None,
        "tracking_number": chosen["tracking"] or None,
    }


def _day(text: str) -> datetime | None:
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
        return datetime(max(day.year, 1900), day.month, day.day, tzinfo=UTC)
    except ValueError:
        raise InvalidArgument(f"{text[:40]!r} is not a day, such as 2026-01-31.") from None


def _parcels(context: RequestContext, number: int) -> list[dict[str, Any]]:
    organization_id = context.organization_id
    deliveries = context.bm.get_deliveries_by_order_id(organization_id, number, limit=LINES)
    returns = context.bm.get_returns_by_order_id(organization_id, number, limit=LINES)
    found: list[tuple[ResourceName, Any, str | None]] = [("deliveries", each, each.label_url) for each in deliveries]
    found += [("returns", each, each.label) for each in returns]
    return [
        {
            "resource": resource,
            "parcel": parcel,
            "label": context.bm.get_label(organization_id, resource, parcel.shipment_id) if url else None,
            "stored": parcel.stored_label is not None,
        }
        for resource, parcel, url in found
    ]


def _history(context: RequestContext, number: int, order: Order | None) -> dict[str, Any]:
    writes = context.bm.get_writes(context.organization_id, order_id=number, limit=LINES)
    changes = context.bm.get_history(context.organization_id, "orders", number, limit=LINES)
    return {
        "order_id": number,
        "events": history_of(order, writes, changes),
        "under_way": any(each.open and not each.undecided for each in writes),
    }


def _reason(context: RequestContext) -> int | None:
    text = context.given("return_reason")
    if text is None:
        return None
    number = whole_number(text, digits=8)
    if number is None:
        raise InvalidArgument("Choose a reason from the list.")
    return number


def _sent(nudged: bool) -> str:
    return "A worker sends it ahead of the syncs." if nudged else "The broker is unreachable. A worker sends it later."
