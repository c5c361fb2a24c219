"""Writes as the API takes them: held against the document, and tried on the sandbox's own application."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

import httpx
import pytest

from backmarket.sandbox import InProcessTransport, World
from backmarket.writes.request.http import Request, http_request
from backmarket.writes.request.models import UploadOrderInvoice
from backmarket.writes.request.validation import update_listing, update_order, update_orderline, upload_order_invoice
from tests.contract.facts import faults, request_fields

HEADERS = {"authorization": "Basic token", "user-agent": "BM-Test-Unit;test@example.com"}
PDF = b"%PDF-1.4\n--boundary\r\n%%EOF"


def decoded(request: Request, operation: str) -> Any:
    assert request.content_type == "application/json"
    assert b", " not in request.body
    body = json.loads(request.body)
    assert list(faults(request_fields(operation), body)) == []
    return body


def test_an_order_names_itself_in_both_ways() -> None:
    order = update_order(
        7, 3, tracking_number="T1", shipper="Poste Ünion", date_shipping=datetime(2026, 5, 4, 1, 2, 3, tzinfo=UTC)
    )
    request = http_request(order)
    assert (request.method, request.path) == ("POST", "/ws/orders/7")
    assert decoded(request, "POST /ws/orders/{order_id}") == {
        "id": 7,
        "order_id": 7,
        "new_state": 3,
        "tracking_number": "T1",
        "shipper": "Poste Ünion",
        "date_shipping": "2026-05-04T01:02:03Z",
    }
    assert b"T1" not in repr(request).encode()


def test_a_setting_leaves_the_id_out_of_an_order() -> None:
    body = json.loads(http_request(update_order(7, 2, sku="a"), sends_id=False).body)
    assert body == {"order_id": 7, "new_state": 2, "sku": "a"}


def test_an_order_line_carries_its_identifiers_alone() -> None:
    request = http_request(update_orderline(9, serial_number="SN"))
    assert (request.method, request.path) == ("PATCH", "/ws/orderlines/9")
    assert decoded(request, "PATCH /ws/orderlines/{orderline_id}") == {"serial_number": "SN"}


def test_a_listing_carries_what_changes_with_amounts_as_texts() -> None:
    changes = {"price": 5, "min_price": None, "quantity": 0, "shipper_1": "DHL", "shipping_price_1": "1.5"}
    request = http_request(update_listing(123, changes, locale="en-gb"))
    assert (request.method, request.path) == ("POST", "/ws/listings/123")
    assert decoded(request, "POST /ws/listings/{listingId}") == {
        "price": "5.00",
        "currency": "GBP",
        "min_price": None,
        "quantity": 0,
        "shipper_1": "DHL",
        "shipping_price_1": "1.50",
    }


def test_an_invoice_is_a_form_with_one_file() -> None:
    request = http_request(upload_order_invoice(7, "Facture n° 7.pdf"), PDF)
    assert (request.method, request.path) == ("POST", "/ws/orders/7/invoice")
    message = BytesParser(policy=HTTP).parsebytes(
        f"Content-Type: {request.content_type}\r\n\r\n".encode() + request.body
    )
    (part,) = message.iter_parts()
    assert part.get_content_type() == "application/pdf"
    assert part.get_payload(decode=True) == PDF
    assert part["content-disposition"].params["name"] == "invoice"
    assert 'filename="Facture n° 7.pdf"'.encode() in request.body
    assert request.content_type != http_request(upload_order_invoice(7, "a.pdf"), PDF).content_type, "a boundary each"


@pytest.mark.parametrize("content", [None, b""])
def test_an_invoice_needs_its_bytes(content: bytes | None) -> None:
    with pytest.raises(ValueError, match="missing"):
        http_request(UploadOrderInvoice(order_id=7, filename="a.pdf"), content)


def test_the_sandbox_takes_all_of_them() -> None:
    world = World(clock=lambda: datetime(2026, 5, 4, tzinfo=UTC))
    world.add_seller("s", "token", orders=5, listings=3, deliveries=0, returns=0)
    client = httpx.Client(transport=InProcessTransport(world), base_url="http://sandbox", headers=HEADERS)
    row = next(iter(world.sellers["s"].orders.rows))
    line = {"state": 1, "quantity": 1, "imei": None, "serial_number": "", "listing": "A"}

    def one_line(body: dict[str, Any]) -> None:
        body["orderlines"] = [body["orderlines"][0] | line]
        body["state"] = 1

    world.sellers["s"].orders.edit(row, row.modified, one_line)
    line_id = client.get(f"/ws/orders/{row.id}").json()["orderlines"][0]["id"]
    listing_id = client.get("/ws/listings").json()["results"][0]["id"]
    writes = [
        http_request(update_order(row.id, 2, sku="A")),
        http_request(update_order(row.id, 3, tracking_number="T1", imei="490154203237518")),
        http_request(update_orderline(line_id, serial_number="SN")),
        http_request(update_listing(listing_id, {"price": "99.9", "comment": "é"}, locale="fr-fr")),
        http_request(upload_order_invoice(row.id, "i.pdf"), PDF),
    ]
    for write in writes:
        headers = {"content-type": write.content_type}
        answer = client.request(write.method, write.path, content=write.body, headers=headers)
        assert answer.status_code == 200, answer.text
    order = client.get(f"/ws/orders/{row.id}").json()
    assert order["tracking_number"] == "T1"
    assert order["orderlines"][0]["imei"] == "490154203237518"
    assert order["orderlines"][0]["serial_number"] == "SN"
    assert client.get(f"/ws/listings/{listing_id}").json()["price"] == "99.90"
    assert world.sellers["s"].invoices[0]["size"] == len(PDF)
