"""One organization with very many orders: what a process holds of them, and what a change in the middle costs."""

from __future__ import annotations

import pickle
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import timedelta
from time import sleep
from typing import Any

import pytest

from backmarket.resources import ORDERS
from backmarket.settings import Settings
from backmarket.sync import checkpoints, leases, removed_rows, seen_ids
from backmarket.sync.checkpoints import Progress
from backmarket.sync.leases import Lease
from backmarket.sync.page_walk import SeenCounts, Walk
from backmarket.sync.storing import Storing
from tests.support.lazy_orders import PAGE_SIZE, Killed, LazyOrders, answer_with
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop, take_lease

ORG = "auth0|1"
BUDGET_PAGES = 20
WINDOW = 2
SLICE_SECONDS = 0.05


@pytest.fixture
def shop(settings: Settings) -> Iterator[Shop]:
    with fresh_sandbox() as sandbox:
        shop = Shop(
            settings.model_copy(update={"task_budget_pages": BUDGET_PAGES, "fetch_threads": WINDOW}), sandbox.control
        )
        yield shop
        shop.services.close()


def open_shop(shop: Shop, total: int, **settings: Any) -> LazyOrders:
    shop.restart(**settings)
    shop.sell(ORG, orders=0)
    orders = LazyOrders(total)
    answer_with(shop.services, orders)
    return orders


def sync(shop: Shop, **asked: Any) -> None:
    """Slices until no walk is unfinished; where a worker is killed, its lease runs out."""
    ask = True
    while ask or shop.one("SELECT count(*) FROM backmarket.walks"):
        try:
            assert shop.run_slice(ORG, ask=ask, **asked).end in {"done", "handed_on"}
        except Killed:
            shop.execute("UPDATE backmarket.sync_state SET lease_until = now() - interval '1 s'")
        shop.make_due(ORG)
        ask = False


def slices(shop: Shop, *, at_most: int) -> bool:
    """Whether a full walk ends within so many slices."""
    shop.run_slice(ORG, full=True)
    for _ in range(at_most):
        if shop.one("SELECT count(*) FROM backmarket.walks") == 0:
            return True
        shop.make_due(ORG)
        shop.run_slice(ORG, ask=False)
    return False


