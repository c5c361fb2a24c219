"""To ship: all orders that wait for the seller by their deadline, accepted and shipped in the table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from backmarket.client.skus import sku_key
from backmarket.client.types.values import CountryCode
from backmarket.console import paths
from backmarket.console.choices import choices_of
from backmarket.console.pages.orders import once
from backmarket.console.rendering import counted
from backmarket.console.request_context import RequestContext
from backmarket.console.shipping_rows import ShippingRow, rows_of, rows_of_keys
from backmarket.errors import BackMarketError, InvalidArgument
from backmarket.queries.orders import OrderLineState
from backmarket.queries.to_ship import ShippingStep

ROWS = 100
"""Number of orders on a page."""
MAX_FIELDS = 2 * ROWS + 20
"""Maximum number of fields of a form that names orders of the page."""
FILTERS = ("seller", "step", "due", "country", "sku", "label")
HERE = "/ship"


def show(context: RequestContext) -> Response:
    """The page."""
    chosen = {name: context.asked(name) or "" for name in FILTERS}
    cursor, fault, rows, following = context.asked("cursor"), None, list[ShippingRow](), None
    seller = chosen["seller"] or None
    connection = context.bm.get_connection_status(seller).connection if seller else None
    try:
        found = context.bm.get_orders_to_ship(seller, limit=ROWS, cursor=cursor, **_filters(chosen))
        rows, following = rows_of(context.bm, found.items), found.next_cursor
    except InvalidArgument as error:
        fault = error.message
    return context.render(
        "ship.html",
        status=HTTPStatus.UNPROCESSABLE_ENTITY if fault else HTTPStatus.OK,
        connection=connection,
        rows=rows,
        counts=context.bm.count_orders_to_ship(seller),
        views=context.bm.get_console_views(context.person.name),
        chosen=chosen,
        here=paths.with_query(HERE, chosen),
        filtered=any(value for name, value in chosen.items() if name != "seller"),
        fault=fault,
        countries=choices_of(CountryCode),
        next_page=paths.with_query(HERE, chosen | {"cursor": following}) if following else None,
        first_page=paths.with_query(HERE, chosen) if cursor else None,
        tab="ship",
    )


def outcomes(context: RequestContext) -> Response:
    """Of the rows that a page waits for: those whose changes have gone on, or whose labels have changed."""
    query = context.request.query_params
    waits, watched = (
        dict(each.rpartition("*")[::2] for each in query.getlist(name)[:ROWS]) for name in ("waits", "watches")
    )
    rows = [row for row in rows_of_keys(context.bm, [*waits]) if row.progress != waits[row.key]]
    rows += [row for row in rows_of_keys(context.bm, [*watched]) if row.labels != watched[row.key]]
    counts = context.bm.count_orders_to_ship(context.asked("seller")) if rows else None
    return context.render("_ship_rows.html", rows=rows, counts=counts, news=None, bad=False)


def accept(context: RequestContext) -> Response:
    """Accept all paid lines of the chosen orders."""
    rows = rows_of_keys(context.bm, context.given_all("order"))
    orders = refused = 0
    for row in rows:
        if row.order.step != ShippingStep.ACCEPT or row.is_moving:
            continue
        try:
            _accept(context, row)
            orders += 1
        except BackMarketError as error:
            row.faults = {None: str(error)}
            refused += 1
    return _done(context, rows, _accepted(len(rows), orders, refused), bad=refused > 0)


def ship(context: RequestContext) -> Response:
    """Ship the accepted lines of an order in one parcel."""
    (row,) = _rows_of_path(context)
    try:
        tracking = context.given("tracking_number")
        if tracking is None:
            raise InvalidArgument("Scan or type the parcel's tracking number.")
        context.bm.update_order(
            context.organization_id,
            row.order.order_id,
            OrderLineState.SHIPPED,
            tracking_number=tracking,
            shipper=context.given("shipper"),
            idempotency_key=once(context),
        )
    except BackMarketError as error:
        return _refused(context, row, None, error)
    return _answer(context, f"Queued: ship order {row.order.order_id} as {tracking}.")


def identify(context: RequestContext) -> Response:
    """Register the IMEI of a line's device."""
    (row,), line = _rows_of_path(context), context.number("line")
    try:
        imei = context.given("imei")
        if imei is None:
            raise InvalidArgument("Scan or type the IMEI.")
        if line not in {each.orderline_id for each in row.order.lines}:
            raise InvalidArgument("The order has no such line. Reload the page.")
        context.bm.update_orderline(context.organization_id, line, imei=imei, idempotency_key=once(context))
    except BackMarketError as error:
        return _refused(context, row, line, error)
    if not context.is_partial:
        return _answer(context, f"Queued: register the device of order {row.order.order_id}.")
    return _line(context, _rows_of_path(context)[0], line)


