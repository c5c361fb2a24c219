"""What happens behind a client's back: at once, in the middle of a walk, and how the control API tells of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from backmarket.sandbox import Change, InProcessTransport, SandboxControl, World

HEADERS = {"authorization": "Basic token", "user-agent": "BM-Test-Unit;test@example.com"}


@pytest.fixture
def world() -> World:
    world = World(2, datetime(2026, 1, 1, tzinfo=UTC))
    world.add_seller("s", "token", orders=60, hidden=2, listings=12, deliveries=9, returns=4)
    return world


@pytest.fixture
def client(world: World) -> httpx.Client:
    return httpx.Client(transport=InProcessTransport(world), base_url="http://sandbox", headers=HEADERS)


@pytest.fixture
def control(world: World) -> SandboxControl:
    return SandboxControl("http://sandbox", httpx.Client(transport=InProcessTransport(world)))


def page(client: httpx.Client, number: int) -> list[int]:
    answer = client.get("/ws/orders", params={"page": number, "page-size": 20})
    return [row["order_id"] for row in answer.json()["results"]] if answer.status_code == 200 else []


def test_modified_orders_differ_and_are_newly_dated(client: httpx.Client, control: SandboxControl) -> None:
    before = {row["order_id"]: row for row in control.truth("s")}
    changed = control.change("s", modify=20).modified
    after = {row["order_id"]: row for row in control.truth("s")}
    assert len(set(changed)) == 20
    for order_id, row in after.items():
        assert (row != before[order_id]) == (order_id in changed)
        without_date = [{**one, "date_modification": None} for one in (row, before[order_id])]
        assert (without_date[0] != without_date[1]) == (order_id in changed)
    listed = client.get("/ws/orders", params={"date_modification": "2026-01-02T00:00:00Z", "page-size": 50}).json()
    assert {row["order_id"] for row in listed["results"]} == set(changed)


def test_every_modification_differs_from_the_one_before(control: SandboxControl) -> None:
    order_id = control.truth("s")[0]["order_id"]
    seen = set()
    for _ in range(8):
        control.change("s", modify=1, ids=[order_id])
        seen.add(json.dumps({**control.truth("s")[0], "date_modification": None}))
    assert len(seen) == 8


def test_a_silent_change_leaves_the_date(control: SandboxControl) -> None:
    before = control.truth("s")[0]
    control.change("s", modify=1, ids=[before["order_id"]], fields={"delivery_note": "new"}, silent=True)
    assert control.truth("s")[0] == before | {"delivery_note": "new"}


@pytest.mark.parametrize(("where", "position"), [("newest", 0), ("oldest", -1)])
def test_orders_are_added_at_one_end(client: httpx.Client, control: SandboxControl, where: Any, position: int) -> None:
    added = control.change("s", add=1, where=where).added
    everything = page(client, 1) + page(client, 2) + page(client, 3) + page(client, 4)
    assert len(everything) == 61
    assert [everything[position]] == added


def test_hidden_orders_leave_the_list_and_removed_ones_the_world(client: httpx.Client, control: SandboxControl) -> None:
    hidden, removed = control.change("s", hide=1).hidden, control.change("s", remove=1).removed
    listed = page(client, 1) + page(client, 2) + page(client, 3)
    assert not set(listed) & {*hidden, *removed}
    assert client.get(f"/ws/orders/{hidden[0]}").json()["state"] == 8
    assert client.get(f"/ws/orders/{removed[0]}").status_code == 404


def test_a_change_waits_for_its_answer_in_the_middle_of_a_walk(client: httpx.Client, control: SandboxControl) -> None:
    control.change("s", add=3, where="newest", after=2)
    first, second = page(client, 1), page(client, 2)
    assert control.stats().waiting_changes == 0
    third = page(client, 3)
    assert third[:3] == second[-3:], "three new orders pushed the rest back"
    assert len({*first, *second, *third, *page(client, 4)}) == 60


def test_a_change_waits_for_its_own_seller_and_operation_only(world: World, client: httpx.Client) -> None:
    world.add_seller("other", "token-other", orders=1)
    world.change(Change(seller="other", add=1, after=1))
    world.change(Change(seller="s", add=1, after=1, operation="listings.list"))
    page(client, 1)
    assert len(world.schedule) == 2
    client.get("/ws/listings")
    assert len(world.schedule) == 1


@pytest.mark.parametrize("resource", ["listings", "deliveries", "returns"])
def test_other_rows_change_too(control: SandboxControl, resource: Any) -> None:
    before = [json.dumps(row) for row in control.truth("s", resource)]
    changed = control.change("s", resource=resource, modify=2, remove=1, add=3)
    after = [json.dumps(row) for row in control.truth("s", resource)]
    assert (len(changed.modified), len(changed.removed), len(changed.added)) == (2, 1, 3)
    assert len(after) == len(before) + 2
    assert len(set(after) & set(before)) == len(before) - 3


def test_a_shipment_gets_its_label_its_scan_its_pickup_and_its_arrival(control: SandboxControl) -> None:
    shipment = control.change("s", resource="deliveries", add=1).added[0]
    told = []
    for _ in range(5):
        row = next(row for row in control.truth("s", "deliveries") if row["shipmentId"] == shipment)
        told.append([bool(row[name]) for name in ("labelUrl", "hubScanned", "datePickup", "dateDelivery")])
        control.change("s", resource="deliveries", modify=1, ids=[shipment])
    assert told == [[number > stage for stage in range(4)] for number in range(5)]


def test_what_cannot_be_done_is_said(control: SandboxControl) -> None:
    with pytest.raises(ValueError, match="there is no 'nobody'"):
        control.change("nobody", modify=1)
    with pytest.raises(ValueError, match="cannot be hidden"):
        control.change("s", resource="listings", hide=1)
    with pytest.raises(ValueError, match="400"):
        control.settings(assumptions={"list_order": "sideways"})
    with pytest.raises(ValueError, match="400"):
        control.settings(latencie=1)


def test_settings_merge(control: SandboxControl) -> None:
    control.settings(latency=0.25, assumptions={"list_order": "creation_asc"})
    settings = control.settings(jitter=0.5, assumptions={"cookies": "set"})
    assert (settings.latency, settings.jitter, settings.limit) == (0.25, 0.5, 200)
    assert (settings.assumptions.list_order, settings.assumptions.cookies) == ("creation_asc", "set")


def test_requests_are_counted_by_seller_operation_and_page(client: httpx.Client, control: SandboxControl) -> None:
    page(client, 1)
    page(client, 1)
    page(client, 9)
    client.get("/ws/listings")
    client.get("/ws/orders", headers={"authorization": "Basic nobody's"})
    stats = control.stats()
    seller = stats.sellers["s"]
    assert (stats.requests, seller.requests, stats.count("orders.list"), stats.count("orders.list", "s")) == (
        5,
        4,
        4,
        3,
    )
    assert seller.operations == {"orders.list": 3, "listings.list": 1}
    assert seller.pages == {"orders.list": {1: 2, 9: 1}}
    assert seller.statuses == {200: 3, 404: 1}
    assert stats.sellers["unknown"].statuses == {401: 1}
    log = control.requests()
    assert [(entry.seller, entry.operation, entry.page, entry.status) for entry in log[2:4]] == [
        ("s", "orders.list", 9, 404), ("s", "listings.list", None, 200),
    ]  # fmt: skip
    control.reset()
    assert control.stats().requests == 0


def test_nothing_that_is_told_names_a_token(world: World, client: httpx.Client, control: SandboxControl) -> None:
    secret = "sEcReT-t0ken"
    control.add_seller("third", secret, orders=1)
    client.get("/ws/orders", headers={"authorization": f"Basic {secret}"})
    with pytest.raises(ValueError, match="taken") as refused:
        control.add_seller("fourth", secret)
    told = [client.get(f"/_sandbox/{path}").text for path in ("stats", "requests", "settings", "truth/third/orders")]
    assert not any(secret in text for text in [*told, str(refused.value)])
    control.patch_seller("third", revoked=True)
    assert client.get("/ws/orders", headers={"authorization": f"Basic {secret}"}).status_code == 401
