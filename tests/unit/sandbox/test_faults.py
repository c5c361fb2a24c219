"""Faults: which requests they strike, and what they do to an answer. Broken connections: integration tests."""

from __future__ import annotations

import json
from typing import Any, get_args

import httpx
import pytest

from backmarket.resources.signed_links import unsigned
from backmarket.sandbox import Fault, InProcessTransport, World
from backmarket.sandbox.control.statistics import statistics
from backmarket.sandbox.world.fault_rules import FaultKind

HEADERS = {"authorization": "Basic token", "user-agent": "BM-Test-Unit;test@example.com"}


@pytest.fixture
def world() -> World:
    world = World(1)
    world.add_seller("s", "token", orders=30)
    world.add_seller("other", "token-other", orders=30)
    return world


@pytest.fixture
def client(world: World) -> httpx.Client:
    return httpx.Client(transport=InProcessTransport(world), base_url="http://sandbox", headers=HEADERS)


def statuses(client: httpx.Client, times: int, path: str = "/ws/orders", **headers: str) -> list[int]:
    return [client.get(path, headers=headers).status_code for _ in range(times)]


def test_a_rule_can_be_narrowed_to_an_operation_a_seller_and_a_page(world: World, client: httpx.Client) -> None:
    world.faults.add(Fault(kind="status", status=503, operation="orders.list", seller="s", page=2))
    assert statuses(client, 1, "/ws/orders?page=1") == [200]
    assert statuses(client, 1, "/ws/orders?page=2") == [503]
    assert statuses(client, 1, "/ws/listings?page=2") == [200]
    assert statuses(client, 1, "/ws/orders?page=2", authorization="Basic token-other") == [200]


def test_a_rule_can_be_narrowed_to_a_path(world: World, client: httpx.Client) -> None:
    world.faults.add(Fault(kind="redirect", path="/ws/orders/7", location="http://169.254.169.254/"))
    assert statuses(client, 1, "/ws/orders") == [200]
    answer = client.get("/ws/orders/7")
    assert (answer.status_code, answer.headers["location"]) == (302, "http://169.254.169.254/")


def test_a_label_can_be_large_and_is_counted(world: World, client: httpx.Client) -> None:
    world.add_seller("ships", "token-of-ships", orders=30, deliveries=9)
    path = next(iter(world.sellers["ships"].shipments("deliveries").labels))
    world.faults.add(Fault(kind="large_pdf", path=path, value=100_000, count=1))
    sizes = [len(client.get(path, headers={"authorization": "Basic token-of-ships"}).content) for _ in range(2)]
    assert sizes[0] == 100_000 > sizes[1]
    assert statistics(world).sellers["ships"].labels == {path: 2}
    assert [entry.label for entry in world.traffic.log] == [path, path]


def test_a_rule_can_spare_the_first_and_strike_a_number_of_times(world: World, client: httpx.Client) -> None:
    world.faults.add(Fault(kind="status", after=2, count=3))
    assert statuses(client, 7) == [200, 200, 500, 500, 500, 200, 200]


def test_a_share_of_requests_is_the_same_for_the_same_seed(world: World, client: httpx.Client) -> None:
    world.faults.add(Fault(kind="status", probability=0.3))
    told = statuses(client, 100)
    again = World(1)
    again.add_seller("s", "token", orders=1)
    again.faults.add(Fault(kind="status", probability=0.3))
    repeated = httpx.Client(transport=InProcessTransport(again), base_url="http://sandbox", headers=HEADERS)
    assert told == statuses(repeated, 100)
    assert 15 < told.count(500) < 45


def test_a_rule_can_be_lifted(world: World, client: httpx.Client) -> None:
    first, _second = world.faults.add(Fault(kind="status", status=502)), world.faults.add(Fault(kind="garbage"))
    assert statuses(client, 1) == [502]
    world.faults.remove(first)
    assert client.get("/ws/orders").text.startswith("<html>")
    world.faults.remove()
    assert client.get("/ws/orders").json()["count"] == 30


@pytest.mark.parametrize(
    ("fault", "status", "content_type", "text"),
    [
        (Fault(kind="status", status=500), 500, "application/json", '"requestId"'),
        (Fault(kind="status", status=504, html=True), 504, "text/html", "<h1>504"),
        (Fault(kind="waf_html"), 403, "text/html", "<html"),
        (Fault(kind="waf_json"), 403, "application/json", '"bot-need-challenge"'),
        (Fault(kind="forbidden"), 403, "application/json", '"requestId"'),
        (Fault(kind="unauthorized"), 401, "application/json", '"requestId"'),
        (Fault(kind="rate_limited"), 429, "text/html", "<html"),
        (Fault(kind="early_404"), 404, "application/json", '"requestId"'),
        (Fault(kind="garbage"), 200, "text/html", "<html"),
        (Fault(kind="empty"), 200, "application/json", ""),
    ],
)
def test_wrong_answers(
    world: World, client: httpx.Client, fault: Fault, status: int, content_type: str, text: str
) -> None:
    world.faults.add(fault)
    answer = client.get("/ws/orders")
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith(content_type)
    assert text in answer.text
    assert ("cf-ray" in answer.headers) or not fault.kind.startswith("waf")


