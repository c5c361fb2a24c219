"""A 429 that lasts: the sync of that list or page fails and says so, and its account's other syncs go on."""

from __future__ import annotations

from typing import Any

import pytest

from backmarket.errors import RateLimited
from backmarket.status.deployment_metrics import _of_database
from backmarket.status.sync_status import get_all_sync_status, get_sync_status
from backmarket.sync.engine import SliceResult, run_slice
from backmarket.sync.handle import SyncHandle
from backmarket.sync.requests import request_sync
from tests.support.sellers import Shop
from tests.support.state_machines import age, unblock

ORG, SAME_KEY = "auth0|1", "auth0|2"

ANSWERS: dict[str, dict[str, Any]] = {
    "firewall": {"kind": "rate_limited"},
    "no-request-id": {"kind": "sku_quota"},
    "request-id": {"kind": "status", "status": 429},
}
MOMENTS = {"sync_state": "next_due_at lease_until sync_due_at full_walk_due_at"}
NEXT = "SELECT min(next_due_at) FROM backmarket.sync_state WHERE organization_id = 'auth0|1' AND resource = 'orders'"


def later(shop: Shop, organization: str = ORG, resource: str = "orders") -> SliceResult:
    """The next slice of a sync, once it is due and the account is not blocked."""
    unblock(shop)
    shop.make_due(organization, resource)
    return run_slice(shop.services, organization, resource)


def an_hour(shop: Shop) -> int:
    """Requests for orders in an hour of the sync's own time."""
    before, seconds = shop.sandbox.stats().count("orders.list"), 0.0
    while seconds < 3600:
        seconds += age(shop, MOMENTS, NEXT)
        unblock(shop)
        run_slice(shop.services, ORG, "orders")
    return shop.sandbox.stats().count("orders.list") - before


def failing(shop: Shop) -> list[tuple[str, str, str, str | None]]:
    """What `status --failing` shows."""
    found = get_all_sync_status(shop.services.database, failing=True)
    return [(each.organization_id, each.resource, each.state, each.error_code) for each in found]


