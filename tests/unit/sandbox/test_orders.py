"""The list of orders in the sandbox: paging, filters, credentials, and the answers to what is only assumed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from backmarket.sandbox import Assumptions, InProcessTransport, Settings, World

HEADERS = {"authorization": "Basic token-a", "user-agent": "BM-Test-Unit;test@example.com"}


def opened(world: World, **headers: str) -> httpx.Client:
    return httpx.Client(transport=InProcessTransport(world), base_url="http://sandbox", headers=HEADERS | headers)


@pytest.fixture
def world() -> World:
    world = World(3)
    world.add_seller("a", "token-a", orders=123, hidden=6, listings=0, deliveries=0, returns=0)
    world.add_seller("b", "token-b", orders=7, listings=0, deliveries=0, returns=0)
    return world


def listed(client: httpx.Client, **query: Any) -> list[dict[str, Any]]:
    """All rows of the list, page by page until `next` ends."""
    rows: list[dict[str, Any]] = []
    page = 1
    while True:
        answer = client.get("/ws/orders", params={"page": page, "page-size": 50} | query)
        assert answer.status_code == 200, answer.text
        rows += answer.json()["results"]
        if answer.json()["next"] is None:
            return rows
        page += 1


@pytest.mark.parametrize(
    ("size", "page", "rows", "there_is_a_next"),
    [
        (None, 1, 10, True),
        (None, 13, 3, False),
        (50, 1, 50, True),
        (50, 3, 23, False),
        (41, 3, 41, False),
        (1, 123, 1, False),
    ],
)
def test_pages_hold_what_arithmetic_says(
    world: World, size: int | None, page: int, rows: int, there_is_a_next: bool
) -> None:
    query = {"page": page} | ({"page-size": size} if size else {})
    answer = opened(world).get("/ws/orders", params=query).json()
    assert list(answer) == ["count", "next", "previous", "results"]
    assert (answer["count"], len(answer["results"])) == (123, rows)
    assert (answer["next"] is not None) == there_is_a_next
    assert (answer["previous"] is None) == (page == 1)


def test_all_pages_together_are_every_listed_order_once(world: World) -> None:
    ids = [row["order_id"] for row in listed(opened(world))]
    expected = {row.id for row in world.sellers["a"].orders.rows if row.state not in {0, 8}}
    assert len(ids) == len(set(ids)) == 123
    assert set(ids) == expected


@pytest.mark.parametrize(
    "query",
    [
        {"page-size": 51}, {"page-size": 0}, {"page-size": "ten"}, {"page": 0}, {"page": "-1"}, {"state": 2},
        {"country_code": "xx-xx"}, {"date_creation": "2025-01-01"}, {"date_creation": "2025-01-01T00:00:00"},
        {"date_modification": "yesterday"},
    ],
)  # fmt: skip
def test_what_the_document_does_not_allow_is_refused(world: World, query: dict[str, Any]) -> None:
    answer = opened(world).get("/ws/orders", params=query)
    assert answer.status_code == 400
    assert set(answer.json()) == {"error", "requestId"}


def test_an_offset_that_was_not_percent_encoded_is_refused(world: World) -> None:
    assert opened(world).get("/ws/orders?date_creation=2025-08-01T00:00:00+02:00").status_code == 400
    assert opened(world).get("/ws/orders?date_creation=2025-08-01T00:00:00%2B02:00").status_code == 200


@pytest.mark.parametrize("state", [1, 3, 9, 10])
def test_the_state_filter(world: World, state: int) -> None:
    expected = {row.id for row in world.sellers["a"].orders.rows if row.state == state}
    assert {row["order_id"] for row in listed(opened(world), state=state)} == expected


@pytest.mark.parametrize("state", [0, 8])
def test_new_and_unpaid_orders_are_found_by_id_only(world: World, state: int) -> None:
    client = opened(world)
    assert listed(client, state=state) == []
    row = next(row for row in world.sellers["a"].orders.rows if row.state == state)
    assert client.get(f"/ws/orders/{row.id}").json()["state"] == state


def test_the_country_filter(world: World) -> None:
    rows = listed(opened(world), country_code="fr-fr")
    expected = [row for row in world.sellers["a"].orders.shown() if row.country_code == "fr-fr"]
    assert 0 < len(rows) == len(expected) < 123


@pytest.mark.parametrize(("name", "attribute"), [("date_creation", "created"), ("date_modification", "modified")])
@pytest.mark.parametrize(("answer", "boundary_included"), [("inclusive", True), ("exclusive", False)])
def test_the_date_filters_and_their_boundary(
    world: World, name: str, attribute: str, answer: Any, boundary_included: bool
) -> None:
    world.settings = Settings(assumptions=Assumptions(date_filter=answer))
    shown = world.sellers["a"].orders.shown()
    instant: datetime = sorted(getattr(row, attribute) for row in shown)[60]
    expected = {row.id for row in shown if getattr(row, attribute) >= instant}
    if not boundary_included:
        expected = {row.id for row in shown if getattr(row, attribute) > instant}
    asked = listed(opened(world), **{name: instant.isoformat()})
    assert {row["order_id"] for row in asked} == expected
    assert 60 <= len(expected) <= 63


@pytest.mark.parametrize("order", ["creation_desc", "creation_asc", "modification_desc", "modification_asc"])
def test_the_list_can_be_in_any_order(world: World, order: Any) -> None:
    world.settings = Settings(assumptions=Assumptions(list_order=order))
    key = "created" if order.startswith("creation") else "modified"
    rows = sorted(world.sellers["a"].orders.shown(), key=lambda row: (getattr(row, key), row.id))
    if order.endswith("desc"):
        rows.reverse()
    assert [row["order_id"] for row in listed(opened(world))] == [row.id for row in rows]


@pytest.mark.parametrize(("assumed", "status"), [("404", 404), ("400", 400), ("empty", 200)])
def test_past_the_end(world: World, assumed: Any, status: int) -> None:
    world.settings = Settings(assumptions=Assumptions(past_the_end=assumed))
    answer = opened(world).get("/ws/orders", params={"page": 14})
    assert answer.status_code == status
    if status == 200:
        assert answer.json()["results"] == []


def test_the_first_page_of_an_empty_list_is_no_error(world: World) -> None:
    answer = opened(world).get("/ws/orders", params={"date_creation": "2030-01-01T00:00:00Z"})
    assert (answer.status_code, answer.json()["count"], answer.json()["results"]) == (200, 0, [])


@pytest.mark.parametrize(("size", "rows"), [(99, 50), (0, 1), (-4, 1)])
def test_a_page_size_out_of_range_may_be_clamped(world: World, size: int, rows: int) -> None:
    assert opened(world).get("/ws/orders", params={"page-size": size}).status_code == 400
    world.settings = Settings(assumptions=Assumptions(page_size_above_maximum="clamped"))
    assert len(opened(world).get("/ws/orders", params={"page-size": size}).json()["results"]) == rows


def test_a_page_before_the_first_is_the_first_where_no_page_is_refused(world: World) -> None:
    assert opened(world).get("/ws/orders", params={"page": -3}).status_code == 400
    world.settings = Settings(assumptions=Assumptions(past_the_end="empty"))
    shown = [opened(world).get("/ws/orders", params={"page": page}).json()["results"] for page in (-3, 1)]
    assert [row["order_id"] for row in shown[0]] == [row["order_id"] for row in shown[1]] != []


@pytest.mark.parametrize(("assumed", "count"), [("exact", 123), ("low", 120), ("high", 126)])
def test_the_count_may_be_wrong(world: World, assumed: Any, count: int) -> None:
    world.settings = Settings(assumptions=Assumptions(count=assumed))
    assert opened(world).get("/ws/orders").json()["count"] == count


@pytest.mark.parametrize(
    ("assumed", "start"),
    [("same_host", "http://sandbox/ws/orders?"), ("other_host", "https://bo."), ("relative", "/ws/orders?")],
)
def test_next_may_lead_elsewhere(world: World, assumed: Any, start: str) -> None:
    world.settings = Settings(assumptions=Assumptions(next_url=assumed))
    assert opened(world).get("/ws/orders").json()["next"].startswith(start)


def test_unpaid_orders_may_stay_in_the_list(world: World) -> None:
    world.settings = Settings(assumptions=Assumptions(unpaid_orders="stay"))
    assert len(listed(opened(world))) == 126


def test_a_seller_sees_nothing_of_another(world: World) -> None:
    other = opened(world, authorization="Basic token-b")
    assert len(listed(other)) == 7
    of_a = next(iter(world.sellers["a"].orders.rows))
    assert other.get(f"/ws/orders/{of_a.id}").status_code == 404


@pytest.mark.parametrize("token", ["Basic wrong", "Basic", "Bearer token-a", "token-a", "Basic token-a "])
@pytest.mark.parametrize(("assumed", "status"), [("401", 401), ("403", 403)])
def test_an_unknown_token_is_refused_as_json(world: World, token: str, assumed: Any, status: int) -> None:
    world.settings = Settings(assumptions=Assumptions(bad_token=assumed))
    answer = opened(world, authorization=token.rstrip() + "x" * token.endswith(" ")).get("/ws/orders")
    assert answer.status_code == status
    assert answer.json()["requestId"]


def test_a_revoked_or_replaced_token_is_refused(world: World) -> None:
    client = opened(world)
    world.sellers["a"].revoked = True
    assert client.get("/ws/orders").status_code == 401
    world.sellers["a"].revoked = False
    world.replace_token("a", "token-new")
    assert client.get("/ws/orders").status_code == 401
    assert opened(world, authorization="Basic token-new").get("/ws/orders").status_code == 200


@pytest.mark.parametrize(("agent", "status"), [("BM-x-y;a@b.example", 200), ("python-httpx/1", 403), ("", 403)])
def test_the_user_agent_is_demanded(world: World, agent: str, status: int) -> None:
    assert opened(world, **{"user-agent": agent}).get("/ws/orders").status_code == status
    world.settings = Settings(check_user_agent=False)
    assert opened(world, **{"user-agent": agent}).get("/ws/orders").status_code == 200


@pytest.mark.parametrize(("assumed", "skew"), [("right", 0), ("fast", 300), ("slow", -300), ("missing", None)])
def test_the_date_header_may_be_wrong(assumed: Any, skew: int | None) -> None:
    world = World(clock=lambda: datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC))
    world.add_seller("a", "token-a", orders=1)
    world.settings = Settings(assumptions=Assumptions(date_header=assumed))
    date = opened(world).get("/ws/orders").headers.get("date")
    expected = {
        0: "Sun, 01 Mar 2026 12:00:00 GMT",
        300: "Sun, 01 Mar 2026 12:05:00 GMT",
        -300: "Sun, 01 Mar 2026 11:55:00 GMT",
    }
    assert date == (None if skew is None else expected[skew])


def test_a_cookie_that_wanders_between_accounts_is_refused(world: World) -> None:
    world.settings = Settings(assumptions=Assumptions(cookies="bound"))
    client = opened(world)
    assert client.get("/ws/orders").status_code == 200
    assert client.get("/ws/orders").status_code == 200
    assert client.get("/ws/orders", headers={"authorization": "Basic token-b"}).status_code == 403


def test_the_firewalls_mark_may_be_on_every_answer_or_on_its_own_only(world: World) -> None:
    assert "cf-ray" in opened(world).get("/ws/orders").headers
    world.settings = Settings(assumptions=Assumptions(cf_ray="firewall"))
    assert "cf-ray" not in opened(world).get("/ws/orders").headers
    assert "cf-ray" in opened(world, **{"user-agent": "x"}).get("/ws/orders").headers


def test_a_slash_at_the_end_is_forgiven_and_other_operations_are_not_there(world: World) -> None:
    client = opened(world)
    assert client.get("/ws/orders/").status_code == 200
    assert client.get("/ws/buyback/v1/orders").status_code == 404
    assert client.get("/ws/sav").status_code == 404


@pytest.mark.parametrize("shape", ["v1", "v2", "v3", "problem", "string", "html", "empty"])
def test_a_refusal_can_have_any_of_the_shapes(world: World, shape: Any) -> None:
    world.settings = Settings(error_shape=shape)
    answer = opened(world).get("/ws/orders/1")
    assert answer.status_code == 404
    if shape in {"html", "empty"}:
        assert answer.text.startswith("<") or shape == "empty"
        return
    keys = {
        "v1": {"error", "requestId"}, "v2": {"errors", "requestId"},
        "v3": {"error", "status", "title", "type", "requestId"}, "problem": {"type", "title", "status", "detail"},
    }  # fmt: skip
    body = answer.json()
    assert isinstance(body, str) if shape == "string" else set(body) == keys[shape]
