"""How syncs fare: what a caller waits for, and what an operator reads."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from backmarket import BackMarket
from backmarket.database.encryption import KeyCipher
from backmarket.errors import (
    BackMarketError,
    ConnectionDisabled,
    ConnectionNotFound,
    FirewallBlocked,
    InvalidArgument,
    RequestRefused,
    SettingsError,
    Unauthorized,
    WaitTimeout,
)
from backmarket.sandbox.control.client import SandboxControl
from backmarket.settings import Settings
from backmarket.sync.engine import SliceResult, run_slice
from backmarket.sync.handle import SyncHandle, SyncOutcome
from tests.support.databases import empty, open_connection
from tests.support.gate import Gate, Reply, listed
from tests.support.sellers import Shop
from tests.support.settings import fresh_settings
from tests.support.waiting import PATIENCE_SECONDS

KEY = "bm-key-3f9a17c2"
_numbers = itertools.count(1)

Submit = Callable[[Callable[[], Any]], "Future[Any]"]


@pytest.fixture
def settings(shared_url: str, redis_url: str) -> Settings:
    empty(shared_url)
    return fresh_settings(
        database_url=shared_url,
        redis_url=redis_url,
        rate_limit=100_000,
    )


@pytest.fixture
def org() -> str:
    """An organization, and a seller, that no other test knows."""
    return f"auth0|{next(_numbers)}"


@pytest.fixture
def shop(settings: Settings, sandbox: SandboxControl) -> Iterator[Shop]:
    sandbox.remove_faults()
    shop = Shop(settings, sandbox)
    yield shop
    shop.services.close()


@pytest.fixture
def bm(settings: Settings) -> Iterator[BackMarket]:
    with BackMarket(settings) as bm:
        yield bm


@pytest.fixture
def gate() -> Iterator[Gate]:
    with Gate(listed({"order_id": 7})) as gate:
        yield gate


@pytest.fixture
def gated(settings: Settings, gate: Gate, org: str) -> Iterator[Gated]:
    gated = Gated(settings, gate.url, org)
    yield gated
    gated.bm.close()
    gated.shop.services.close()


@pytest.fixture
def submit() -> Iterator[Submit]:
    with ThreadPoolExecutor(4) as pool:
        yield pool.submit


class Gated:
    """An organization whose API answers when the test says so, and a worker beside it."""

    def __init__(self, settings: Settings, url: str, organization: str) -> None:
        # the URL is all that a Shop needs of its sandbox, until it is asked for more
        self.shop = Shop(settings, SandboxControl(url))
        self.bm = BackMarket(self.shop.settings)
        self.organization = organization
        self.shop.connect(organization, KEY)

    def ask(self) -> SyncHandle:
        return self.bm.sync_orders(self.organization)

    def run_slice(self) -> SliceResult:
        return run_slice(self.shop.services, self.organization, "orders")

    def state(self) -> str:
        return self.bm.get_connection_status(self.organization).resources["orders"].state


class TestWaiting:
    def test_the_numbers_of_the_run_are_told(self, shop: Shop, bm: BackMarket, org: str) -> None:
        shop.sell(org, orders=120)
        first = bm.sync_orders(org)
        assert first.done() is None
        assert shop.run_slice(org, ask=False).end == "done"
        assert first.done() == first.wait(1) == SyncOutcome(rows_created=120, requests=3)

        shop.sandbox.change(org, modify=3, add=2)
        second = bm.sync_orders(org)
        slice_ = shop.run_slice(org, ask=False)
        outcome = second.wait(1)
        assert (outcome.rows_created, outcome.rows_updated, outcome.requests) == (2, 3, slice_.requests)

        shop.sandbox.change(org, remove=1)
        full = bm.sync_orders(org, full=True)
        assert shop.run_slice(org, ask=False).end == "done"
        outcome = full.wait(1)
        assert (outcome.rows_created, outcome.rows_updated, outcome.rows_removed) == (0, 0, 1)
        assert outcome.rows_unchanged >= 121, "in each pass over the list"
        assert first.done() == SyncOutcome(rows_created=120, requests=3), "still its own run"

    def test_the_numbers_of_several_slices_are_added_up(self, shop: Shop, bm: BackMarket, org: str) -> None:
        shop.restart(task_budget_pages=4, fetch_threads=2)
        shop.sell(org, orders=600)
        handle = bm.sync_orders(org)
        slices = 0
        while shop.run_slice(org, ask=False).end == "handed_on":
            assert handle.done() is None
            slices += 1
        assert slices >= 2
        assert handle.wait(1) == SyncOutcome(rows_created=600, requests=12)

    def test_a_run_without_news_gives_zeros(self, shop: Shop, bm: BackMarket, org: str) -> None:
        shop.sell(org, orders=30)
        shop.sync(org)
        handle = bm.sync_orders(org)
        assert shop.run_slice(org, ask=False).end == "done"
        assert handle.wait(1) == SyncOutcome()

    def test_requests_that_one_run_answers_all_hear_of_it(self, shop: Shop, bm: BackMarket, org: str) -> None:
        shop.sell(org, orders=30)
        handles = [bm.sync_orders(org) for _ in range(3)]
        assert shop.run_slice(org, ask=False).end == "done"
        assert {handle.wait(1) for handle in handles} == {SyncOutcome(rows_created=30, requests=1)}

    def test_a_run_that_was_under_way_does_not_count(self, gated: Gated, gate: Gate, submit: Submit) -> None:
        before = gated.ask()
        slice_ = submit(gated.run_slice)
        gate.wait()
        handle = gated.ask()
        gate.open.set()
        assert slice_.result(PATIENCE_SECONDS).end == "done"
        assert before.wait(1).rows_created == 1
        assert handle.done() is None
        assert gated.run_slice().end == "done", "it is due at once"
        assert handle.wait(1) == SyncOutcome()

    def test_a_waiter_hears_of_the_end_while_it_waits(self, gated: Gated, gate: Gate, submit: Submit) -> None:
        handle = gated.ask()
        waiter = submit(handle.wait)
        slice_ = submit(gated.run_slice)
        gate.wait()
        assert not waiter.done()
        gate.open.set()
        assert waiter.result(PATIENCE_SECONDS) == SyncOutcome(rows_created=1, requests=1)
        assert slice_.result(PATIENCE_SECONDS).end == "done"

    def test_one_connection_to_postgresql_is_enough(self, settings: Settings, org: str) -> None:
        with BackMarket(settings.model_copy(update={"database_pool_size": 1})) as bm:
            bm.upsert_connection(org, KEY)
            handle = bm.sync_orders(org)
            assert handle.done() is None
            bm.remove_connection(org)
            with pytest.raises(ConnectionNotFound):
                handle.done()


class TestFailures:
    @pytest.mark.parametrize(
        ("reply", "error", "text"),
        [
            (Reply(401), Unauthorized, "does not accept the key"),
            (Reply(403, b"<html>Attention required | Cloudflare</html>"), FirewallBlocked, "firewall"),
            (Reply(400), RequestRefused, "refused the request"),
        ],
        ids=["401", "firewall", "400"],
    )
    def test_a_failing_run_raises_its_error(
        self, gated: Gated, gate: Gate, reply: Reply, error: type[BackMarketError], text: str
    ) -> None:
        gate.reply = Reply(reply.status, reply.body, {"cf-ray": "8f1-CDG"})
        gate.open.set()
        handle = gated.ask()
        assert gated.run_slice().end == "failed"
        for ask in (handle.done, handle.wait):
            with pytest.raises(error, match=text) as raised:
                ask()
            assert raised.value.cf_ray == "8f1-CDG"

    def test_a_failure_counts_only_if_it_happens_after_the_request(self, shop: Shop, bm: BackMarket, org: str) -> None:
        shop.sell(org, orders=600)
        shop.restart(fetch_threads=2)
        shop.sandbox.add_fault("waf_html", seller=org, page=5)
        assert shop.run_slice(org).end == "failed"
        handle = bm.sync_orders(org)
        assert handle.done() is None
        assert shop.run_slice(org, ask=False).end == "failed", "the older walk goes on, and fails again"
        with pytest.raises(FirewallBlocked):
            handle.wait(1)
        shop.sandbox.remove_faults()
        shop.execute("UPDATE backmarket.sync_state SET next_due_at = now()")
        assert shop.run_slice(org, ask=False).end == "done"
        assert handle.done() is None, "that was the older walk"
        assert shop.run_slice(org, ask=False).end == "done"
        assert handle.wait(1) == SyncOutcome()

    def test_a_worker_without_the_secret_key_is_told(self, gated: Gated) -> None:
        handle = gated.ask()
        gated.shop.restart(secret_keys=(SecretStr(KeyCipher.generate()),))
        assert gated.run_slice().end == "failed"
        with pytest.raises(SettingsError, match="BACKMARKET_SECRET_KEYS"):
            handle.wait(1)

    def test_a_new_key_lets_the_waiter_wait_on(self, gated: Gated, gate: Gate) -> None:
        gate.reply = Reply(401)
        gate.open.set()
        handle = gated.ask()
        assert gated.run_slice().end == "failed"
        gated.shop.connect(gated.organization, "another")
        assert handle.done() is None
        gate.reply = listed({"order_id": 7})
        assert gated.run_slice().end == "done"
        assert handle.wait(1).rows_created == 1

    def test_who_disables_the_connection_ends_the_waiting(self, gated: Gated, submit: Submit) -> None:
        waiter = submit(gated.ask().wait)
        gated.bm.disconnect(gated.organization)
        with pytest.raises(ConnectionDisabled, match="connections enable"):
            waiter.result(PATIENCE_SECONDS)

    def test_who_removes_the_connection_ends_the_waiting(self, gated: Gated, submit: Submit) -> None:
        handle = gated.ask()
        waiter = submit(handle.wait)
        gated.bm.remove_connection(gated.organization)
        with pytest.raises(ConnectionNotFound):
            waiter.result(PATIENCE_SECONDS)
        gated.shop.connect(gated.organization, KEY)
        with pytest.raises(ConnectionNotFound, match="Request it again"):
            handle.done()

    def test_there_is_no_other_resource(self, bm: BackMarket, org: str) -> None:
        bm.upsert_connection(org, KEY)
        with pytest.raises(InvalidArgument, match=r"no resource 'oders'\. Choose one of orders"):
            bm.sync(org, "oders")  # type: ignore[arg-type]


class TestTimeouts:
    def test_no_worker_has_claimed_it(self, gated: Gated) -> None:
        with pytest.raises(WaitTimeout, match=r"No worker .* 0.01 s. Is a worker with the queue 'orders' running"):
            gated.ask().wait(0.01)

    def test_it_is_running(self, gated: Gated, gate: Gate, submit: Submit) -> None:
        handle = gated.ask()
        slice_ = submit(gated.run_slice)
        gate.wait()
        with pytest.raises(WaitTimeout, match="is running, and has not ended within 0 s; it continues by itself"):
            handle.wait(0)
        gate.open.set()
        slice_.result(PATIENCE_SECONDS)

    def test_it_is_running_and_has_come_so_far(
        self, shop: Shop, bm: BackMarket, org: str, shared_url: str, submit: Submit
    ) -> None:
        shop.restart(task_budget_pages=4, fetch_threads=2)
        shop.sell(org, orders=600)
        handle = bm.sync_orders(org)
        assert shop.run_slice(org, ask=False).end == "handed_on"
        done = handle.status().rows_done
        assert (handle.status().state, handle.status().rows_expected) == ("never", 600)
        assert done is not None
        assert 200 <= done < 600
        with pytest.raises(WaitTimeout, match=f"waits for its next slice, {done} of 600 rows"):
            handle.wait(0)
        with open_connection(shared_url) as holder:
            holder.execute("LOCK TABLE backmarket.orders IN ACCESS EXCLUSIVE MODE")
            slice_ = submit(lambda: shop.run_slice(org, ask=False))
            running(bm, org)
            with pytest.raises(WaitTimeout, match=f"is running, {done} of 600 rows"):
                handle.wait(0)
        slice_.result(PATIENCE_SECONDS)

    def test_it_fails_again_and_again(self, gated: Gated, gate: Gate) -> None:
        gate.reply = Reply(400)
        gate.open.set()
        assert gated.run_slice().end == "failed"
        with pytest.raises(WaitTimeout, match=r"fails \(refused\): The API refused the request.* tried again after 20"):
            gated.ask().wait(0)


def running(bm: BackMarket, organization: str) -> None:
    """Return when a worker holds the lease."""
    until = datetime.now(UTC) + timedelta(seconds=PATIENCE_SECONDS)
    while bm.get_connection_status(organization).resources["orders"].state != "running":
        assert datetime.now(UTC) < until


class TestStates:
    def test_from_never_to_running_to_ok(self, gated: Gated, gate: Gate, submit: Submit) -> None:
        assert gated.state() == "never"
        slice_ = submit(gated.run_slice)
        gate.wait()
        (status,) = gated.bm.get_status()
        assert status.state == "running"
        assert status.running_since is not None
        assert status.owner
        gate.open.set()
        slice_.result(PATIENCE_SECONDS)
        (status,) = gated.bm.get_status()
        assert (status.state, status.running_since, status.owner) == ("ok", None, None)
        assert status.last_success_at is not None
        assert status.watermark is not None

    @pytest.mark.parametrize(
        ("reply", "state"),
        [
            (Reply(400), "failing"),
            (Reply(403, b'{"error": {"code": "forbidden"}}'), "failing"),  # orders are never left alone for a day
            (Reply(401), "failing"),  # unauthorized after the second one
        ],
        ids=["bad_request", "forbidden", "unauthorized"],
    )
    def test_what_the_api_refuses(self, gated: Gated, gate: Gate, reply: Reply, state: str) -> None:
        gate.reply = reply
        gate.open.set()
        assert gated.run_slice().end == "failed"
        (status,) = gated.bm.get_status()
        assert status.state == state
        assert (status.error_code, status.failures, status.last_success_at) != (None, 0, None)
        gated.shop.connect(gated.organization, "another")
        gate.reply = listed()
        assert gated.run_slice().end == "done"
        (status,) = gated.bm.get_status()
        assert (status.state, status.error_code, status.failures, status.failing_since) == ("ok", None, 0, None)

    def test_what_a_person_turned_off(self, gated: Gated) -> None:
        gated.bm.disconnect(gated.organization)
        assert gated.state() == "disabled"
        gated.bm.disconnect(gated.organization, clear_api_key=True)
        assert gated.state() == "no_key"

    def test_the_lag_is_the_time_since_the_last_success(self, gated: Gated, gate: Gate) -> None:
        assert gated.bm.get_status()[0].lag is None
        gate.open.set()
        gated.run_slice()
        gated.shop.execute("UPDATE backmarket.sync_state SET last_success_at = last_success_at - interval '1 hour'")
        lag = gated.bm.get_status()[0].lag
        assert lag is not None
        assert 3600 <= lag < 3600 + PATIENCE_SECONDS

    def test_nothing_shows_personal_data_or_secrets(self, shop: Shop, bm: BackMarket, org: str) -> None:
        shop.sell(org, orders=30)
        handle = bm.sync_orders(org)
        shop.run_slice(org, ask=False)
        people = [row["shipping_address"] for row in shop.sandbox.truth(org)]
        secrets = {person[name] for person in people for name in ("lastName", "street", "phoneNumber")} - {None, ""}
        secrets |= {f"token-of-{org}", shop.settings.need("database_url"), shop.settings.need("limiter_key")}
        shown = repr((handle, handle.done(), handle.status(), bm.get_status(), bm.get_connection_status(org)))
        assert len(secrets) > 30
        assert [secret for secret in secrets if str(secret) in shown] == []


class TestLists:
    def test_what_fails_is_told_apart(self, bm: BackMarket, settings: Settings) -> None:
        with open_connection(settings.need("database_url"), autocommit=True) as connection:
            for name in ("fails", "refused", "well", "fails, but is disabled"):
                bm.upsert_connection(name, KEY)
            connection.execute(
                "UPDATE backmarket.sync_state SET failing_since = now() WHERE organization_id LIKE 'fails%'"
            )
            connection.execute("UPDATE backmarket.connections SET refused_at = now() WHERE organization_id = 'refused'")
        bm.disconnect("fails, but is disabled")
        assert {each.organization_id for each in bm.get_status(failing=True)} == {"fails", "refused"}
        assert len({each.organization_id for each in bm.get_status()}) == 4

    def test_a_page_never_ends_within_an_organization(self, bm: BackMarket) -> None:
        for number in range(5):
            bm.upsert_connection(f"org {number}", KEY)
        seen: list[tuple[str, str]] = []
        after = ""
        while found := bm.get_status(after=after, limit=6):
            seen += [(each.organization_id, each.resource) for each in found]
            after = found[-1].organization_id
        assert len(seen) == len(set(seen)) == 20
        assert seen == sorted(seen)
