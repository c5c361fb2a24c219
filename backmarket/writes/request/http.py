"""A write as an HTTP request: method, path and body."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

from backmarket.client.arguments import Attachment
from backmarket.client.multipart import encode_form
from backmarket.writes.request.models import UpdateListing, UpdateOrder, UpdateOrderline, WriteRequest, as_json


@dataclass(frozen=True, slots=True)
class Request:
    """The arguments of `Transport.send`.

    Attributes:
        method: of HTTP.
        path: begins with `/ws/`.
        content_type: of the body.
        body: the bytes to send.
    """

    method: Literal["POST", "PATCH"]
    path: str
    content_type: str
    body: bytes = field(repr=False)


def http_request(request: WriteRequest, invoice: bytes | None = None, *, sends_id: bool = True) -> Request:
    """The request that carries a write.

    Args:
        request: the checked write.
        invoice: the PDF, for a request that uploads one.
        sends_id: whether an update of an order also has the member `id`; see `Settings.order_update_sends_id`.

    Raises:
        ValueError: if the PDF is missing.
    """
    if isinstance(request, UpdateOrder):
        also = {"id": request.order_id} if sends_id else {}
        return _in_json("POST", f"/ws/orders/{request.order_id}", also | as_json(request))
    if isinstance(request, UpdateOrderline):
        path = f"/ws/orderlines/{request.orderline_id}"
        return _in_json("PATCH", path, {k: v for k, v in as_json(request).items() if k != "orderline_id"})
    if isinstance(request, UpdateListing):
        return _in_json("POST", f"/ws/listings/{request.listing_id}", dict(request.changes))
    if not invoice:
        raise ValueError("the invoice's bytes are missing")
    body, content_type = encode_form([("invoice", Attachment(request.filename, invoice, "application/pdf"))])
    return Request("POST", f"/ws/orders/{request.order_id}/invoice", content_type, body)


def _in_json(method: Literal["POST", "PATCH"], path: str, content: dict[str, Any]) -> Request:
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return Request(method, path, "application/json", text.encode())
