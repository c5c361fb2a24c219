"""The states of a write, driven by every answer and every silence in any order: see docs/states.md.

Hypothesis plays the API, the clock, another client, a worker that dies, and a person. Erasing is left out: an erased
write cannot be sent again, so that a person's retry is rightly refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from hypothesis.strategies import booleans, sampled_from

from backmarket import BackMarket
from backmarket.errors import NotUndecided
from backmarket.sandbox.control.client import SandboxControl
from backmarket.writes import rows
from backmarket.writes.engine import retry_policy, sender
from backmarket.writes.engine.retry_policy import MOST_SENT
from backmarket.writes.engine.slice import run_slice
from backmarket.writes.models import Write, WriteState
from tests.support.databases import empty
from tests.support.sellers import Shop
from tests.support.settings import fresh_settings
from tests.support.state_machines import LOST, NEVER_ARRIVES, RIGHT, SHOWN, age, answer_with, run_machine

MAX_TRIES, MAX_LOOKS = 6, 4
"""Shorter than in the product, so that each example sees the ends."""

MAX_SLICES = MOST_SENT * (MAX_TRIES + MAX_LOOKS + 2)
"""Slices after which no write without a person's decision is still a worker's."""


@pytest.fixture
def shop(shared_url: str, redis_url: str, sandbox: SandboxControl, org: str) -> Iterator[Shop]:
    empty(shared_url)
    settings = fresh_settings(
        database_url=shared_url,
        redis_url=redis_url,
        rate_limit=100_000,
        rate_window=0.05,
    )
    shop = Shop(settings, sandbox, ("orders", "listings"))
    shop.sell(org, orders=3, listings=3, deliveries=0, returns=0)
    shop.sync(org, "orders")
    shop.sync(org, "listings")
    yield shop
    sandbox.remove_faults()
    shop.services.close()


class WriteMachine(RuleBasedStateMachine):
    """One write of an order or a listing, from the call to its end."""

    def __init__(self, shop: Shop, bm: BackMarket, org: str, resource: str) -> None:
        super().__init__()
        self.shop, self.bm, self.org, self.resource = shop, bm, org, resource
        shop.sandbox.remove_faults()
        shop.execute("DELETE FROM backmarket.api_writes")
        shop.execute("DELETE FROM backmarket.sku_quota")
        shop.execute("UPDATE backmarket.connections SET refused_at = NULL, unauthorized_at = NULL")
        self.object = shop.sandbox.truth(org, resource)[0]
        self.id = self._ask()
        self.slices = 0

    def _ask(self) -> int:
        if self.resource == "listings":
            price = Decimal(str(self.object["price"])) + Decimal("1.25")
            return self.bm.update_listing(self.org, self.object["id"], price=price).id
        line = self.object["orderlines"][0] | {"state": 1, "quantity": 1, "listing": "SKU"}
        self._change({"state": 1, "orderlines": [line]})
        self.bm.fetch_order(self.org, self.object["order_id"])
        return self.bm.update_order(self.org, self.object["order_id"], 2).id

    def _change(self, fields: dict[str, Any]) -> None:
        key = self.object["id" if self.resource == "listings" else "order_id"]
        self.shop.sandbox.change(self.org, resource=self.resource, modify=1, ids=[key], fields=fields)

    @property
    def write(self) -> Write:
        found = self.bm.get_write(self.org, self.id)
        assert found is not None
        return found

    @property
    def is_a_workers(self) -> bool:
        """Whether a worker has to go on by itself."""
        return self.write.open and self.write.due_at is not None

    # --- what happens ---------------------------------------------------------------------------------------

    @rule(sent=sampled_from([RIGHT, *NEVER_ARRIVES, *LOST, *LOST]), shown=sampled_from(SHOWN))
    def a_worker_looks(self, sent: dict[str, Any], shown: dict[str, Any]) -> None:
        answer_with(self.shop, {f"{self.resource}.update": sent, f"{self.resource}.get": shown})
        self.slice()

    @rule()
    def a_worker_dies_while_it_sends(self) -> None:
        self.let_time_pass()
        with self.shop.services.database.transaction() as transaction:
            write = self.write
            rows.begin(transaction, write, prior=write.prior, seconds=33.0)

    @rule(fields=sampled_from([{"price": "7.00"}, {"quantity": 0}]), state=sampled_from([2, 4]))
    def another_client_changes_the_same(self, fields: dict[str, Any], state: int) -> None:
        line = self.object.get("orderlines", [{}])[0] | {"state": state, "quantity": 1, "listing": "SKU"}
        self._change(fields if self.resource == "listings" else {"orderlines": [line]})

    @rule()
    def a_worker_is_held_up_before_it_sends(self) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sender, "SEND_WITHIN", -1.0)
            self.slice()

    @rule()
    def a_person_retries(self) -> None:
        self.decide(lambda: self.bm.retry_write(self.org, self.id), {WriteState.REFUSED})

    @rule(arrived=booleans())
    def a_person_settles(self, arrived: bool) -> None:
        self.decide(lambda: self.bm.settle_write(self.org, self.id, arrived=arrived), set())

    def decide(self, act: Any, ended: set[WriteState]) -> None:
        """A person's decision is refused only while the outcome may change by itself."""
        write = self.write
        may = write.state in ended or (
            write.state in {WriteState.SENDING, WriteState.UNKNOWN}
            and self.shop.one("SELECT settle_at IS NULL OR settle_at <= now() FROM backmarket.api_writes")
        )
        if may:
            act()
            self.slices = 0
            assert self.write.state in {WriteState.PENDING, WriteState.SUCCEEDED, WriteState.REFUSED}
        else:
            with pytest.raises(NotUndecided):
                act()

    def let_time_pass(self) -> None:
        age(
            self.shop,
            {"work": "due_at", "api_writes": "settle_at due_at"},
            "SELECT due_at FROM backmarket.work WHERE kind = 'writes' AND due_at < 'infinity'",
        )

    def slice(self) -> None:
        self.let_time_pass()
        worked = self.is_a_workers
        run_slice(self.shop.services, self.org)
        self.slices += worked

    # --- what always holds ----------------------------------------------------------------------------------

    @invariant()
    def no_request_and_no_try_too_many(self) -> None:
        write = self.write
        assert write.sent <= MOST_SENT
        assert write.tries <= (MAX_LOOKS if write.state is WriteState.UNKNOWN else MAX_TRIES)

    @invariant()
    def what_is_a_persons_says_why(self) -> None:
        write = self.write
        if write.open and write.due_at is None:
            assert write.state is WriteState.UNKNOWN
            assert write.error_code
            assert "backmarket writes settle" in str(write.error)
        if write.state is WriteState.REFUSED:
            assert write.error

    @invariant()
    def what_is_a_workers_is_not_forgotten(self) -> None:
        if self.is_a_workers:
            assert self.shop.one("SELECT due_at < 'infinity' FROM backmarket.work WHERE kind = 'writes'")

    def teardown(self) -> None:
        """The answers stay as they are, for ever: even so, the write ends, or is a person's."""
        while self.is_a_workers:
            self.slice()
            assert self.slices <= MAX_SLICES, self.write
        self.no_request_and_no_try_too_many()
        self.what_is_a_persons_says_why()


