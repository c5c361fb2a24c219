"""A seller's writes to orders: moving lines on, registering identifiers, uploading invoices."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any, Final

from backmarket.sandbox import times
from backmarket.sandbox.api.calls import Call
from backmarket.sandbox.api.orders import order_of
from backmarket.sandbox.api.responses import Answer, Refused, in_json, refusal
from backmarket.sandbox.settings import Assumptions
from backmarket.sandbox.world.order_stock import OrderBody

NEXT_STATES: Final[dict[int, frozenset[int]]] = {
    1: frozenset({2, 4}),
    2: frozenset({3, 5}),
    3: frozenset({6}),
}
"""The schema `OrderLineState`: the states that a seller may move a line to. All other states are final."""

SETTABLE_STATES: Final = frozenset({2, 3, 4, 5, 6})

_ID_FIELDS: Final = {
    "either": ("id", "order_id"), "id": ("id",), "order_id": ("order_id",), "order_id_alone": ("order_id",),
}  # fmt: skip
_LINES_WITHOUT_SKU: Final = {"refused": 0, "refused_if_several": 1, "every_line": 10**6}
"""Maximum lines of an order that an update without a SKU may name."""

RETURN_REASONS: Final = frozenset({0, 1, 11, 12, 13, 21, 22, 23, 24, 25})
VAT_TYPES: Final = frozenset({"REGULAR", "MARGINAL"})
MAX_TEXT_CHARS: Final = {
    "sku": None, "imei": 15, "serial_number": 50, "tracking_number": 200, "tracking_url": 300, "shipper": 200,
    "return_message": 500, "date_shipping": None,
}  # fmt: skip
"""The texts of the schema `UpdateOrder` and their maximum lengths in characters."""


async def update_order(call: Call) -> Answer:
    """`update-ws-specific-order`: move one line, or with state 3 all accepted ones, to its next state."""
    row, update = order_of(call), await call.json_object()
    assumed, now = call.world.settings.assumptions, call.world.now()
    new_state = _checked(row.id, update, assumed)
    body = row.decoded()
    moved = _move(body, update, new_state, assumed)
    if new_state == 3:
        _ship(body, update, moved, now_text=times.write_time(now, "micro"))
    body["state"] = _order_state(body)
    changed = call.seller.orders.edit(row, now, lambda old: old.update(body))
    call.seller.applied("orders.update", row.id, update)
    if new_state == 2 and body.get("is_backship"):
        call.seller.deliveries.add_for(changed, [line["id"] for line in moved], now)
    return Answer(200, changed.body)


async def update_orderline(call: Call) -> Answer:
    """`update-ws-specific-orderline`: register an IMEI, a serial number, or both; they cannot be changed later."""
    line_id, update = call.path_number("orderline_id"), await call.json_object()
    row = call.seller.orders.of_line(line_id)
    if row is None:
        raise Refused(refusal(404, "Orderline not found.", code="orderline-not-found"))
    given: dict[str, Any] = {name: update[name] for name in ("imei", "serial_number") if name in update}
    if not given:
        raise _bad("imei or serial_number is required")
    for name, value in given.items():
        _check_text(name, value)
        if not value:
            raise _bad(f"{name} is empty")
    line = next(line for line in row.decoded()["orderlines"] if line["id"] == line_id)
    for name in given:
        if line.get(name):
            raise Refused(refusal(422, f"{name} is registered and cannot be corrected", code="already-registered"))

    def register(body: OrderBody) -> None:
        next(line for line in body["orderlines"] if line["id"] == line_id).update(given)

    call.seller.orders.edit(row, call.world.now(), register)
    call.seller.applied("orderlines.update", line_id, given)
    return in_json(given)


async def upload_invoice(call: Call) -> Answer:
    """`post-ws-specific-order-invoice`: store the file uploaded in the multipart field `invoice`."""
    row = order_of(call)
    content_type = call.headers.get(b"content-type", b"")
    if not content_type.lower().startswith(b"multipart/form-data"):
        raise _bad("Content-Type must be multipart/form-data")
    files = _form_files(content_type, await call.body(), "invoice")
    if not files:
        raise _bad("parameter invoice not found")
    for name, content in files:
        digest = hashlib.sha256(content).hexdigest()
        call.seller.invoices.append({"order_id": row.id, "name": name, "size": len(content), "sha256": digest})
        call.seller.applied("orders.invoice", row.id, {"name": name, "sha256": digest})
    return Answer(200, b"", content_type=b"")


def _bad(message: str) -> Refused:
    return Refused(refusal(400, message, code="invalid-request"))


def _checked(order_id: int, update: dict[str, Any], assumed: Assumptions) -> int:
    """The new state that a well-formed update requests."""
    names = _ID_FIELDS[assumed.order_id_field]
    if assumed.order_id_field == "order_id_alone" and "id" in update:
        raise _bad("unknown parameter id")
    given = [update[name] for name in names if name in update]
    if not given:
        raise _bad(f"parameter {names[0]} not found")
    if any(value != order_id or isinstance(value, bool) for value in given):
        raise _bad("the order id in the body is not the one in the path")
    new_state = update.get("new_state")
    if not isinstance(new_state, int) or isinstance(new_state, bool) or new_state not in SETTABLE_STATES:
        raise _bad("new_state must be in 2,3,4,5,6")
    for name in MAX_TEXT_CHARS:
        if update.get(name) is not None:
            _check_text(name, update[name])
    if not _among(update.get("return_reason"), RETURN_REASONS):
        raise _bad("parameter return_reason is unknown")
    if not _among(update.get("vat_type"), VAT_TYPES):
        raise _bad("parameter vat_type must be REGULAR or MARGINAL")
    if new_state == 3 and not update.get("tracking_number"):
        raise _bad("parameter tracking_number is required for state 3")
    return new_state


def _among(value: object, allowed: Iterable[object]) -> bool:
    """Whether a value is missing, or exactly one of the allowed ones (true is not 1)."""
    return value is None or any(type(value) is type(one) and value == one for one in allowed)


def _check_text(name: str, value: object) -> None:
    longest = MAX_TEXT_CHARS[name]
    if not isinstance(value, str) or (longest is not None and len(value) > longest):
        raise _bad(f"parameter {name} must be a text" + (f" of at most {longest} characters" if longest else ""))
    if name == "date_shipping":
        try:
            times.parse_time(value)
        except ValueError:
            raise _bad("parameter date_shipping must be an RFC 3339 time") from None


def _move(body: OrderBody, update: dict[str, Any], new_state: int, assumed: Assumptions) -> list[dict[str, Any]]:
    """Move the lines that the update selects to their new state; returns them."""
    lines = body["orderlines"]
    sku = update.get("sku")
    if sku is not None and new_state != 3:
        lines = [line for line in lines if line["listing"] == sku]
        if not lines:
            raise _bad("no line of this order has that sku")
    elif new_state != 3 and len(lines) > _LINES_WITHOUT_SKU[assumed.sku_missing]:
        raise _bad("sku not found")
    moved = [line for line in lines if new_state in NEXT_STATES.get(line["state"], ())]
    if not moved:
        raise _bad(f"no line can go to state {new_state}")
    for line in moved:
        line["state"] = new_state
        if new_state in {4, 5, 6}:
            line["return_reason"] = update.get("return_reason", line.get("return_reason"))
            line["return_message"] = update.get("return_message", line.get("return_message"))
    return moved


def _ship(body: OrderBody, update: dict[str, Any], moved: list[dict[str, Any]], *, now_text: str) -> None:
    identifiers = {name: update[name] for name in ("imei", "serial_number") if update.get(name)}
    if identifiers and (len(body["orderlines"]) > 1 or body["orderlines"][0]["quantity"] != 1):
        raise _bad("imei and serial_number need an order of one line with quantity 1")
    for name, value in identifiers.items():
        if moved[0].get(name):
            raise _bad(f"{name} is registered and cannot be corrected")
        moved[0][name] = value
    body["tracking_number"] = update["tracking_number"]
    body["tracking_url"] = update.get("tracking_url", body.get("tracking_url"))
    body["shipper_display"] = update.get("shipper", body.get("shipper_display"))
    body["date_shipping"] = update.get("date_shipping") or now_text


def _order_state(body: OrderBody) -> int:
    """The state that follows from the lines: the order is processed once no line is open."""
    states = {line["state"] for line in body["orderlines"]}
    if states & {0, 1, 7, 8, 9}:
        state: int = body["state"]
        return state
    return 3 if 2 in states else 9


def _form_files(content_type: bytes, content: bytes, field: str) -> list[tuple[str, bytes]]:
    """The files that a multipart form holds in one field, each with its name."""
    boundary = re.search(rb'boundary="?([^";]+)', content_type)
    if boundary is None:
        raise _bad("Content-Type has no boundary")
    files = []
    for part in content.split(b"--" + boundary[1])[1:-1]:
        head, _, payload = part.partition(b"\r\n\r\n")
        names = dict(re.findall(r'\b(name|filename)="([^"]*)"', head.decode("utf-8", "replace")))
        if names.get("name") == field:
            files.append((names.get("filename", ""), payload.removesuffix(b"\r\n")))
    return files
