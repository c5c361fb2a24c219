"""Deliveries, returns and labels in the sandbox."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from backmarket.sandbox import Assumptions, InProcessTransport, Settings, World

HEADERS = {"authorization": "Basic token", "user-agent": "BM-Test-Unit;test@example.com"}
KINDS = ("deliveries", "returns")


@pytest.fixture
def world() -> World:
    world = World(6)
    world.add_seller("s", "token", orders=80, deliveries=95, returns=45)
    return world


@pytest.fixture
def client(world: World) -> httpx.Client:
    return httpx.Client(transport=InProcessTransport(world), base_url="http://sandbox:81", headers=HEADERS)


def listed(client: httpx.Client, kind: str, **query: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    page = 1
    while True:
        answer = client.get(f"/ws/shipping/v1/{kind}", params={"page": page} | query)
        assert answer.status_code == 200, answer.text
        rows += answer.json()["results"]
        if answer.json()["next"] is None:
            return rows
        page += 1


@pytest.mark.parametrize(("kind", "rows"), [("deliveries", 95), ("returns", 45)])
def test_pages_have_a_size_of_their_own(client: httpx.Client, kind: str, rows: int) -> None:
    first = client.get(f"/ws/shipping/v1/{kind}", params={"page-size": 50}).json()
    assert (len(first["results"]), first["count"]) == (20, rows)
    everything = listed(client, kind)
    assert len({row["shipmentId"] for row in everything}) == len(everything) == rows


@pytest.mark.parametrize("kind", KINDS)
def test_one_by_its_id(client: httpx.Client, kind: str) -> None:
    row = listed(client, kind)[7]
    assert client.get(f"/ws/shipping/v1/{kind}/{row['shipmentId']}").json() == row
    assert client.get(f"/ws/shipping/v1/{kind}/1").status_code == 404


@pytest.mark.parametrize("kind", KINDS)
def test_filters(client: httpx.Client, world: World, kind: Any) -> None:
    rows = {row.id: row for row in world.sellers["s"].shipments(kind).rows}
    picked = sorted((row.picked_up, row.id) for row in rows.values() if row.picked_up)
    (middle_pickup, middle_id), (last_pickup, _) = picked[len(picked) // 3], picked[len(picked) // 2]
    middle = rows[middle_id]
    orders: Any = world.sellers["s"].orders.rows
    expectations: list[tuple[dict[str, Any], Any]] = [
        ({"order_id": middle.order_id}, lambda row: row.order_id == middle.order_id),
        ({"start_date": middle.created.isoformat()}, lambda row: row.created >= middle.created),
        ({"end_date": f"{middle.created:%Y-%m-%dT%H:%M:%S.%f}"}, lambda row: row.created <= middle.created),
        ({"pickup_start_date": middle_pickup.isoformat(), "pickup_end_date": last_pickup.isoformat()},
         lambda row: row.picked_up and middle_pickup <= row.picked_up <= last_pickup),
        ({"hub_scanned": "true"}, lambda row: row.stage >= 2),
        ({"hub_scanned": "False"}, lambda row: row.stage < 2),
        ({"order_state": 3}, lambda row: orders.get(row.order_id).state == 3),
    ]  # fmt: skip
    for query, expected in expectations:
        told = {row["shipmentId"] for row in listed(client, kind, **query)}
        assert told == {row.id for row in rows.values() if expected(row)}, query
        assert 0 < len(told) < len(rows), query


@pytest.mark.parametrize(
    "query",
    [
        {"order_id": "x"},
        {"page": 0},
        {"page": "x"},
        {"order_state": 10},
        {"hub_scanned": "maybe"},
        {"start_date": "today"},
    ],
)
def test_malformed_queries_are_422_in_their_own_shape(client: httpx.Client, query: dict[str, Any]) -> None:
    answer = client.get("/ws/shipping/v1/returns", params=query)
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "E009"
    assert list(answer.json()["data"]["fields"]) == list(query)


@pytest.mark.parametrize("kind", KINDS)
def test_an_account_without_backship_is_forbidden(client: httpx.Client, world: World, kind: str) -> None:
    world.sellers["s"].backship = False
    answer = client.get(f"/ws/shipping/v1/{kind}")
    assert (answer.status_code, set(answer.json())) == (403, {"error", "requestId"})
    assert client.get("/ws/orders").status_code == 200


@pytest.mark.parametrize(("kind", "field", "start"), [
    ("deliveries", "labelUrl", "/static/shipment_labels/eu-"),
    ("returns", "label", "http://sandbox:81/static/return_labels/"),
])  # fmt: skip
def test_labels_are_pdfs_of_their_own_and_may_be_missing_at_first(
    client: httpx.Client, world: World, kind: str, field: str, start: str
) -> None:
    world.settings = Settings(label_bytes=5000)
    rows = listed(client, kind)
    labels = [row[field] for row in rows if row[field] is not None]
    assert 0 < len(labels) < len(rows)
    assert len(set(labels)) == len(labels)
    assert all(label.startswith(start) and label.endswith(".pdf") for label in labels)
    answers = [client.get(label) for label in labels[:5]]
    assert {answer.headers["content-type"] for answer in answers} == {"application/pdf"}
    assert all(answer.content.startswith(b"%PDF-") and b"%%EOF" in answer.content[-10:] for answer in answers)
    assert {len(answer.content) >= 5000 for answer in answers} == {True}
    assert len({answer.content for answer in answers}) == 5
    assert client.get(start + "none.pdf").status_code == 404


@pytest.mark.parametrize(("assumed", "status"), [("token", 401), ("open", 200)])
def test_a_label_may_take_the_token(client: httpx.Client, world: World, assumed: Any, status: int) -> None:
    world.settings = Settings(assumptions=Assumptions(labels=assumed))
    label = next(row["labelUrl"] for row in listed(client, "deliveries") if row["labelUrl"])
    assert client.get(label).status_code == 200
    assert client.get(label, headers={"authorization": "Basic wrong"}).status_code == status


def test_a_label_of_another_account_is_not_there(client: httpx.Client, world: World) -> None:
    world.add_seller("other", "token-other", orders=1)
    label = next(row["labelUrl"] for row in listed(client, "deliveries") if row["labelUrl"])
    assert client.get(label, headers={"authorization": "Basic token-other"}).status_code == 404


@pytest.mark.parametrize("kind", KINDS)
def test_a_pickup_leaves_a_shipments_creation(client: httpx.Client, world: World, kind: Any) -> None:
    stock = world.sellers["s"].shipments(kind)
    shipment = stock.add(world.start, "newest").id
    later = world.start + timedelta(days=40)
    for _ in ("label", "scan", "pickup"):
        row = stock.rows.get(shipment)
        assert row is not None
        stock.modify(row, later, {}, silent=False)
    since = (later - timedelta(days=1)).isoformat()
    assert listed(client, kind, start_date=since) == []
    assert [row["shipmentId"] for row in listed(client, kind, pickup_start_date=since)] == [shipment]


def test_categories(client: httpx.Client) -> None:
    tree = client.get("/ws/category/tree/").json()
    branch = client.get(f"/ws/category/tree/{tree[0]['childrens'][0]['category_id']}").json()
    assert branch == tree[0]["childrens"][0]
    assert client.get("/ws/category/tree/999").status_code == 404