def spoiled(world: World, client: httpx.Client, fault: Fault, path: str = "/ws/orders") -> tuple[Any, Any]:
    """An answer without and with a fault."""
    right = client.get(path).json()
    world.faults.add(fault)
    return right, json.loads(client.get(path).content)


def test_unknown_fields(world: World, client: httpx.Client) -> None:
    right, wrong = spoiled(world, client, Fault(kind="unknown_fields"))
    assert set(wrong) - set(right)
    assert all(set(new) - set(old) for new, old in zip(wrong["results"], right["results"], strict=True))


def test_unknown_states(world: World, client: httpx.Client) -> None:
    _, wrong = spoiled(world, client, Fault(kind="unknown_states", value=55))
    assert {row["state"] for row in wrong["results"]} == {55}


def test_nulls_leave_the_id(world: World, client: httpx.Client) -> None:
    right, wrong = spoiled(world, client, Fault(kind="nulls"))
    assert [row["order_id"] for row in wrong["results"]] == [row["order_id"] for row in right["results"]]
    fewer = [sum(value is None for value in row.values()) for row in wrong["results"]]
    assert all(few > 4 for few in fewer)


def test_wrong_types(world: World, client: httpx.Client) -> None:
    right, wrong = spoiled(world, client, Fault(kind="wrong_types"))
    differing = [
        type(new[name]) is not type(old[name])
        for new, old in zip(wrong["results"], right["results"], strict=True)
        for name in old
    ]
    assert sum(differing) > 20


def test_an_id_is_missing_from_one_row(world: World, client: httpx.Client) -> None:
    _, wrong = spoiled(world, client, Fault(kind="id_missing"))
    assert sum("order_id" not in row for row in wrong["results"]) == 1


@pytest.mark.parametrize(("kind", "text"), [("nul_characters", "a\0b"), ("lone_surrogate", "a\ud800b")])
def test_texts_that_databases_refuse(world: World, client: httpx.Client, kind: Any, text: str) -> None:
    _, wrong = spoiled(world, client, Fault(kind=kind))
    assert wrong["results"][0]["shipping_address"]["firstName"] == text
    _, listing = spoiled(world, client, Fault(kind=kind), "/ws/listings")
    assert listing["results"][0]["comment"] == text


def test_lists_that_lie_about_themselves(world: World, client: httpx.Client) -> None:
    right, wrong = spoiled(world, client, Fault(kind="early_empty_page"))
    assert (wrong["count"], wrong["results"]) == (right["count"], [])
    world.faults.remove()
    assert spoiled(world, client, Fault(kind="next_null_early"))[1]["next"] is None
    world.faults.remove()
    assert spoiled(world, client, Fault(kind="wrong_count", value=-4))[1]["count"] == right["count"] - 4


def test_the_same_page_for_ever(world: World, client: httpx.Client) -> None:
    world.faults.add(Fault(kind="repeat_page", value=2))
    pages = [unsigned(client.get("/ws/orders", params={"page": page}).json()["results"]) for page in (1, 2, 3, 40)]
    assert pages[0] == pages[1] == pages[2] == pages[3] != []


@pytest.mark.parametrize("kind", ["status", "garbage", "reset", "close"])
@pytest.mark.parametrize("applied", [True, False])
def test_a_write_may_take_effect_though_its_answer_is_lost(
    world: World, client: httpx.Client, kind: Any, applied: bool
) -> None:
    row = next(row for row in world.sellers["s"].orders.rows if row.state == 9)
    line_id = row.lines[0]
    before = row.decoded()["orderlines"][0].get("serial_number")
    world.faults.add(Fault(kind=kind, operation="orderlines.update", applied=applied))
    try:
        client.patch(f"/ws/orderlines/{line_id}", json={"serial_number": "LOST"})
    except httpx.ReadError:
        assert kind in {"reset", "close"}
    line = client.get(f"/ws/orders/{row.id}").json()["orderlines"][0]
    assert line.get("serial_number") == ("LOST" if applied else before)


def test_a_timeout_is_one_in_process_too(world: World, client: httpx.Client) -> None:
    world.faults.add(Fault(kind="timeout", seconds=5))
    with pytest.raises(httpx.ReadTimeout):
        client.get("/ws/orders", timeout=0.05)


def test_struck_requests_are_counted(world: World, client: httpx.Client) -> None:
    world.faults.add(Fault(kind="rate_limited", count=2))
    statuses(client, 3)
    tally = world.traffic.tallies["s"]
    assert tally.faults == {"rate_limited": 2}
    assert tally.statuses == {429: 2, 200: 1}


@pytest.mark.parametrize("kind", [kind for kind in get_args(FaultKind) if not kind.startswith("task_")])
def test_every_kind_changes_something(world: World, client: httpx.Client, kind: Any) -> None:
    """So that no kind is a name without an effect; what `slow` does shows on a clock only."""
    right = client.get("/ws/orders", params={"page": 2})
    world.faults.add(Fault(kind=kind, seconds=0.1))
    try:
        wrong = client.get("/ws/orders", params={"page": 2})
    except httpx.TransportError:
        return
    assert kind == "slow" or (wrong.status_code, wrong.content) != (right.status_code, right.content)