def _accept(context: RequestContext, row: ShippingRow) -> None:
    """One write for each SKU with paid lines: Back Market moves all of them at once."""
    skus = {sku_key(line.sku or ""): line for line in row.order.lines if line.may_accept}
    token = once(context)
    for line in skus.values():
        context.bm.update_order(
            row.order.organization_id,
            row.order.order_id,
            OrderLineState.ACCEPTED,
            sku=line.sku,
            idempotency_key=f"{token}/{line.orderline_id}" if token else None,
        )


def _accepted(chosen: int, orders: int, refused: int) -> str:
    if not chosen:
        return "Choose orders first."
    said = [f"Queued: accept {orders} of {counted(chosen, 'chosen order')}."]
    if refused:
        said.append(f"{refused} could not be queued; the reason stands in the row.")
    if others := chosen - orders - refused:
        said.append(f"{others} {'has' if others == 1 else 'have'} nothing to accept.")
    return " ".join(said)


def _done(context: RequestContext, rows: Sequence[ShippingRow], said: str, *, bad: bool) -> Response:
    """The chosen rows as they are now, with what a form could not do."""
    if not context.is_partial:
        context.say(said, bad=bad)
        return context.go(paths.local(context.given("back") or HERE))
    now = rows_of_keys(context.bm, [row.key for row in rows])
    faults = {row.key: row.faults for row in rows}
    for row in now:
        row.faults = faults.get(row.key, {})
    return context.render("_ship_rows.html", rows=now, counts=None, news=said, bad=bad)


def _answer(context: RequestContext, said: str) -> Response:
    if not context.is_partial:
        context.say(said)
        return context.go(paths.local(context.given("back") or HERE))
    return context.render("_ship_row.html", row=_rows_of_path(context)[0], swaps=False)


def _refused(context: RequestContext, row: ShippingRow, line: int | None, error: BackMarketError) -> Response:
    """The row or the line with the reason, and with what the person had typed."""
    if not context.is_partial:
        context.say(f"Order {row.order.order_id}: {error}", bad=True)
        return context.go(paths.local(context.given("back") or HERE))
    row.faults = {line: str(error)}
    row.sent = {name: context.given(name) or "" for name in ("tracking_number", "imei")}
    if line is not None:
        return _line(context, row, line, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    return context.render("_ship_row.html", row=row, swaps=False, status=HTTPStatus.UNPROCESSABLE_ENTITY)


def _line(context: RequestContext, row: ShippingRow, line: int, *, status: HTTPStatus = HTTPStatus.OK) -> Response:
    found = next((each for each in row.order.lines if each.orderline_id == line), None)
    if found is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "The order has no such line. Reload the page.")
    return context.render("_ship_line.html", row=row, line=found, status=status)


def _rows_of_path(context: RequestContext) -> list[ShippingRow]:
    rows = rows_of(context.bm, context.bm.get_orders_by_keys([(context.organization_id, context.number("order"))]))
    if not rows:
        raise HTTPException(HTTPStatus.NOT_FOUND, "This order is not stored. Reload the page.")
    return rows


def _filters(chosen: dict[str, str]) -> dict[str, Any]:
    now = datetime.now(UTC)
    deadlines = {"": None, "late": now, "day": now + timedelta(days=1)}
    labels = {"": None, "backship": True, "own": False}
    if chosen["due"] not in deadlines or chosen["label"] not in labels:
        raise InvalidArgument("There is no such filter. Choose one from the list.")
    return {
        "step": chosen["step"] or None,
        "due_before": deadlines[chosen["due"]],
        "country_code": chosen["country"] or None,
        "sku": chosen["sku"] or None,
        "backship": labels[chosen["label"]],
    }
