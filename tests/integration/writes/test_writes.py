"""Writes as a host application asks for them: what is sent, what is stored, and every way in which it can go wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from psycopg.types.json import Jsonb

from backmarket import BackMarket
from backmarket.errors import (
    ApiKeyMissing,
    ConnectionNotFound,
    ConnectionUnauthorized,
    EnvironmentMismatch,
    IdempotencyConflict,
    InvalidArgument,
    NotStoredYet,
    NotUndecided,
    UnknownOutcome,
    WaitTimeout,
    WriteNotFound,
    WriteRefused,
)
from backmarket.organizations import lifecycle
from backmarket.organizations.probes import probe_due
from backmarket.resources.signed_links import unsigned
from backmarket.sandbox.control.client import SandboxControl
from backmarket.work.backoff import MAX_LOOKS
from backmarket.writes import rows
from backmarket.writes.engine import sender
from backmarket.writes.engine.slice import SliceResult, run_slice, send_now
from backmarket.writes.handle import WriteHandle, WriteOutcome
from backmarket.writes.models import Transition, Write, WriteState
from backmarket.writes.request.faults import InvalidWrite
from tests.support.databases import empty
from tests.support.sellers import Shop, let_time_pass
from tests.support.settings import fresh_settings
from tests.support.waiting import PATIENCE_SECONDS, wait_until

ORG = "auth0|1"
ALL = ("orders", "listings", "deliveries", "returns")
IMEI = "490154203237518"
ANOTHER_IMEI = "356938035643809"
TRACKING = "TRACK-0815"
QUOTA = "backmarket.sku_quota WHERE account = (SELECT account FROM backmarket.connections)"


@pytest.fixture
def seller(request: pytest.FixtureRequest) -> str:
    return re.sub(r"\W+", "-", str(request.node.name))


@pytest.fixture
def shop(shared_url: str, redis_url: str, sandbox: SandboxControl, seller: str) -> Iterator[Shop]:
    """One organization with a seller of this test's own, everything synced."""
    empty(shared_url)
    settings = fresh_settings(
        database_url=shared_url,
        redis_url=redis_url,
        rate_limit=100_000,
    )
    shop = Shop(settings, sandbox, ALL)
    shop.sandbox.add_seller(seller, f"token-{seller}", orders=12, listings=5, deliveries=0, returns=0)
    shop.connect(ORG, f"token-{seller}")
    shop.sync(ORG, "orders")
    shop.sync(ORG, "listings")
    yield shop
    shop.sandbox.remove_faults()
    shop.services.close()


@pytest.fixture
def bm(shop: Shop) -> Iterator[BackMarket]:
    with BackMarket(shop.settings) as bm:
        yield bm


@pytest.fixture
def scene(shop: Shop, bm: BackMarket, seller: str) -> Scene:
    return Scene(shop, bm, seller)


class Scene:
    """A seller, what it has, and a worker's slices without a worker."""

    def __init__(self, shop: Shop, bm: BackMarket, seller: str) -> None:
        self.shop, self.bm, self.seller = shop, bm, seller
        self.sandbox = shop.sandbox

    def order(self, *states: int, index: int = 0) -> dict[str, Any]:
        """An order whose lines are in these states, stored."""
        rows = sorted(self.sandbox.truth(self.seller), key=lambda one: int(one["order_id"]))
        row = [one for one in rows if len(one["orderlines"]) >= len(states)][index]
        lines = row["orderlines"][: len(states)]
        for number, (line, state) in enumerate(zip(lines, states, strict=True)):
            line |= {"state": state, "listing": f"SKU-{number}", "quantity": 1, "imei": None, "serial_number": ""}
        fields = {"state": 1, "orderlines": lines}
        self.sandbox.change(self.seller, modify=1, ids=[row["order_id"]], fields=fields)
        return self.bm.fetch_order(ORG, row["order_id"]).raw

    def listing(self) -> dict[str, Any]:
        return self.sandbox.truth(self.seller, "listings")[0]

    def fault(self, kind: Any, operation: str, **rule: Any) -> None:
        self.sandbox.add_fault(kind, operation=operation, seller=self.seller, **rule)

    def run_slice(self, *, later: bool = False) -> SliceResult:
        """A slice; `later`: when everything that is waited for is over."""
        if later:
            self.shop.execute(
                "UPDATE backmarket.api_writes SET due_at = now(), settle_at = LEAST(settle_at, now())"
                " WHERE state IN ('pending', 'sending', 'unknown') AND due_at < 'infinity'"
            )
            self.shop.execute("UPDATE backmarket.work SET due_at = now() WHERE kind = 'writes'")
        return run_slice(self.shop.services, ORG)

    def let_time_pass(self) -> None:
        """Let everything wait for less, by as much as the next slice has to wait."""
        (gap,) = self.shop.execute("SELECT GREATEST(due_at - now(), '0') FROM backmarket.work WHERE kind = 'writes'")[0]
        for table in ("api_writes", "work"):
            self.shop.execute(f"UPDATE backmarket.{table} SET due_at = due_at - %s WHERE due_at < 'infinity'", gap)
        self.shop.execute("UPDATE backmarket.sku_quota SET free_at = free_at - %s", gap)

    def write(self, handle: WriteHandle) -> Write:
        write = self.bm.get_write(ORG, handle.id)
        assert write is not None
        return write

    def applied(self) -> list[tuple[str, str]]:
        """What took place at Back Market."""
        return [(one["operation"], one["object"]) for one in self.sandbox.truth(self.seller, "writes")]

    def asked(self, operation: str) -> int:
        return self.sandbox.stats().count(operation, self.seller)

    def assert_stored(self, resource: str) -> None:
        """What is stored is what Back Market has, and a sync has nothing to add."""
        key = {"orders": "order_id", "listings": "id"}[resource]
        truth = {str(row[key]): row for row in self.sandbox.truth(self.seller, resource)}
        column = {"orders": "order_id", "listings": "listing_id"}[resource]
        stored = dict(self.shop.execute(f"SELECT {column}::text, raw FROM backmarket.{resource}"))
        assert {each: stored[each] for each in stored if unsigned(stored[each]) != unsigned(truth.get(each))} == {}
        before = self.shop.one("SELECT count(*) FROM backmarket.changes")
        self.shop.sync(ORG, resource)
        assert self.shop.one("SELECT count(*) FROM backmarket.changes") == before