@pytest.fixture
def quick_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry_policy, "MAX_TRIES", MAX_TRIES)
    monkeypatch.setattr(retry_policy, "MAX_LOOKS", MAX_LOOKS)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_ends")
def test_one_answer_for_ever_keeps_no_write_a_workers_whichever_it_is(shop: Shop, org: str) -> None:
    lost = {"kind": "close", "applied": True}
    lasting = [(fault, RIGHT) for fault in (*NEVER_ARRIVES, *LOST)] + [(lost, fault) for fault in SHOWN]
    with BackMarket(shop.settings) as bm:
        for sent, shown in lasting:
            write = WriteMachine(shop, bm, org, "orders")
            write.a_worker_looks(sent, shown)
            write.teardown()


@pytest.mark.slow
@pytest.mark.usefixtures("quick_ends")
def test_a_worker_held_up_for_ever_keeps_no_write_a_workers(
    shop: Shop, org: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "SEND_WITHIN", -1.0)
    with BackMarket(shop.settings) as bm:
        write = WriteMachine(shop, bm, org, "orders")
        write.teardown()
        assert (write.write.state, write.write.sent) == (WriteState.REFUSED, 0)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_ends")
@pytest.mark.parametrize("resource", ["orders", "listings"])
def test_each_state_of_a_write_is_left_within_its_bound_or_is_a_persons(shop: Shop, org: str, resource: str) -> None:
    with BackMarket(shop.settings) as bm:
        run_machine(lambda: WriteMachine(shop, bm, org, resource))