class TestMemory:
    @pytest.mark.slow
    def test_a_process_holds_no_more_of_a_long_list_than_one_slice_brings(
        self, shop: Shop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        orders = open_shop(shop, 6000)
        orders.then = dict.fromkeys((30, 75), self.kill)
        loaded, found = [], []
        probe, find = leases.probe, removed_rows.find

        def watched_probe(*values: Any) -> Lease | None:
            lease = probe(*values)
            if lease is not None and lease.walk is not None:
                loaded.append(len(pickle.dumps(lease.walk)))
            return lease

        def watched_find(transaction: Any, resource: Any, organization: str, walk: Walk, **options: Any) -> Any:
            tracemalloc.start()
            try:
                missing = find(transaction, resource, organization, walk, **options)
                unsaved = len(walk.unsaved.ids | walk.unsaved.modified | walk.unsaved.newcomers)
                found.append((tracemalloc.get_traced_memory()[1], unsaved))
            finally:
                tracemalloc.stop()
            return missing

        monkeypatch.setattr(leases, "probe", watched_probe)
        monkeypatch.setattr(removed_rows, "find", watched_find)
        sync(shop)
        orders.removed = {10, 3000, 5990}
        orders.then = {orders.requests + number: self.kill for number in (30, 75)}
        sync(shop, full=True)
        assert len(loaded) >= 2 * 6000 // PAGE_SIZE // (BUDGET_PAGES + 3 * WINDOW)
        assert max(loaded) < 2000, "bytes of a walk, whatever it has seen"
        assert max(unsaved for _, unsaved in found) <= (BUDGET_PAGES + 3 * WINDOW) * PAGE_SIZE
        assert max(peak for peak, _ in found) < 400_000, "bytes to compare 6,000 rows, and those of one slice"
        gone = shop.execute("SELECT order_id FROM backmarket.orders WHERE removed_at IS NOT NULL ORDER BY 1")
        assert gone == [(10,), (3000,), (5990,)]
        assert shop.one("SELECT count(*) FROM backmarket.orders") == 6000

    @staticmethod
    def kill() -> None:
        raise Killed


def test_postgresql_counts_the_ids_of_all_passes_each_once(shop: Shop) -> None:
    shop.sell(ORG, orders=0)
    lease = take_lease(shop.services.database, ORG)
    assert lease is not None
    walk = Walk("full", None, lease.taken_at, 0, began_at=lease.taken_at)

    def see(ids: str, modified: str, newcomers: str) -> None:
        walk.unsaved.ids |= set(ids)
        walk.unsaved.modified |= set(modified)
        walk.unsaved.newcomers |= set(newcomers)

    def save(transaction: Any, since: tuple[int, int]) -> None:
        checkpoints.save(transaction, lease, walk, Progress(), since=since)

    with shop.services.database.transaction() as transaction:
        see("abc", "cd", "e")
        assert seen_ids.count(transaction, lease, walk) == SeenCounts(seen=3, old=4, shown=5, known=3)
        save(transaction, (1, 1))
        assert not walk.unsaved
        see("bf", "", "g")
        save(transaction, (1, 1))
        see("f", "e", "")
        assert seen_ids.count(transaction, lease, walk) == SeenCounts(seen=4, old=6, shown=7, known=4)
        save(transaction, (1, 2))
        walk.pass_ = 2
        see("ah", "i", "j")
        save(transaction, (2, 1))
        see("k", "", "")
        assert seen_ids.count(transaction, lease, walk) == SeenCounts(seen=3, old=4, shown=5, known=9)


class TestModification:
    @pytest.mark.parametrize("kind", ["first", "full", "incremental"])
    @pytest.mark.slow
    def test_one_order_modified_in_the_middle_costs_at_most_2_percent_more_requests(
        self, shop: Shop, kind: str
    ) -> None:
        pages = 100
        orders = open_shop(shop, pages * PAGE_SIZE, task_budget_pages=200)
        if kind != "first":
            assert shop.sync(ORG).end == "done"
        if kind == "incremental":
            shop.execute("UPDATE backmarket.sync_state SET watermark = '2025-01-01'")
        orders.requests = 0
        middle = orders.total // 4
        orders.then[pages // 4] = lambda: orders.modify(middle)
        assert shop.sync(ORG, full=kind == "full").end == "done"
        assert shop.one("SELECT count(*) FROM backmarket.orders WHERE removed_at IS NULL") == orders.total
        assert shop.one(
            "SELECT date_modification::date = now()::date FROM backmarket.orders WHERE order_id = %s", middle
        )
        assert pages <= orders.requests <= pages * 1.02

    def test_an_order_that_leaves_meanwhile_costs_a_whole_pass_and_none_is_lost(self, shop: Shop) -> None:
        orders = open_shop(shop, 2000, task_budget_pages=200, fetch_threads=1)
        orders.then[20] = lambda: orders.removed.add(1900)
        assert shop.sync(ORG).end == "done"
        assert shop.one("SELECT count(*) FROM backmarket.orders") == 2000
        assert orders.requests == 80

    def test_more_rows_missing_than_one_slice_can_ask_for_are_all_settled(self, shop: Shop) -> None:
        orders = open_shop(shop, 200)
        assert shop.sync(ORG).end == "done"
        orders.removed = set(range(1, 61))
        sync(shop, full=True, accept_missing=True)
        assert shop.one("SELECT count(*) FROM backmarket.orders WHERE removed_at IS NOT NULL") == 60


class TestSlowDatabase:
    """PostgreSQL takes longer to count and compare the ids of a long list than a slice has, or a lease lasts."""

    @pytest.fixture
    def answered(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
        """When it had answered what was asked of the ids."""
        moments: list[Any] = []

        def slow(ask: Callable[..., Any]) -> Callable[..., Any]:
            def asked(*arguments: Any, **options: Any) -> Any:
                answer = ask(*arguments, **options)
                sleep(2 * SLICE_SECONDS)
                moments.append(shop.one("SELECT clock_timestamp()"))
                return answer

            return asked

        monkeypatch.setattr(seen_ids, "count", slow(seen_ids.count))
        monkeypatch.setattr(removed_rows, "find", slow(removed_rows.find))
        return moments

    def test_each_slice_gets_on(self, shop: Shop, answered: list[Any]) -> None:
        orders = open_shop(shop, 2000)
        sync(shop)
        shop.restart(task_budget_seconds=SLICE_SECONDS)
        answer_with(shop.services, orders)
        orders.removed = {7, 700}
        assert slices(shop, at_most=100)
        assert shop.one("SELECT count(*) FROM backmarket.orders WHERE removed_at IS NOT NULL") == 2

    def test_while_a_row_is_requested_the_lease_counts_from_the_answer(
        self, shop: Shop, answered: list[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        orders = open_shop(shop, 2000)
        sync(shop)
        orders.removed = {7}
        settle, left = Storing.settle_missing, []

        def settled(*arguments: Any) -> None:
            left.append(shop.one("SELECT lease_until FROM backmarket.sync_state") - answered[-1])
            settle(*arguments)

        monkeypatch.setattr(Storing, "settle_missing", settled)
        sync(shop, full=True)
        assert len(left) == 1
        assert left[0] >= timedelta(seconds=shop.settings.lease_seconds)

    def test_when_a_slice_goes_on_the_lease_counts_from_the_answer(self, shop: Shop, answered: list[Any]) -> None:
        shop.sell(ORG, orders=0)
        lease = take_lease(shop.services.database, ORG)
        assert lease is not None
        walk = Walk("full", None, lease.taken_at, 0, began_at=lease.taken_at, page_size=50, expected=0, saves=1)
        Storing(shop.services, ORDERS, lease, walk, lambda: 0).resume()
        assert walk.complete
        left = shop.one("SELECT lease_until FROM backmarket.sync_state") - answered[-1]
        assert left >= timedelta(seconds=shop.settings.lease_seconds)


def test_rows_that_are_gone_are_found_out_though_a_slice_has_no_time_for_all_of_them(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = open_shop(shop, 200, task_budget_pages=200)
    sync(shop)
    shop.restart(task_budget_pages=200, task_budget_seconds=5 * SLICE_SECONDS)
    answer_with(shop.services, orders)
    orders.removed = set(range(1, 16))
    get = orders.get

    def slow(credentials: Any, path: str, parameters: Any = ()) -> Any:
        if not parameters:  # a row, by its id
            sleep(SLICE_SECONDS)
        return get(credentials, path, parameters)

    monkeypatch.setattr(orders, "get", slow)
    assert slices(shop, at_most=60)
    assert shop.one("SELECT count(*) FROM backmarket.orders WHERE removed_at IS NOT NULL") == 15