def accept(scene: Scene) -> WriteHandle:
    return scene.bm.update_order(ORG, scene.order(1)["order_id"], 2)


def register(scene: Scene) -> WriteHandle:
    return scene.bm.update_orderline(ORG, scene.order(2)["orderlines"][0]["id"], imei=IMEI)


def reprice(scene: Scene) -> WriteHandle:
    return scene.bm.update_listing(ORG, scene.listing()["id"], price=Decimal("123.45"), quantity=7)


WRITES = [
    pytest.param(accept, "orders.update", "orders", id="order"),
    pytest.param(register, "orderlines.update", "orders", id="line"),
    pytest.param(reprice, "listings.update", "listings", id="listing"),
]
Ask = Callable[[Scene], WriteHandle]


class TestArrives:
    @pytest.mark.parametrize(("ask", "operation", "resource"), WRITES)
    def test_it_is_sent_once_and_what_is_stored_follows(
        self, scene: Scene, ask: Ask, operation: str, resource: str
    ) -> None:
        handle = ask(scene)
        assert handle.done() is None
        assert scene.run_slice().succeeded == 1
        outcome = handle.wait(0)
        assert (outcome.confirmed_by, outcome.requests) == ("answer", 1)
        assert scene.asked(operation) == 1
        scene.assert_stored(resource)

    def test_lines_of_an_order_go_through_their_states_in_the_order_asked(self, scene: Scene) -> None:
        order = scene.order(1, 1)
        number, (first, second) = order["order_id"], order["orderlines"]
        handles = [
            scene.bm.update_order(ORG, number, 2, sku="sku-0"),
            scene.bm.update_order(ORG, number, 4, sku="SKU-1", return_reason=11, return_message="Sold elsewhere"),
            scene.bm.update_order(ORG, number, 3, tracking_number=TRACKING),
            scene.bm.update_orderline(ORG, first["id"], imei=IMEI, serial_number="S/1"),
        ]
        assert scene.run_slice().succeeded == 4
        assert [scene.write(handle).state for handle in handles] == [WriteState.SUCCEEDED] * 4
        stored = scene.bm.get_order_by_id(ORG, number)
        assert stored is not None
        assert stored.tracking_number == TRACKING
        lines = {line.orderline_id: line for line in scene.bm.get_orderlines(ORG, order_id=number)}
        assert (lines[first["id"]].state, lines[first["id"]].imei) == (3, IMEI)
        assert (lines[second["id"]].state, lines[second["id"]].return_reason) == (4, 11)
        scene.assert_stored("orders")

    @pytest.mark.parametrize("read", ["id", "order_id", "order_id_alone"])
    def test_whichever_name_of_the_order_the_api_reads(self, scene: Scene, read: str) -> None:
        scene.sandbox.settings(assumptions={"order_id_field": read})
        if read == "order_id_alone":
            scene.shop.restart(order_update_sends_id=False)
        try:
            accept(scene)
            assert scene.run_slice().succeeded == 1
        finally:
            scene.sandbox.settings(assumptions={"order_id_field": "either"})

    def test_many_lanes_at_once(self, scene: Scene) -> None:
        listings = scene.sandbox.truth(scene.seller, "listings")
        for number in range(3):
            for listing in listings:
                scene.bm.update_listing(ORG, sku=listing["sku"].lower(), quantity=10 + number)
        assert scene.run_slice().succeeded == 15
        assert {row["quantity"] for row in scene.sandbox.truth(scene.seller, "listings")} == {12}
        scene.assert_stored("listings")
        assert scene.run_slice().end == "nothing_to_do"

    def test_in_another_market_the_price_there_changes_and_the_quantity_here(self, scene: Scene) -> None:
        listing = scene.listing()
        handle = scene.bm.update_listing(ORG, listing["listing_id"], price="99.5", quantity=3, locale="de-de")
        scene.run_slice()
        assert handle.wait(0).confirmed_by == "answer"
        german = scene.bm.fetch_listing(ORG, listing["id"], locale="de-de")
        stored = scene.bm.get_listing_by_id(ORG, listing["id"])
        assert stored is not None
        assert german.price == Decimal("99.50")
        assert (stored.price, stored.quantity) == (Decimal(listing["price"]), 3)
        scene.assert_stored("listings")


