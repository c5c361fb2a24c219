"""What sellers do to orders in the sandbox: states that follow the document's table, and reads that show it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from backmarket.resources.signed_links import without_signatures
from backmarket.sandbox import Assumptions, InProcessTransport, Settings, World

HEADERS = {"authorization": "Basic token", "user-agent": "BM-Test-Unit;test@example.com"}
NOW = datetime(2026, 5, 4, 3, 2, 1, 123456, tzinfo=UTC)
SKU = "THE-SKU"

Order = Callable[..., int]


@pytest.fixture
def world() -> World:
    world = World(clock=lambda: NOW)
    world.add_seller("s", "token", orders=5, deliveries=0, returns=0)
    return world


@pytest.fixture
def client(world: World) -> httpx.Client:
    return httpx.Client(transport=InProcessTransport(world), base_url="http://sandbox", headers=HEADERS)


@pytest.fixture
def order(world: World) -> Order:
    """Makes an order whose lines have these states; their SKUs are `SKU`, `SKU1`, `SKU2`."""

    def make(*states: int, quantity: int = 1, state: int = 1, backship: bool = False) -> int:
        stock = world.sellers["s"].orders
        row = next(row for row in stock.rows if len(row.lines) >= len(states))
        body = row.decoded()
        for number, (line, line_state) in enumerate(zip(body["orderlines"], states, strict=False)):
            line |= {"state": line_state, "listing": SKU + (str(number) if number else ""), "quantity": quantity}
            line |= {"imei": None, "serial_number": ""}
        body["orderlines"] = body["orderlines"][: len(states)]
        body |= {"state": state, "is_backship": backship}
        stock.edit(row, row.modified, lambda old: old.update(body))
        return row.id

    return make


def update(client: httpx.Client, order_id: int, **fields: Any) -> httpx.Response:
    return client.post(f"/ws/orders/{order_id}", json={"id": order_id, "order_id": order_id} | fields)


@pytest.mark.parametrize("now", range(10))
@pytest.mark.parametrize("new", range(10))
def test_a_line_goes_only_where_the_document_lets_it(client: httpx.Client, order: Order, now: int, new: int) -> None:
    allowed = {(1, 2), (1, 4), (2, 3), (2, 5), (3, 6)}
    order_id = order(now)
    answer = update(client, order_id, new_state=new, sku=SKU, tracking_number="T")
    read = client.get(f"/ws/orders/{order_id}").json()
    assert answer.status_code == (200 if (now, new) in allowed else 400)
    assert read["orderlines"][0]["state"] == (new if (now, new) in allowed else now)


@pytest.mark.parametrize(
    ("lines", "new", "after"),
    [((1,), 2, 3), ((1,), 4, 9), ((2,), 3, 9), ((2,), 5, 9), ((1, 1), 2, 1), ((1, 2), 4, 3), ((1, 4), 2, 3)],
)
def test_the_orders_state_follows_from_its_lines(
    client: httpx.Client, order: Order, lines: tuple[int, ...], new: int, after: int
) -> None:
    answer = update(client, order(*lines), new_state=new, sku=SKU, tracking_number="T")
    assert answer.json()["state"] == after


def test_a_write_shows_up_in_the_list_by_modification(client: httpx.Client, order: Order) -> None:
    order_id = order(1)
    since = {"date_modification": (NOW - timedelta(seconds=1)).isoformat()}
    assert client.get("/ws/orders", params=since).json()["count"] == 0
    update(client, order_id, new_state=2, sku=SKU)
    rows = client.get("/ws/orders", params=since).json()["results"]
    assert [row["order_id"] for row in rows] == [order_id]
    assert rows[0]["date_modification"] == "2026-05-04T03:02:01.123456Z"


def test_shipping_takes_all_accepted_lines_and_needs_a_tracking_number(client: httpx.Client, order: Order) -> None:
    order_id = order(2, 2, 4)
    assert update(client, order_id, new_state=3).status_code == 400
    body = update(
        client, order_id, new_state=3, tracking_number="T1", tracking_url="http://t", shipper="UPS",
        date_shipping="2026-05-04T00:00:00Z",
    ).json()  # fmt: skip
    assert [line["state"] for line in body["orderlines"]] == [3, 3, 4]
    assert (body["tracking_number"], body["tracking_url"], body["shipper_display"]) == ("T1", "http://t", "UPS")
    assert (body["date_shipping"], body["state"]) == ("2026-05-04T00:00:00Z", 9)


def test_a_sku_is_required_of_an_order_with_one_line_too(client: httpx.Client, order: Order, world: World) -> None:
    refused = update(client, order(1), new_state=2)
    assert (refused.status_code, "sku not found" in refused.text) == (400, True)
    world.settings = Settings(assumptions=Assumptions(sku_missing="refused_if_several"))
    assert update(client, order(1), new_state=2).status_code == 200


def test_no_line_is_moved_to_a_state_that_is_the_orders_alone(client: httpx.Client, order: Order) -> None:
    assert "must be in 2,3,4,5,6" in update(client, order(1), new_state=9, sku=SKU).text


def test_a_sku_picks_one_line_and_is_required_where_there_are_several(
    client: httpx.Client, order: Order, world: World
) -> None:
    order_id = order(1, 1)
    assert update(client, order_id, new_state=2).status_code == 400
    assert update(client, order_id, new_state=2, sku="ANOTHER").status_code == 400
    body = update(client, order_id, new_state=2, sku=SKU + "1").json()
    assert [line["state"] for line in body["orderlines"]] == [1, 2]
    world.settings = Settings(assumptions=Assumptions(sku_missing="every_line"))
    assert update(client, order_id, new_state=2).status_code == 200


@pytest.mark.parametrize(
    "fields",
    [
        {"new_state": "2"}, {"new_state": None}, {"new_state": 2, "return_reason": 2},
        {"new_state": 2, "vat_type": "x"}, {"new_state": 4, "return_message": "m" * 501},
        {"new_state": 2, "id": 1}, {"new_state": 2, "id": True}, {"new_state": 2, "sku": 5},
        {"new_state": 2, "return_reason": {"an": "object"}}, {"new_state": 2, "return_reason": True},
        {"new_state": 2, "vat_type": []},
    ],
)  # fmt: skip
def test_malformed_updates_change_nothing(client: httpx.Client, order: Order, fields: dict[str, Any]) -> None:
    order_id = order(1)
    before = without_signatures(client.get(f"/ws/orders/{order_id}").content)
    assert update(client, order_id, **({"sku": SKU} | fields)).status_code == 400
    assert without_signatures(client.get(f"/ws/orders/{order_id}").content) == before


@pytest.mark.parametrize(
    ("assumed", "names", "status"),
    [
        ("either", {"id"}, 200), ("either", {"order_id"}, 200), ("either", set(), 400),
        ("id", {"order_id"}, 400), ("id", {"id", "order_id"}, 200), ("order_id", {"id"}, 400),
        ("order_id_alone", {"order_id"}, 200), ("order_id_alone", {"id", "order_id"}, 400),
    ],
)  # fmt: skip
def test_the_orders_id_in_the_body(
    client: httpx.Client, order: Order, world: World, assumed: Any, names: set[str], status: int
) -> None:
    world.settings = Settings(assumptions=Assumptions(order_id_field=assumed))
    order_id = order(1)
    body = dict.fromkeys(names, order_id) | {"new_state": 2, "sku": SKU}
    assert client.post(f"/ws/orders/{order_id}", json=body).status_code == status


def test_reason_and_message_are_kept_with_a_refund(client: httpx.Client, order: Order) -> None:
    line = update(client, order(3), new_state=6, sku=SKU, return_reason=21, return_message="So").json()["orderlines"][0]
    assert (line["return_reason"], line["return_message"]) == (21, "So")


def test_identifiers_need_one_line_of_one_piece(client: httpx.Client, order: Order) -> None:
    ship = {"new_state": 3, "tracking_number": "T", "serial_number": "S"}
    assert update(client, order(2, 2), **ship).status_code == 400
    assert update(client, order(2, quantity=2), **ship).status_code == 400
    assert update(client, order(2), **ship).json()["orderlines"][0]["serial_number"] == "S"


@pytest.mark.parametrize("name", ["imei", "serial_number"])
def test_a_registered_identifier_stays(client: httpx.Client, order: Order, name: str) -> None:
    order_id = order(2)
    line_id = client.get(f"/ws/orders/{order_id}").json()["orderlines"][0]["id"]
    path = f"/ws/orderlines/{line_id}"
    assert client.patch(path, json={}).status_code == 400
    assert client.patch(path, json={name: "x" * 51}).status_code == 400
    first = client.patch(path, json={name: "A1"})
    assert (first.status_code, first.json()) == (200, {name: "A1"})
    assert client.patch(path, json={name: "A2"}).status_code == 422
    read = client.get(f"/ws/orders/{order_id}").json()
    assert (read["orderlines"][0][name], read["date_modification"]) == ("A1", "2026-05-04T03:02:01.123456Z")
    assert client.patch("/ws/orderlines/1", json={name: "A1"}).status_code == 404


def test_accepting_a_line_of_a_backship_order_makes_a_delivery_with_a_label(client: httpx.Client, order: Order) -> None:
    order_id = order(1, backship=True)
    update(client, order_id, new_state=2, sku=SKU)
    row = client.get("/ws/shipping/v1/deliveries", params={"order_id": order_id}).json()["results"][0]
    assert row["orderlines"] == [client.get(f"/ws/orders/{order_id}").json()["orderlines"][0]["id"]]
    assert client.get(row["labelUrl"]).content.startswith(b"%PDF-")


def test_an_invoice_arrives_byte_for_byte(client: httpx.Client, order: Order, world: World) -> None:
    content = b"%PDF-1.4\r\n--\r\n\x00\xff\r" * 999 + b"\r\n"
    order_id = order(3)
    answer = client.post(f"/ws/orders/{order_id}/invoice", files={"invoice": ("i.pdf", content)})
    assert (answer.status_code, answer.content, answer.headers.get("content-type")) == (200, b"", None)
    assert world.sellers["s"].invoices == [
        {"order_id": order_id, "name": "i.pdf", "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    ]
    assert client.post(f"/ws/orders/{order_id}/invoice", files={"other": ("i.pdf", content)}).status_code == 400
    assert client.post(f"/ws/orders/{order_id}/invoice", json={}).status_code == 400
    assert client.post("/ws/orders/1/invoice", files={"invoice": ("i.pdf", content)}).status_code == 404


def test_each_write_that_took_place_is_counted_once(world: World, client: httpx.Client, order: Order) -> None:
    order_id = order(1)
    assert update(client, order_id, new_state=2, sku=SKU).status_code == 200
    assert update(client, order_id, new_state=2, sku=SKU).status_code == 400
    fields = {"id": order_id, "order_id": order_id, "new_state": 2, "sku": SKU}
    assert world.sellers["s"].writes == [{"operation": "orders.update", "object": str(order_id), "fields": fields}]


@pytest.mark.parametrize("body", [b"", b"{", b"[]"])
@pytest.mark.parametrize("path", ["/ws/listings", "/ws/listings/{}"])
def test_listings_refuse_what_is_no_object_in_a_text_as_documented(
    client: httpx.Client, world: World, path: str, body: bytes
) -> None:
    listing = next(iter(world.sellers["s"].listings.rows)).id
    answer = client.post(path.format(listing), content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert isinstance(answer.json(), str)
    assert isinstance(client.post("/ws/listings/-1", json={"quantity": 1}).json(), str)
