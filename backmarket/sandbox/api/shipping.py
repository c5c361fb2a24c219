"""BackShip: deliveries, returns and their labels (tag Backship)."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from backmarket.sandbox import times
from backmarket.sandbox.api import pagination
from backmarket.sandbox.api.calls import Call
from backmarket.sandbox.api.label_files import label_pdf
from backmarket.sandbox.api.middleware import Handler
from backmarket.sandbox.api.responses import Answer, Refused, in_json, refusal
from backmarket.sandbox.api.signing import signed
from backmarket.sandbox.world.shipment_stock import LABEL_HOST, Kind, ShipmentRow, ShipmentStock, by_creation

if TYPE_CHECKING:
    from backmarket.sandbox.world.sellers import Seller

ORDER_STATES: Final = frozenset({0, 1, 3, 8, 9})
"""Allowed values of the parameter `order_state`; 10 is not among them."""


def list_shipments(kind: Kind) -> Handler:
    """`GetDeliveries` or `GetReturns`: pages of a fixed size, by dates, order and scan."""

    async def handler(call: Call) -> Answer:
        wanted = Wanted.of(call)
        descending = call.world.settings.assumptions.list_order.endswith("_desc")
        rows = _stock(call, kind).rows.listed(
            (wanted, descending), order=by_creation, descending=descending, where=wanted.admits
        )
        if wanted.order_state is not None:
            rows = [row for row in rows if _order_state(call, row) == wanted.order_state]
        page, size = _page(call.query), call.world.settings.shipping_page_size
        answer = pagination.page_of(rows, page, size, call, f"/ws/shipping/v1/{kind}")
        return _here(call, answer)

    return handler


def get_shipment(kind: Kind) -> Handler:
    """`GetDelivery` or `GetReturn`, by the shipment's id."""

    async def handler(call: Call) -> Answer:
        row = _stock(call, kind).rows.get(call.path_number("id"))
        if row is None:
            raise Refused(refusal(404, "Not found.", code="not-found"))
        return _here(call, Answer(200, row.body))

    return handler


def get_label(kind: Kind) -> Handler:
    """A label as a PDF; `Assumptions.labels` says whether it requires the account's token."""

    async def handler(call: Call) -> Answer:
        path: str = call.scope["path"]
        for seller in _whose_labels(call):
            shipment = seller.shipments(kind).labels.get(path)
            if shipment is not None:
                pdf = label_pdf(shipment, call.world.settings.label_bytes)
                return Answer(200, pdf, b"application/pdf")
        raise Refused(refusal(404, "Not found.", shape="html"))

    return handler


def _whose_labels(call: Call) -> list[Seller]:
    if call.world.settings.assumptions.labels == "open":
        return list(call.world.sellers.values())
    return [call.seller]


def _stock(call: Call, kind: Kind) -> ShipmentStock:
    if not call.seller.backship:
        raise Refused(refusal(403, "This account is not subscribed to BackShip.", code="forbidden"))
    return call.seller.shipments(kind)


def _here(call: Call, answer: Answer) -> Answer:
    """The answer, with labels' addresses at the host by which the caller reaches this sandbox."""
    return signed(call, answer._replace(body=answer.body.replace(LABEL_HOST.encode(), call.origin.encode())))


def _page(query: dict[str, str]) -> int:
    page = _number(query, "page")
    if page == 0:
        raise _unprocessable("page")
    return 1 if page is None else page


def _order_state(call: Call, row: ShipmentRow) -> int | None:
    order = call.seller.orders.rows.get(row.order_id)
    return order.state if order else None


def _within(moment: datetime | None, first: datetime | None, last: datetime | None) -> bool:
    """Whether a moment lies between two others, inclusive."""
    if first is None and last is None:
        return True
    return moment is not None and (first is None or moment >= first) and (last is None or moment <= last)


class Wanted(NamedTuple):
    """The filter in the query parameters. Dates are inclusive at both ends, as documented."""

    created: tuple[datetime | None, datetime | None]
    picked_up: tuple[datetime | None, datetime | None]
    order_id: int | None
    order_state: int | None
    hub_scanned: bool | None

    @classmethod
    def of(cls, call: Call) -> Wanted:
        """Read the query parameters.

        Raises:
            Refused: if one is malformed (422).
        """
        query = call.query
        state = _number(query, "order_state")
        if state is not None and state not in ORDER_STATES:
            raise _unprocessable("order_state")
        scanned = query.get("hub_scanned", "").lower()
        if scanned not in {"", "true", "false"}:
            raise _unprocessable("hub_scanned")
        return cls(
            (_time(call, "start_date"), _time(call, "end_date")),
            (_time(call, "pickup_start_date"), _time(call, "pickup_end_date")),
            _number(query, "order_id"),
            state,
            scanned == "true" if scanned else None,
        )

    def admits(self, row: ShipmentRow) -> bool:
        """Whether a row matches, apart from its order's state."""
        return (
            _within(row.created, *self.created)
            and _within(row.picked_up, *self.picked_up)
            and (self.order_id is None or row.order_id == self.order_id)
            and (self.hub_scanned is None or (row.stage >= 2) == self.hub_scanned)
        )


def _number(query: dict[str, str], name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise _unprocessable(name)
    return int(text)


def _time(call: Call, name: str) -> datetime | None:
    text = call.query.get(name)
    if text is None:
        return None
    try:
        return times.parse_time(text, naive_zone=call.world.settings.assumptions.naive_zone)
    except ValueError:
        raise _unprocessable(name) from None


def _unprocessable(name: str) -> Refused:
    """422 as the schema `OrderIdValidationError` shows it."""
    error = {"code": "E009", "message": "Validation error"}
    return Refused(in_json({"error": error, "data": {"fields": {name: ["Not a valid value."]}}}, 422))