LOST: dict[str, tuple[Any, dict[str, Any]]] = {
    "500": ("status", {"status": 500}),
    "504": ("status", {"status": 504, "html": True}),
    "closed": ("close", {}),
    "reset": ("reset", {}),
    "timeout": ("timeout", {"seconds": PATIENCE_SECONDS}),
    "page": ("garbage", {}),
}
EACH_LOST = [
    pytest.param(*ask.values, *fault, id=f"{ask.id}-{name}")
    for ask in WRITES
    for name, fault in LOST.items()
    if ask.id == "order" or name in {"500", "closed", "page"}
]


class TestLostAnswers:
    @pytest.mark.parametrize("arrived", [True, False])
    @pytest.mark.parametrize(("ask", "operation", "resource"), WRITES)
    def test_after_a_failover_that_may_have_lost_the_mark_it_is_read_back_before_it_is_sent(
        self, scene: Scene, ask: Ask, operation: str, resource: str, arrived: bool
    ) -> None:
        """The standby that took over knows the write as `pending`, whether it was sent or not."""
        handle = ask(scene)
        if arrived:
            scene.run_slice()
            scene.shop.execute("UPDATE backmarket.api_writes SET state = 'pending', sent = 0, prior = NULL,"
                " settled_at = NULL, confirmed_by = NULL, due_at = now()")  # fmt: skip
            scene.shop.execute("UPDATE backmarket.work SET due_at = now() WHERE kind = 'writes'")
        scene.shop.execute("UPDATE backmarket.api_writes SET recorded_on = 'the server that was lost'")
        scene.run_slice()
        assert scene.write(handle).state is WriteState.UNKNOWN
        assert scene.asked(operation) == int(arrived)
        scene.run_slice(later=True)
        scene.run_slice(later=True)
        assert scene.write(handle).state is WriteState.SUCCEEDED
        assert (scene.asked(operation), len(scene.applied())) == (1, 1)
        scene.assert_stored(resource)

    @pytest.mark.parametrize(("ask", "operation", "resource", "kind", "rule"), EACH_LOST)
    def test_it_is_read_back_when_it_had_arrived(
        self, scene: Scene, ask: Ask, operation: str, resource: str, kind: str, rule: dict[str, Any]
    ) -> None:
        scene.fault(kind, operation, count=1, applied=True, **rule)
        if kind == "timeout":
            scene.shop.restart(request_deadline=2.0)
        handle = ask(scene)
        assert scene.run_slice().unknown == 1
        assert scene.write(handle).state is WriteState.UNKNOWN
        assert scene.run_slice().end == "nothing_to_do", "not read back before the request is over"
        assert scene.run_slice(later=True).succeeded == 1
        assert handle.wait(0).confirmed_by == "reading_back"
        assert len(scene.applied()) == 1
        assert scene.asked(operation) == 1
        scene.assert_stored(resource)

    @pytest.mark.parametrize(("ask", "operation", "resource", "kind", "rule"), EACH_LOST)
    def test_it_is_sent_once_more_when_it_had_not(
        self, scene: Scene, ask: Ask, operation: str, resource: str, kind: str, rule: dict[str, Any]
    ) -> None:
        scene.fault(kind, operation, count=1, **rule)
        if kind == "timeout":
            scene.shop.restart(request_deadline=2.0)
        handle = ask(scene)
        assert scene.run_slice().unknown == 1
        assert scene.run_slice(later=True).succeeded == 1
        outcome = handle.wait(0)
        assert (outcome.confirmed_by, outcome.requests) == ("answer", 2)
        assert len(scene.applied()) == 1
        scene.assert_stored(resource)

    @pytest.mark.parametrize(("ask", "operation", "resource"), WRITES)
    def test_a_yes_without_a_body_is_a_yes_and_the_rows_are_asked_for(
        self, scene: Scene, ask: Ask, operation: str, resource: str
    ) -> None:
        scene.fault("empty", operation, count=1, applied=True)
        handle = ask(scene)
        assert scene.run_slice().succeeded == 1
        assert handle.wait(0).confirmed_by == "answer"
        scene.assert_stored(resource)

    def test_after_three_times_in_vain_a_person_decides(self, scene: Scene) -> None:
        scene.fault("status", "listings.update")
        handle = reprice(scene)
        for _ in range(4):
            scene.run_slice(later=True)
        with pytest.raises(UnknownOutcome, match="sent 3 times"):
            handle.wait(0)
        assert scene.asked("listings.update") == 3
        assert scene.run_slice(later=True).end == "done"
        assert scene.asked("listings.update") == 3

    def test_what_another_client_changed_meanwhile_is_not_guessed(self, scene: Scene) -> None:
        scene.fault("close", "listings.update", count=1)
        handle = reprice(scene)
        scene.run_slice()
        number = scene.listing()["id"]
        scene.sandbox.change(scene.seller, resource="listings", modify=1, ids=[number], fields={"price": "77.00"})
        scene.run_slice(later=True)
        with pytest.raises(UnknownOutcome, match="writes settle"):
            handle.done()

    @pytest.mark.parametrize("arrived", [True, False])
    def test_a_no_to_the_second_request_is_read_back_as_the_first_may_have_arrived_late(
        self, scene: Scene, arrived: bool
    ) -> None:
        handle = accept(scene)
        scene.fault("close", "orders.update", count=1)
        scene.run_slice()
        scene.fault("status", "orders.update", count=1, status=422, applied=arrived)
        scene.run_slice(later=True)
        assert scene.write(handle).state is WriteState.UNKNOWN
        scene.run_slice(later=True)
        if arrived:
            assert handle.wait(0).confirmed_by == "reading_back"
        else:
            with pytest.raises(WriteRefused, match="status 422"):
                handle.wait(0)
        assert (len(scene.applied()), scene.asked("orders.update")) == (int(arrived), 2)

    def test_what_is_gone_can_not_be_read_back(self, scene: Scene) -> None:
        handle = reprice(scene)
        scene.fault("close", "listings.update", count=1)
        scene.run_slice()
        scene.sandbox.change(scene.seller, resource="listings", remove=1, ids=[scene.listing()["id"]])
        scene.run_slice(later=True)
        with pytest.raises(UnknownOutcome, match="its object no longer exists"):
            handle.wait(0)

    def test_in_a_market_that_was_left_nothing_is_read_back(self, scene: Scene) -> None:
        handle = reprice(scene)
        scene.fault("close", "listings.update", count=1, applied=True)
        scene.run_slice()
        scene.shop.execute("UPDATE backmarket.connections SET environment = 'sandbox'")
        scene.run_slice(later=True)
        with pytest.raises(UnknownOutcome, match="another region, environment or base URL since"):
            handle.wait(0)
        assert scene.asked("listings.get") == 0

    def test_reading_back_that_fails_is_tried_again(self, scene: Scene) -> None:
        handle = accept(scene)
        scene.fault("close", "orders.update", count=1, applied=True)
        scene.fault("status", "orders.get", count=1)
        scene.run_slice()
        assert scene.run_slice(later=True).unknown == 1
        assert "could not be read back yet" in str(scene.write(handle).error)
        assert scene.run_slice(later=True).succeeded == 1

    @pytest.mark.parametrize("kind", ["forbidden", "waf_html", "status", "garbage"])
    def test_reading_back_that_can_never_succeed_ends_with_a_person_and_holds_up_no_other_lane(
        self, scene: Scene, kind: Any
    ) -> None:
        order = scene.order(1)["order_id"]
        scene.fault("close", "orders.update", count=1, applied=True)
        broken = scene.bm.update_order(ORG, order, 2)
        scene.run_slice()
        scene.fault(kind, "orders.get", path=f"/ws/orders/{order}")
        with pytest.raises(NotUndecided, match="you may decide after"):
            scene.bm.settle_write(ORG, broken.id, arrived=True)
        looks = 0
        while not scene.write(broken).undecided:
            looks += 1
            other = reprice(scene)
            scene.run_slice(later=True)
            scene.run_slice(later=True)
            assert other.done() is not None, "the other lanes go on"
        assert (looks, scene.asked("orders.get")) == (MAX_LOOKS / 2, MAX_LOOKS + 1)
        with pytest.raises(UnknownOutcome, match=f"could not be read back in {MAX_LOOKS} attempts.*writes settle"):
            broken.wait(0)

    def test_a_person_may_decide_once_the_request_can_no_longer_arrive(self, scene: Scene) -> None:
        handles = []
        for index in range(2):
            order = scene.order(1, index=index)["order_id"]
            scene.fault("close", "orders.update", count=1, applied=True)
            scene.fault("status", "orders.get", path=f"/ws/orders/{order}")
            handles.append(scene.bm.update_order(ORG, order, 2))
            scene.run_slice()
        scene.run_slice(later=True)
        assert [scene.write(handle).undecided for handle in handles] == [False, False]
        settled = scene.bm.settle_write(ORG, handles[0].id, arrived=True)
        assert (settled.state, settled.confirmed_by) == (WriteState.SUCCEEDED, "person")
        scene.bm.retry_write(ORG, handles[1].id)
        read_too_late = Transition(WriteState.UNKNOWN, 5.0)
        with scene.shop.services.database.transaction() as transaction:
            as_read = replace(scene.write(handles[1]), state=WriteState.UNKNOWN)
            assert not rows.decide(transaction, as_read, read_too_late), "the person was first"
        assert scene.write(handles[1]).state is WriteState.PENDING

    def test_an_earlier_write_with_an_unknown_outcome_holds_back_the_later_ones(self, scene: Scene) -> None:
        scene.fault("close", "orders.update", count=1, applied=True)
        order = scene.order(1)["order_id"]
        first = scene.bm.update_order(ORG, order, 2)
        second = scene.bm.update_order(ORG, order, 3, tracking_number=TRACKING)
        scene.run_slice()
        assert scene.asked("orders.update") == 1
        with pytest.raises(WaitTimeout, match=f"waits for write {first.id} of the same object"):
            second.wait(0)
        assert {write.id: write.behind for write in scene.bm.get_writes(ORG)} == {second.id: first.id, first.id: None}
        scene.run_slice(later=True)
        assert [scene.write(each).state for each in (first, second)] == [WriteState.SUCCEEDED] * 2


