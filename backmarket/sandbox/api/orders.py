"""Orders and order lines: the operations of the document's tags Orders and Orderline."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from backmarket.sandbox import times
from backmarket.sandbox.api import pagination
from backmarket.sandbox.api.calls import Call
from backmarket.sandbox.api.responses import Answer, Refused, refusal
from backmarket.sandbox.api.signing import signed
from backmarket.sandbox.settings import ListOrder
from backmarket.sandbox.world.order_stock import ORDER_STATES, OrderRow
from backmarket.sandbox.world.people import COUNTRY_CODES

_SORTS: Final[dict[ListOrder, tuple[Callable[[OrderRow], Any], bool]]] = {
    "creation_desc": (lambda row: (row.created, row.id), True),
    "creation_asc": (lambda row: (row.created, row.id), False),
    "modification_desc": (lambda row: (row.modified, row.id), True),
    "modification_asc": (lambda row: (row.modified, row.id), False),
}


async def list_orders(call: Call) -> Answer:
    """`get-ws-list-order`: pages of at most 50, filtered by dates, state and country code."""
    assumed = call.world.settings.assumptions
    query = call.query
    page, size = pagination.page_number(query, assumed), pagination.page_size(query, assumed)
    created, modified = _time(query, "date_creation"), _time(query, "date_modification")
    state, country_code = _state(query), _country_code(query)
    exclusive = assumed.date_filter == "exclusive"
    hidden = {0} if assumed.unpaid_orders == "stay" else {0, 8}

    def asked_for(row: OrderRow) -> bool:
        return (
            row.state not in hidden
            and (created is None or row.created > created or (row.created == created and not exclusive))
            and (modified is None or row.modified > modified or (row.modified == modified and not exclusive))
            and (state is None or row.state == state)
            and (country_code is None or row.country_code == country_code)
        )

    order, descending = _SORTS[assumed.list_order]
    key = (assumed.list_order, assumed.unpaid_orders, exclusive, created, modified, state, country_code)
    rows = call.seller.orders.rows.listed(key, order=order, descending=descending, where=asked_for)
    return signed(call, pagination.page_of(rows, page, size, call, "/ws/orders"))


async def get_order(call: Call) -> Answer:
    """`get-ws-specific-order`: any order of the account, including those in states 0 and 8."""
    return signed(call, Answer(200, order_of(call).body))


def order_of(call: Call) -> OrderRow:
    """The account's order whose id the path names.

    Raises:
        Refused: if there is no such order (404).
    """
    row = call.seller.orders.rows.get(call.path_number("order_id"))
    if row is None:
        raise Refused(refusal(404, "Order not found.", code="order-not-found"))
    return row


def _time(query: dict[str, str], name: str) -> datetime | None:
    text = query.get(name)
    if text is None:
        return None
    try:
        return times.parse_time(text)
    except ValueError:
        raise Refused(refusal(400, f"parameter {name} must be an RFC 3339 time", code="invalid-parameter")) from None


def _state(query: dict[str, str]) -> int | None:
    text = query.get("state")
    if text is None:
        return None
    if text not in {str(state) for state in ORDER_STATES}:
        raise Refused(refusal(400, "parameter state is not an order state", code="invalid-parameter"))
    return int(text)


def _country_code(query: dict[str, str]) -> str | None:
    text = query.get("country_code")
    if text is not None and text not in COUNTRY_CODES:
        raise Refused(refusal(400, "parameter country_code is not a country code", code="invalid-parameter"))
    return text