@pytest.mark.parametrize(
    ("answer", "page"),
    [
        pytest.param(answer, page, marks=() if answer == "request-id" and page is None else pytest.mark.slow)
        for answer in ANSWERS
        for page in (None, 12)
    ],
)
def test_a_429_for_ever_fails_its_sync_alone(
    shop: Shop, answer: str, page: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.resources = ("orders", "listings")
    shop.restart(fetch_threads=4)
    shop.sell(ORG, orders=1000, listings=100)
    shop.connect(SAME_KEY, f"token-of-{ORG}")
    fault = shop.sandbox.add_fault(**ANSWERS[answer], operation="orders.list", page=page)
    blocks: list[tuple[Any, ...]] = []
    block = shop.services.limiter.block

    def counted_block(*args: Any) -> None:
        blocks.append(args)
        block(*args)

    monkeypatch.setattr(shop.services.limiter, "block", counted_block)

    ends = [later(shop).end for _ in range(2 if page is None else 3)]
    assert set(ends) == {"handed_on"}
    assert failing(shop) == []
    assert later(shop).end == "failed"
    assert failing(shop) == [(ORG, "orders", "failing", "rate_limited")]
    status = get_sync_status(shop.services.database, ORG)["orders"]
    has_id = answer == "request-id"
    assert (status.error_request_id is not None) is has_id
    assert status.error is not None
    assert f"429 to 3 slices in a row, {'with' if has_id else 'without'} a requestId" in status.error
    labels = {"resource": "orders", "code": "rate_limited"}
    assert any(
        each.name == "sync_failing_organizations" and each.labels == labels and each.value == 1
        for each in _of_database(shop.services.database)
    )
    for organization, resource in ((ORG, "listings"), (SAME_KEY, "listings")):
        unblock(shop)
        assert shop.sync(organization, resource).end == "done"

    blocks.clear()
    an_hour(shop)
    asked = an_hour(shop)
    assert asked <= 3 * (1 if page is None else 9), "once an hour, with the pages ahead of it"
    assert len(blocks) <= 12, "so the account is blocked for two minutes in the first hours"
    if page is not None:
        assert shop.one("SELECT next_page FROM backmarket.walks") == page

    shop.sandbox.remove_faults(fault)
    end = later(shop)
    while end.end == "handed_on":
        end = later(shop)
    assert end.end == "done"
    assert failing(shop) == []
    shop.assert_equals_truth(ORG)


@pytest.mark.parametrize(
    "orders", [pytest.param(10, id="one-page"), pytest.param(600, id="many-pages", marks=pytest.mark.slow)]
)
def test_stray_429s_fail_no_sync(shop: Shop, orders: int) -> None:
    shop.sell(ORG, orders=orders)
    for _ in range(2):
        shop.sandbox.add_fault("rate_limited", operation="orders.list", count=2)
        assert [later(shop).end for _ in range(2)] == ["handed_on"] * 2
        assert later(shop).end == "done"
        assert failing(shop) == []
        assert shop.one("SELECT failures FROM backmarket.sync_state") == 0


@pytest.mark.slow
def test_a_slice_that_can_send_nothing_neither_counts_nor_forgets(shop: Shop) -> None:
    shop.sell(ORG, orders=10)
    shop.sandbox.add_fault("rate_limited", operation="orders.list")
    assert [later(shop).end for _ in range(2)] == ["handed_on"] * 2
    account = shop.one("SELECT account FROM backmarket.connections")
    shop.services.limiter.block(account, 600)  # the account's other syncs have got a 429
    for _ in range(3):
        shop.make_due(ORG)
        assert run_slice(shop.services, ORG, "orders").requests == 0
    assert failing(shop) == []
    assert later(shop).end == "failed"


def test_who_waits_for_the_sync_hears_of_the_429s_once_they_last(shop: Shop) -> None:
    shop.sell(ORG, orders=10)
    shop.sandbox.add_fault("rate_limited", operation="orders.list")
    request = request_sync(shop.services.database, ORG, "orders")
    handle = SyncHandle(ORG, "orders", request, True, shop.services.database)
    for _ in range(2):
        assert later(shop).end == "handed_on"
        assert handle.done() is None
    assert later(shop).end == "failed"
    with pytest.raises(RateLimited):
        handle.done()


def test_rows_whose_ids_are_answered_429_for_ever_hold_up_neither_others_nor_the_walk(shop: Shop) -> None:
    shop.sell(ORG, orders=400)
    assert shop.sync(ORG).end == "done"
    gone = [int(key) for key in shop.sandbox.change(ORG, remove=6).removed]
    for key in gone[:2]:
        shop.sandbox.add_fault("rate_limited", path=f"/ws/orders/{key}")
    request_sync(shop.services.database, ORG, "orders", full=True)
    while shop.one("SELECT full_requested FROM backmarket.sync_state"):
        assert later(shop).end in {"handed_on", "done"}
    left = shop.execute("SELECT order_id FROM backmarket.orders WHERE removed_at IS NULL AND order_id = ANY(%s)", gone)
    assert {key for (key,) in left} == {*gone[:2]}, "until the next full walk"
    status = get_sync_status(shop.services.database, ORG)["orders"]
    assert (status.state, status.error_code, status.rows_missing) == ("incomplete", "rows_missing", 2)


def test_a_full_walk_that_ends_leaves_no_incremental_walk_that_began_before_it(shop: Shop) -> None:
    shop.sell(ORG, orders=400)
    assert shop.sync(ORG).end == "done"
    shop.sandbox.change(ORG, modify=300)
    shop.restart(task_budget_pages=2, fetch_threads=1)
    assert shop.run_slice(ORG).end == "handed_on"
    assert shop.execute("SELECT kind FROM backmarket.walks") == [("incremental",)]
    shop.restart(task_budget_pages=200)
    assert shop.sync(ORG, full=True).end == "done"
    assert shop.execute("SELECT kind FROM backmarket.walks") == []
    shop.assert_equals_truth(ORG)


@pytest.mark.slow
def test_a_full_walk_that_fails_lets_incremental_ones_go_on_and_stays_named(shop: Shop) -> None:
    shop.sell(ORG, orders=1000)
    shop.restart(fetch_threads=4)
    assert shop.sync(ORG).end == "done"
    fault = shop.sandbox.add_fault("status", status=500, operation="orders.list", page=12)
    assert shop.sync(ORG, full=True).end == "failed"
    pauses = []
    for _ in range(4):
        shop.sandbox.change(ORG, add=1)
        assert shop.sync(ORG).end == "done", "one page, which is asked for at once"
        assert failing(shop) == [(ORG, "orders", "failing", "server_error")]
        shop.execute("UPDATE backmarket.sync_state SET full_walk_due_at = now(), next_due_at = now()")
        assert run_slice(shop.services, ORG, "orders").end == "failed"
        pauses.append(shop.one("SELECT extract(epoch FROM full_walk_due_at - now()) FROM backmarket.sync_state"))
        assert shop.one("SELECT next_due_at < now() + interval '301 s' FROM backmarket.sync_state")
    assert pauses[3] > 3 * pauses[0], "its pauses grow all the same"
    shop.sandbox.remove_faults(fault)
    shop.execute("UPDATE backmarket.sync_state SET full_walk_due_at = now(), next_due_at = now()")
    assert run_slice(shop.services, ORG, "orders").end == "done"
    assert failing(shop) == []
    shop.assert_equals_truth(ORG)