class TestRefusals:
    @pytest.mark.parametrize(
        ("kind", "rule", "reason"),
        [
            ("early_404", {}, "not_found"),
            ("forbidden", {}, "not_available"),
            ("status", {"status": 422}, "refused"),
        ],
    )
    @pytest.mark.parametrize(("ask", "operation", "resource"), WRITES)
    def test_the_apis_no_is_final(
        self, scene: Scene, ask: Ask, operation: str, resource: str, kind: str, rule: dict[str, Any], reason: str
    ) -> None:
        scene.fault(kind, operation, count=1, **rule)
        handle = ask(scene)
        assert scene.run_slice().refused == 1
        with pytest.raises(WriteRefused) as caught:
            handle.wait(0)
        assert (caught.value.reason, scene.applied()) == (reason, [])
        assert caught.value.request_id is not None
        scene.assert_stored(resource)

    def test_a_person_may_send_it_again(self, scene: Scene) -> None:
        scene.fault("forbidden", "orders.update", count=1)
        handle = accept(scene)
        scene.run_slice()
        again = scene.bm.retry_write(ORG, handle.id)
        assert again.id == handle.id
        scene.run_slice()
        assert handle.wait(0).requests == 1
        with pytest.raises(NotUndecided, match="has ended"):
            scene.bm.retry_write(ORG, handle.id)
        with pytest.raises(WriteNotFound):
            scene.bm.retry_write(ORG, handle.id + 1)

    def test_the_firewall_lets_all_writes_rest(self, scene: Scene) -> None:
        scene.fault("waf_html", "orders.update", count=1)
        handle = accept(scene)
        ended = scene.run_slice()
        assert (ended.end, ended.error and ended.error.code) == ("handed_on", "firewall_blocked")
        write = scene.write(handle)
        assert (write.state, write.error_code, write.sent) == (WriteState.PENDING, "firewall_blocked", 0)
        assert scene.shop.one("SELECT due_at > now() + interval '10 s' FROM backmarket.work WHERE kind = 'writes'")
        with pytest.raises(WaitTimeout, match=r"not sent yet.*firewall.*tries again after"):
            handle.wait(0)
        assert scene.run_slice(later=True).succeeded == 1

    def test_a_key_that_is_refused_waits_for_a_new_one(self, scene: Scene) -> None:
        handle = accept(scene)
        scene.sandbox.patch_seller(scene.seller, token="another")
        refused = scene.run_slice().error
        assert refused is not None
        assert refused.code == "unauthorized"
        assert scene.run_slice(later=True).end == "nothing_to_do"
        let_time_pass(scene.shop, 31)
        assert probe_due(scene.shop.services, seconds=5) == 1
        assert scene.run_slice(later=True).end == "nothing_to_do"
        with pytest.raises(ConnectionUnauthorized):
            reprice(scene)
        with pytest.raises(WaitTimeout, match="refused the key"):
            handle.wait(0)
        scene.shop.connect(ORG, "another")
        assert scene.run_slice(later=True).succeeded == 1
        assert handle.wait(0).requests == 1

    def test_too_many_requests_wait_for_the_limiter(self, scene: Scene) -> None:
        scene.shop.restart(rate_window=0.5)
        scene.fault("rate_limited", "orders.update", count=1)
        handle = accept(scene)
        scene.run_slice()
        scene.run_slice(later=True)
        assert (handle.wait(0).requests, scene.asked("orders.update")) == (1, 2)

    def test_no_worker_listens(self, scene: Scene) -> None:
        scene.shop.settings = scene.shop.settings.model_copy(
            update={"allowed_base_urls": (scene.sandbox.url, "http://127.0.0.1:1")}
        )
        scene.shop.execute("UPDATE backmarket.connections SET base_url = 'http://127.0.0.1:1'")
        scene.shop.restart()
        number = scene.shop.one("SELECT listing_id FROM backmarket.listings LIMIT 1")
        handle = scene.bm.update_listing(ORG, number, quantity=1)
        scene.run_slice()
        write = scene.write(handle)
        assert (write.state, write.error_code, write.sent) == (WriteState.PENDING, "network", 0)
        assert scene.shop.one(f"SELECT sum(lines) FROM {QUOTA}") == 0, "the line is given back"
        scene.shop.execute("UPDATE backmarket.connections SET base_url = %s", scene.sandbox.url)
        scene.shop.execute("UPDATE backmarket.api_writes SET base_url = %s", scene.sandbox.url)
        assert scene.run_slice(later=True).succeeded == 1

    def test_without_the_limiter_nothing_is_sent(self, scene: Scene) -> None:
        handle = accept(scene)
        scene.shop.restart(redis_url="redis://127.0.0.1:1/0")
        ended = scene.run_slice()
        assert (ended.end, ended.error) == ("handed_on", None)
        assert (scene.write(handle).state, scene.asked("orders.update")) == (WriteState.PENDING, 0)

    def test_what_was_held_up_before_its_first_byte_is_not_sent(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        handle = accept(scene)
        scene.shop.restart(task_budget_seconds=0.2)
        with monkeypatch.context() as patch:
            patch.setattr(sender, "SEND_WITHIN", -1.0)
            scene.run_slice()
        assert (scene.write(handle).state, scene.asked("orders.update")) == (WriteState.PENDING, 0)
        scene.shop.restart(task_budget_seconds=20.0)
        assert scene.run_slice(later=True).succeeded == 1

    def test_meant_for_another_environment_it_is_not_sent(self, scene: Scene) -> None:
        handle = accept(scene)
        scene.shop.execute("UPDATE backmarket.connections SET environment = 'sandbox'")
        scene.run_slice()
        with pytest.raises(WriteRefused, match="another region, environment or base URL") as caught:
            handle.wait(0)
        assert (caught.value.reason, scene.asked("orders.update")) == ("connection_changed", 0)

    def test_sku_lines_are_counted_and_waited_for(self, scene: Scene) -> None:
        scene.shop.restart(sku_lines_limit=2)
        listings = scene.sandbox.truth(scene.seller, "listings")[:3]
        handles = [scene.bm.update_listing(ORG, each["id"], quantity=1) for each in listings]
        assert scene.run_slice().succeeded == 2
        last = scene.write(handles[2])
        assert (last.state, last.error_code) == (WriteState.PENDING, "rate_limited")
        assert scene.shop.one("SELECT due_at > now() + interval '50 min' FROM backmarket.work WHERE kind = 'writes'")
        with pytest.raises(WaitTimeout, match="SKU lines"):
            handles[2].wait(0)

    def test_the_apis_own_count_of_sku_lines_is_believed(self, scene: Scene) -> None:
        scene.sandbox.settings(sku_lines_limit=0)
        try:
            handle = reprice(scene)
            scene.run_slice()
        finally:
            scene.sandbox.settings(sku_lines_limit=2000)
        assert scene.write(handle).state is WriteState.PENDING
        assert scene.shop.one(f"SELECT count(*) FROM {QUOTA} AND lines IS NULL") == 1

    def test_a_429_of_the_quota_without_a_request_id_holds_up_listings_only(self, scene: Scene) -> None:
        scene.fault("sku_quota", "listings.update")
        listing, order = reprice(scene), accept(scene)
        scene.run_slice()
        assert (scene.write(listing).state, scene.asked("listings.update")) == (WriteState.PENDING, 1)
        assert order.wait(0).confirmed_by == "answer", "the account is not blocked"
        scene.run_slice(later=True)
        assert scene.asked("listings.update") == 1

    def test_a_listing_that_the_quota_always_refuses_holds_up_no_other(self, scene: Scene) -> None:
        bad, good = (row["id"] for row in scene.sandbox.truth(scene.seller, "listings")[:2])
        scene.sandbox.add_fault("sku_quota", seller=scene.seller, path=f"/ws/listings/{bad}")
        refused = scene.bm.update_listing(ORG, bad, quantity=7)
        scene.run_slice()
        other = scene.bm.update_listing(ORG, good, quantity=7)
        scene.run_slice()
        assert scene.write(other).error_code == "rate_limited", "the account's lines are closed"
        scene.let_time_pass()
        scene.run_slice()
        due, others_due = scene.write(refused).due_at, scene.write(other).due_at
        assert due is not None
        assert others_due is not None
        assert (due - others_due).total_seconds() > 20, "what was not refused goes first"
        scene.let_time_pass()
        scene.run_slice()
        assert scene.write(other).state is WriteState.SUCCEEDED
        assert (scene.write(refused).state, scene.asked("listings.update")) == (WriteState.PENDING, 2)


class TestAsking:
    def test_what_the_api_would_refuse_is_refused_here(self, scene: Scene) -> None:
        order = scene.order(1)["order_id"]
        with pytest.raises(InvalidWrite, match="tracking_number"):
            scene.bm.update_order(ORG, order, 3)
        with pytest.raises(InvalidWrite, match="new_state"):
            scene.bm.update_order(ORG, order, 6)
        with pytest.raises(InvalidWrite, match="imei"):
            scene.bm.update_orderline(ORG, scene.order(1)["orderlines"][0]["id"], imei="490154203237519")
        with pytest.raises(InvalidWrite, match="min_price"):
            scene.bm.update_listing(ORG, scene.listing()["id"], price="1", min_price="2")
        with pytest.raises(InvalidArgument, match="either the listing"):
            scene.bm.update_listing(ORG, quantity=1)
        assert scene.bm.get_writes(ORG).items == []

    def test_what_is_not_stored_has_to_be_fetched_first(self, scene: Scene) -> None:
        with pytest.raises(NotStoredYet, match="orders fetch"):
            scene.bm.update_order(ORG, 1, 2)
        with pytest.raises(NotStoredYet, match="order line 1"):
            scene.bm.update_orderline(ORG, 1, imei=IMEI)
        with pytest.raises(NotStoredYet, match="listings fetch"):
            scene.bm.update_listing(ORG, UUID(int=1), quantity=1)
        with pytest.raises(NotStoredYet, match="listings fetch"):
            scene.bm.update_listing(ORG, sku="nobody's", quantity=1)

    def test_the_environment_and_the_locale_must_be_the_connections(self, scene: Scene) -> None:
        with pytest.raises(EnvironmentMismatch):
            scene.bm.update_listing(ORG, scene.listing()["id"], quantity=1, environment="sandbox")
        with pytest.raises(InvalidArgument, match="locale"):
            scene.bm.update_listing(ORG, scene.listing()["id"], quantity=1, locale="ja-jp")

    def test_a_repeated_call_gives_the_first_ones_outcome(self, scene: Scene) -> None:
        order = scene.order(1)["order_id"]
        first = scene.bm.update_order(ORG, order, 2, idempotency_key="k")
        scene.run_slice()
        again = scene.bm.update_order(ORG, order, 2, idempotency_key="k")
        assert again.id == first.id
        assert again.done() == first.done()
        with pytest.raises(IdempotencyConflict, match=f"Write {first.id}, "):
            scene.bm.update_order(ORG, order, 3, tracking_number=TRACKING, idempotency_key="k")
        with pytest.raises(IdempotencyConflict):
            scene.bm.update_listing(ORG, scene.listing()["id"], quantity=1, idempotency_key="k")
        with pytest.raises(InvalidArgument, match="1 to 200"):
            scene.bm.update_listing(ORG, scene.listing()["id"], quantity=1, idempotency_key="")
        assert len(scene.bm.get_writes(ORG)) == 1

    def test_a_repeated_call_gives_the_first_ones_outcome_whatever_became_of_the_connection(self, scene: Scene) -> None:
        order = scene.order(1)["order_id"]
        first = scene.bm.update_order(ORG, order, 2, idempotency_key="k")
        scene.run_slice()
        scene.bm.disconnect(ORG, clear_api_key=True)
        again = scene.bm.update_order(ORG, order, 2, idempotency_key="k")
        assert (again.id, again.done()) == (first.id, first.done())
        with pytest.raises(ApiKeyMissing):
            scene.bm.update_order(ORG, order, 2, idempotency_key="another")

    def test_two_calls_at_once_with_one_key_make_one_row(self, scene: Scene) -> None:
        listing = scene.listing()["id"]

        def ask(_: int) -> int:
            return scene.bm.update_listing(ORG, listing, quantity=4, idempotency_key="k").id

        with ThreadPoolExecutor(8) as pool:
            assert len(set(pool.map(ask, range(24)))) == 1
        assert len(scene.bm.get_writes(ORG)) == 1

    def test_lists_by_state_kind_and_object(self, scene: Scene) -> None:
        listing = scene.listing()["id"]
        handles = [accept(scene), scene.bm.update_listing(ORG, listing, quantity=4), register(scene)]
        newest = [handle.id for handle in reversed(handles)]
        assert [write.id for write in scene.bm.get_writes(ORG)] == newest
        first = scene.bm.get_writes(ORG, limit=2)
        assert [write.id for write in scene.bm.get_writes(ORG, limit=2, cursor=first.next_cursor)] == newest[2:]
        assert [write.kind for write in scene.bm.get_writes(ORG, kind="update_listing")] == ["update_listing"]
        assert [write.object_id for write in scene.bm.get_writes(ORG, object_id=listing)] == [listing]
        assert scene.bm.get_writes(ORG, state="unknown").items == []
        for wrong in ({"state": "lost"}, {"kind": "delete"}, {"limit": 0}, {"cursor": "x"}):
            with pytest.raises(InvalidArgument):
                scene.bm.get_writes(ORG, **wrong)

    def test_nothing_personal_is_shown_by_accident(self, scene: Scene) -> None:
        order = scene.order(2)["order_id"]
        handle = scene.bm.update_order(ORG, order, 3, tracking_number=TRACKING)
        assert TRACKING not in repr(scene.write(handle))
        assert TRACKING not in repr(handle)

    def test_without_a_worker_the_timeout_says_so(self, scene: Scene) -> None:
        with pytest.raises(WaitTimeout, match="queue 'writes'"):
            accept(scene).wait(0.1)

    def test_a_write_of_a_removed_organization_is_gone(self, scene: Scene) -> None:
        handle = accept(scene)
        lifecycle.remove(scene.shop.services.database, ORG)
        assert scene.shop.one("SELECT count(*) FROM backmarket.api_writes") == 0
        assert scene.run_slice().end == "nothing_to_do"
        with pytest.raises(ConnectionNotFound):
            handle.done()

    def test_asked_to_a_worker_sends_what_waits_for_its_next_try(self, scene: Scene) -> None:
        handle = accept(scene)
        scene.shop.execute("UPDATE backmarket.api_writes SET due_at = now() + interval '1 h'")
        scene.run_slice()
        assert scene.write(handle).state is WriteState.PENDING
        send_now(scene.shop.services.database, ORG)
        assert scene.run_slice().succeeded == 1

    def test_a_person_says_what_became_of_it(self, scene: Scene) -> None:
        scene.fault("status", "listings.update")
        handle = reprice(scene)
        later = scene.bm.update_listing(ORG, scene.listing()["id"], quantity=2)
        with pytest.raises(NotUndecided, match="continues by itself"):
            scene.bm.settle_write(ORG, handle.id, arrived=True)
        for _ in range(4):
            scene.run_slice(later=True)
        scene.sandbox.remove_faults()
        with pytest.raises(WaitTimeout, match="writes settle"):
            later.wait(0)
        assert scene.bm.settle_write(ORG, handle.id, arrived=True).confirmed_by == "person"
        assert isinstance(handle.done(), WriteOutcome)
        assert scene.run_slice().succeeded == 1
        assert later.done() is not None


@pytest.mark.parametrize("arrived", [True, False])
def test_what_a_killed_worker_left_sending_is_read_back_by_another(scene: Scene, arrived: bool) -> None:
    """The row as it is when its sender died before, or after, the request arrived."""
    handle = reprice(scene)
    if arrived:
        scene.run_slice()
    scene.shop.execute(
        "UPDATE backmarket.api_writes SET state = 'sending', sent = 1, settled_at = NULL, confirmed_by = NULL,"
        " prior = %s, settle_at = now() + interval '1 h', due_at = now() + interval '1 h'",
        Jsonb({"price": "1.00", "quantity": 1, "currency": "EUR"} if arrived else scene.listing()),
    )
    assert scene.run_slice().succeeded == 0
    assert scene.run_slice(later=True).succeeded == 1
    assert handle.wait(0).confirmed_by == ("reading_back" if arrived else "answer")
    assert len(scene.applied()) == 1


class TestKeeping:
    def test_erasing_an_order_empties_its_writes_and_refuses_what_was_not_sent(self, scene: Scene) -> None:
        order = scene.order(1)
        number, line = order["order_id"], order["orderlines"][0]["id"]
        other = scene.bm.update_listing(ORG, scene.listing()["id"], quantity=4)
        done = scene.bm.update_order(ORG, number, 2, idempotency_key="k")
        scene.run_slice()
        scene.fault("close", "orders.update", count=1, applied=True)
        unknown = scene.bm.update_order(ORG, number, 3, tracking_number=TRACKING)
        pending = scene.bm.update_orderline(ORG, line, imei=IMEI)
        scene.run_slice()
        scene.bm.erase_order(ORG, number)
        rows = scene.shop.execute("SELECT request, prior FROM backmarket.api_writes WHERE lane LIKE 'order%'")
        assert rows == [({}, None)] * 3
        assert scene.write(done).state is WriteState.SUCCEEDED
        with pytest.raises(WriteRefused) as caught:
            pending.done()
        assert caught.value.reason == "erased"
        with pytest.raises(UnknownOutcome, match="Look at the order"):
            unknown.done()
        with pytest.raises(NotUndecided, match="was erased"):
            scene.bm.retry_write(ORG, unknown.id)
        assert scene.bm.update_order(ORG, number, 2, idempotency_key="k").id == done.id
        assert scene.write(other).request != {}
        scene.run_slice(later=True)
        assert scene.asked("orders.update") == 2

    def test_what_came_to_its_end_long_ago_is_dropped(self, scene: Scene) -> None:
        done, waits = reprice(scene), accept(scene)
        scene.run_slice()
        scene.shop.execute(
            "UPDATE backmarket.api_writes SET created_at = now() - interval '1 y', object_key = 'invoices/o/1/x.pdf'"
        )
        scene.shop.execute(
            "UPDATE backmarket.api_writes SET settled_at = now() - interval '91 days' WHERE id = %s", done.id
        )
        scene.shop.execute(
            "UPDATE backmarket.api_writes SET state = 'unknown', due_at = 'infinity', settled_at = NULL WHERE id = %s",
            waits.id,
        )
        assert scene.bm.upkeep().writes_dropped == 1
        assert [write.id for write in scene.bm.get_writes(ORG)] == [waits.id]
        assert scene.shop.execute("DELETE FROM backmarket.bucket_deletions RETURNING object_key") == [
            ("invoices/o/1/x.pdf",)
        ]
        with pytest.raises(WriteNotFound, match="no longer stored"):
            done.done()


@pytest.mark.parametrize(("ask", "operation", "resource"), WRITES)
def test_who_lost_the_lease_while_the_api_answered_writes_nothing(
    scene: Scene, ask: Ask, operation: str, resource: str
) -> None:
    """A sender that slept past its lease: the answer in its hand is void, and another reads back."""
    handle = ask(scene)
    scene.fault("slow", operation, count=1, seconds=3.0)
    with ThreadPoolExecutor(1) as pool:
        slice_ = pool.submit(scene.run_slice)
        wait_until(scene.applied, "it took place")
        scene.shop.execute("UPDATE backmarket.work SET lease_number = lease_number + 1 WHERE kind = 'writes'")
        assert slice_.result().end == "lease_lost"
    assert scene.write(handle).state is WriteState.SENDING
    with pytest.raises(WaitTimeout, match="reads it back after"):
        handle.wait(0)
    scene.shop.execute("UPDATE backmarket.work SET lease_until = NULL")
    assert scene.run_slice(later=True).succeeded == 1
    assert (handle.wait(0).confirmed_by, len(scene.applied())) == ("reading_back", 1)
    scene.assert_stored(resource)


def test_while_the_sender_pauses_the_timeout_says_why(scene: Scene) -> None:
    handle = accept(scene)
    scene.shop.execute("UPDATE backmarket.work SET due_at = now() + interval '1 h' WHERE kind = 'writes'")
    with pytest.raises(WaitTimeout, match="used up for now, Redis is unreachable"):
        handle.wait(0)


@pytest.mark.parametrize(
    ("ask", "operation", "kind"),
    [
        (accept, "orders.update", "wrong_types"),
        (reprice, "listings.update", "wrong_types"),
        (register, "orderlines.update", "nulls"),
        (accept, "orders.update", "id_missing"),
    ],
)
def test_odd_answers_stop_nothing(scene: Scene, ask: Ask, operation: str, kind: Any) -> None:
    """The write's own answer says yes in an odd way; what is read back is odd, too, then right."""
    first = ask(scene)
    scene.fault(kind, operation, count=1, applied=True)
    assert scene.run_slice().succeeded == 1
    assert first.wait(0).confirmed_by == "answer"
    second = scene.bm.update_listing(ORG, scene.listing()["id"], quantity=77)
    scene.fault("close", "listings.update", count=1, applied=True)
    scene.run_slice()
    number = scene.sandbox.add_fault(kind, operation="listings.get", seller=scene.seller)
    assert scene.run_slice(later=True).end == "done"
    scene.sandbox.remove_faults(number)
    scene.run_slice(later=True)
    write = scene.write(second)
    assert write.state is WriteState.SUCCEEDED or write.undecided


def test_an_unreadable_row_stops_no_other(scene: Scene) -> None:
    odd, well = reprice(scene), accept(scene)
    scene.shop.execute("UPDATE backmarket.api_writes SET request = '{\"odd\": 1}' WHERE id = %s", odd.id)
    assert scene.run_slice().succeeded == 1
    assert well.done() is not None
    with pytest.raises(WriteRefused) as caught:
        odd.done()
    assert caught.value.reason == "crashed"
