"""What must not last, hide or spin: refusals, missing rows, rows that cannot be stored, a failover in mid-walk."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from backmarket import connections
from backmarket.database import DatabaseError
from backmarket.errors import BackMarketError
from backmarket.status.deployment_metrics import _of_database
from backmarket.status.sync_status import get_all_sync_status, get_sync_status
from backmarket.sync import removed_rows, schedule
from backmarket.sync.storing import Storing
from backmarket.upkeep import erasure
from tests.support.sellers import Shop
from tests.support.waiting import PATIENCE_SECONDS, wait_until

ORG = "auth0|1"


def requests(shop: Shop) -> int:
    """Requests for orders since this was last asked."""
    seen = shop.sandbox.stats()
    shop.sandbox.reset()
    return seen.count("orders.list") + seen.count("orders.get")


def state(shop: Shop, column: str) -> Any:
    return shop.one(f"SELECT {column} FROM backmarket.sync_state WHERE organization_id = %s", ORG)


def order(shop: Shop, key: int) -> tuple[Any, ...]:
    return shop.execute("SELECT state, removed_at FROM backmarket.orders WHERE order_id = %s", key)[0]


def failing(shop: Shop) -> list[tuple[str, str | None]]:
    """What `status --failing` shows."""
    return [(each.state, each.error_code) for each in get_all_sync_status(shop.services.database, failing=True)]


def test_a_blocked_account_ends_the_look_for_missing_rows_with_the_limiters_pause(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.sell(ORG, orders=120)
    assert shop.sync(ORG).end == "done"
    shop.sandbox.change(ORG, hide=3)
    limiter, account = shop.services.limiter, shop.one("SELECT account FROM backmarket.connections")
    calls = {"acquire": 0, "find": 0}
    acquire, find = limiter.acquire, removed_rows.find

    def counted_acquire(*values: Any, **options: Any) -> Any:
        calls["acquire"] += 1
        return acquire(*values, **options)

    def block_then_find(*values: Any, **options: Any) -> Any:
        calls["find"] += 1
        if calls["find"] == 1:
            limiter.block(account, 600)
        return find(*values, **options)

    monkeypatch.setattr(limiter, "acquire", counted_acquire)
    monkeypatch.setattr(removed_rows, "find", block_then_find)
    assert shop.run_slice(ORG, full=True).end == "handed_on"
    assert calls["acquire"] < 10
    assert calls["find"] < 4
    assert state(shop, "extract(epoch FROM next_due_at - now())") > 300


class TestSilence:
    """Requests that the API never answers, where one takes longer than a slice may."""

    def test_a_slice_that_waits_keeps_its_lease(self, shop: Shop) -> None:
        """Else another worker takes over each slice of a page that is never answered, and none counts a failure."""
        shop.restart(lease_seconds=4.0, request_deadline=3.0)
        shop.sell(ORG, orders=120)
        fault = shop.sandbox.add_fault("timeout", operation="orders.list", page=2)
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(shop.run_slice, ORG)
            wait_until(lambda: shop.sandbox.stats().faults[0].struck, "the page is not answered")
            lease = state(shop, "lease_until")
            wait_until(lambda: state(shop, "lease_until") != lease, "the lease is renewed, or the slice has ended")
            assert state(shop, "lease_until")
            assert not running.done()
            shop.sandbox.remove_faults(fault)
            assert running.result(PATIENCE_SECONDS).end != "lease_lost"

    @pytest.mark.parametrize("page", [None, 2], ids=["list", "page"])
    def test_a_list_that_is_never_answered_fails_its_sync(self, shop: Shop, page: int | None) -> None:
        shop.restart(request_deadline=0.5, task_budget_seconds=0.1)
        shop.sell(ORG, orders=120)
        fault = shop.sandbox.add_fault("timeout", operation="orders.list", page=page)
        ends: list[str] = []
        while ends[-1:] != ["failed"]:
            ends.append(shop.run_slice(ORG).end)
            assert len(ends) < 7
        assert failing(shop) == [("failing", "network")]
        assert state(shop, "next_due_at > now() + interval '5 s'")
        shop.sandbox.remove_faults(fault)
        while shop.run_slice(ORG).end != "done":
            pass
        assert failing(shop) == []
        shop.assert_equals_truth(ORG)

    def lose(self, shop: Shop, count: int) -> None:
        """Let stored orders vanish, whose ids are never answered."""
        listed = "SELECT order_id FROM backmarket.orders WHERE state NOT IN (0, 8) ORDER BY order_id LIMIT %s"
        for (order,) in shop.execute(listed, count):
            shop.sandbox.change(ORG, remove=1, ids=[order])
            shop.sandbox.add_fault("timeout", path=f"/ws/orders/{order}")

    def test_missing_rows_that_are_never_answered_are_counted_also_if_another_slice_ends_the_walk(
        self, shop: Shop
    ) -> None:
        shop.restart(request_deadline=0.5, lease_seconds=0.6, task_budget_seconds=0.3)
        shop.sell(ORG, orders=200)
        shop.sync(ORG)
        self.lose(shop, 2)
        ends = [shop.run_slice(ORG, full=True).end]
        while state(shop, "full_requested"):
            shop.make_due(ORG)
            ends.append(shop.run_slice(ORG, ask=False).end)
            assert ends[-1] in {"done", "handed_on"}
            assert len(ends) < 30
        assert unread(shop) == 2

    def test_a_missing_row_that_is_never_answered_is_left_before_the_lease_runs_out(self, shop: Shop) -> None:
        shop.restart(request_deadline=5.0, lease_seconds=8.0)
        shop.sell(ORG, orders=200)
        shop.sync(ORG)
        self.lose(shop, 1)
        requests(shop)
        assert shop.sync(ORG, full=True).end == "done"
        assert requests(shop) == 4 + 1, "the pages, and the row once"
        assert unread(shop) == 1


class TestForbidden:
    def test_a_403_for_orders_that_worked_is_failing_at_once_and_retried_within_minutes(self, shop: Shop) -> None:
        shop.sell(ORG, orders=120)
        assert shop.sync(ORG).end == "done"
        fault = shop.sandbox.add_fault("forbidden", operation="orders.list")
        assert shop.run_slice(ORG).end == "failed"
        assert 40 < state(shop, "extract(epoch FROM next_due_at - now())") < 80
        assert state(shop, "availability") == "available", "so the lag figures count it"
        assert connections.get(shop.services.database, ORG).health == "failing"
        assert failing(shop) == [("failing", "forbidden")]
        shop.run_slice(ORG)
        assert 85 < state(shop, "extract(epoch FROM next_due_at - now())") < 155
        shop.execute("UPDATE backmarket.sync_state SET failing_since = now() - interval '8 days'")
        shop.run_slice(ORG)
        assert state(shop, "extract(epoch FROM next_due_at - now()) / 3600") > 23
        shop.sandbox.remove_faults(fault)
        assert shop.sync(ORG).end == "done"
        assert failing(shop) == []
        assert connections.get(shop.services.database, ORG).health == "ok"

    def test_orders_that_never_worked_are_failing_too(self, shop: Shop) -> None:
        shop.sell(ORG, orders=10)
        shop.sandbox.add_fault("forbidden", operation="orders.list")
        shop.run_slice(ORG)
        assert failing(shop) == [("failing", "forbidden")]

    def test_a_resource_that_never_worked_is_not_available(self, shop: Shop) -> None:
        shop.resources = ("deliveries",)
        shop.sell(ORG, orders=10)
        shop.sandbox.add_fault("forbidden")
        assert shop.run_slice(ORG, "deliveries").end == "failed"
        assert state(shop, "availability") == "not_available"
        assert state(shop, "extract(epoch FROM next_due_at - now()) / 3600") > 23
        assert connections.get(shop.services.database, ORG).health == "ok"


def unread(shop: Shop) -> int:
    """Missing rows that could not be read, by the status, which names them, and by the metrics."""
    status = get_sync_status(shop.services.database, ORG)["orders"]
    named = [("incomplete", "rows_missing")] if status.rows_missing else []
    assert failing(shop) == named
    counted = [each.value for each in _of_database(shop.services.database) if each.name == "sync_missing_rows"]
    assert sum(counted) == status.rows_missing
    return status.rows_missing


class TestMissingRows:
    def gone(self, shop: Shop) -> list[int]:
        """Orders that the list does not show any more."""
        shop.sell(ORG, orders=400)
        assert shop.sync(ORG).end == "done"
        return [int(key) for key in shop.sandbox.change(ORG, remove=14).removed]

    @pytest.mark.parametrize(
        ("fault", "count"),
        [({"kind": "status", "status": 409}, 10), ({"kind": "status", "status": 500}, 1), ({"kind": "waf_html"}, 2)],
        ids=["409", "500", "firewall"],
    )
    @pytest.mark.slow
    def test_those_that_fail_for_ever_starve_neither_others_nor_the_walk(
        self, shop: Shop, fault: dict[str, Any], count: int
    ) -> None:
        shop.restart(task_budget_pages=40)  # a slice then looks for ten rows at once
        gone = sorted(self.gone(shop))
        failing, good = gone[:count], gone[count:]
        for key in failing:
            shop.sandbox.add_fault(**fault, path=f"/ws/orders/{key}")
        assert shop.sync(ORG, full=True).end == "done"
        assert all(order(shop, key)[1] is not None for key in good)
        assert all(order(shop, key)[1] is None for key in failing), "until the next full walk"
        assert unread(shop) == count
        shop.sandbox.remove_faults()
        assert shop.sync(ORG, full=True).end == "done"
        assert unread(shop) == 0
        assert all(order(shop, key)[1] is not None for key in failing)

    def test_where_more_fail_the_run_fails(self, shop: Shop) -> None:
        for key in self.gone(shop):
            shop.sandbox.add_fault("status", status=409, path=f"/ws/orders/{key}")
        assert shop.sync(ORG, full=True).end == "failed"


class TestIncomplete:
    def test_only_a_full_walk_clears_missing_rows(self, shop: Shop) -> None:
        shop.sell(ORG, orders=300)
        assert shop.sync(ORG).end == "done"
        shop.sandbox.change(ORG, remove=60)
        assert shop.sync(ORG, full=True).end == "done"
        for _ in range(2):
            assert shop.sync(ORG).end == "done"
            status = get_sync_status(shop.services.database, ORG)["orders"]
            assert (status.state, status.error_code, status.rows_missing) == ("incomplete", "rows_missing", 60)
            assert failing(shop) == [("incomplete", "rows_missing")]
        assert shop.sync(ORG, full=True, accept_missing=True).end == "done"
        assert failing(shop) == []

    def test_a_walk_with_rejected_rows_is_not_ok(self, shop: Shop) -> None:
        fault = shop.sandbox.add_fault("id_missing", page=2)
        shop.sell(ORG, orders=120)
        assert shop.sync(ORG).end == "done"
        for _ in range(2):
            status = get_sync_status(shop.services.database, ORG)["orders"]
            assert (status.state, status.error_code, status.rows_rejected) == ("incomplete", "rows_rejected", 1)
            assert status.error is not None
            assert status.error.startswith("1 row could not be stored")
            assert shop.sync(ORG).end == "done"
        shop.sandbox.remove_faults(fault)
        assert shop.sync(ORG, full=True).end == "done"
        assert get_sync_status(shop.services.database, ORG)["orders"].state == "ok"


class TestMidWalk:
    @pytest.mark.parametrize("status", [400, 408, 409])
    def test_a_refused_page_is_asked_for_again_first(self, shop: Shop, status: int) -> None:
        shop.sell(ORG, orders=1000)
        shop.sandbox.add_fault("status", status=status, operation="orders.list", page=12, count=1)
        assert shop.sync(ORG).end == "done"
        assert requests(shop) == 21

    def test_a_404_within_the_counted_pages_is_asked_for_again_before_the_list_is_over(self, shop: Shop) -> None:
        shop.sell(ORG, orders=1000)
        shop.sandbox.add_fault("early_404", operation="orders.list", page=12, count=1)
        assert shop.sync(ORG).end == "done"
        assert requests(shop) == 21
        shop.assert_equals_truth(ORG)

    def test_a_page_that_stays_refused_keeps_the_checkpoint_for_three_runs(self, shop: Shop) -> None:
        shop.sell(ORG, orders=1000)
        shop.restart(fetch_threads=2)
        fault = shop.sandbox.add_fault("status", status=400, operation="orders.list", page=18)
        asked = []
        for _ in range(3):
            requests(shop)
            assert shop.run_slice(ORG).end == "failed"
            asked.append(requests(shop))
        assert max(asked[1:]) <= 4, "the pages before it are not asked for again"
        assert shop.one("SELECT count(*) FROM backmarket.walks") == 0, "after three runs the walk starts over"
        shop.sandbox.remove_faults(fault)
        assert shop.sync(ORG).end == "done"
        shop.assert_equals_truth(ORG)


class TestNotFoundById:
    def test_one_404_by_id_removes_no_unpaid_order(self, shop: Shop) -> None:
        shop.sell(ORG, orders=200)
        shop.sync(ORG)
        hidden = shop.sandbox.change(ORG, hide=1).hidden[0]
        shop.sandbox.add_fault("early_404", operation="orders.get", count=1)
        assert shop.sync(ORG, full=True).end == "done"
        assert shop.execute("SELECT state, removed_at FROM backmarket.orders WHERE order_id = %s", hidden) == [
            (8, None)
        ]

    def test_an_unpaid_order_that_was_removed_wrongly_is_back_after_the_next_full_walk(self, shop: Shop) -> None:
        shop.sell(ORG, orders=200)
        shop.sync(ORG)
        hidden = shop.sandbox.change(ORG, hide=1).hidden[0]
        fault = shop.sandbox.add_fault("early_404", operation="orders.get")
        assert shop.sync(ORG, full=True).end == "done"
        assert shop.one("SELECT removed_at IS NOT NULL FROM backmarket.orders WHERE order_id = %s", hidden)
        shop.sandbox.remove_faults(fault)
        assert shop.sync(ORG, full=True).end == "done"
        assert shop.execute("SELECT state, removed_at FROM backmarket.orders WHERE order_id = %s", hidden) == [
            (8, None)
        ]
        shop.assert_equals_truth(ORG)

    def test_a_removed_order_is_confirmed_once(self, shop: Shop) -> None:
        shop.sell(ORG, orders=200)
        shop.sync(ORG)
        shop.sandbox.change(ORG, remove=1)
        asked = []
        for _ in range(3):
            requests(shop)
            assert shop.sync(ORG, full=True).end == "done"
            asked.append(requests(shop))
        assert asked == [6, 5, 4]


class TestTruthOverTime:
    DAMAGE = (
        "date_modification = date_modification + interval '1 year', content = 1, raw = '{\"order_id\": 1}'",
        "date_modification = date_modification - interval '1 year', content = 2, raw = '{\"order_id\": 2}'",
        "date_modification = date_modification + interval '1 year'",
        "date_modification = NULL, content = 3",
        "state = 8",
        "state = 9, content = 4, raw = jsonb_set(raw, '{state}', '9')",
        "removed_at = now()",
        "content = content + 1",
    )

    def test_one_full_walk_heals_every_kind_of_damage(self, shop: Shop) -> None:
        shop.sell(ORG, orders=200)
        shop.sync(ORG)
        hidden = shop.sandbox.change(ORG, hide=1).hidden[0]
        shop.sync(ORG, full=True)
        keys = [key for (key,) in shop.execute("SELECT order_id FROM backmarket.orders WHERE state <> 8")]
        for number, damage in enumerate(self.DAMAGE):
            shop.execute(f"UPDATE backmarket.orders SET {damage} WHERE order_id = %s", keys[number])
        shop.execute(
            "UPDATE backmarket.orders SET removed_at = now(), last_synced_at = now() WHERE order_id = %s", hidden
        )
        shop.execute("DELETE FROM backmarket.orders WHERE order_id = %s", keys[20])
        shop.execute("DELETE FROM backmarket.orderlines WHERE order_id = %s", keys[20])
        shop.execute(
            "INSERT INTO backmarket.orders (organization_id, order_id, state, raw, content, first_seen_at)"
            " VALUES (%s, 1, 1, '{}', 0, now() - interval '1 day')",
            ORG,
        )
        assert shop.sync(ORG, full=True).end == "done"
        shop.assert_equals_truth(ORG)
        truth = {row["order_id"]: row["state"] for row in shop.sandbox.truth(ORG)}
        stored = shop.execute("SELECT order_id, state FROM backmarket.orders WHERE removed_at IS NULL")
        assert dict(stored) == truth

    def test_a_modification_date_that_goes_back_is_taken(self, shop: Shop) -> None:
        shop.sell(ORG, orders=60)
        shop.sync(ORG)
        key = shop.one("SELECT min(order_id) FROM backmarket.orders")
        for time in ("02:50", "02:10"):
            fields = {"date_modification": f"2026-10-25T{time}:00+01:00", "tracking_number": time}
            shop.sandbox.change(ORG, modify=1, ids=[key], fields=fields, silent=True)
            assert shop.sync(ORG, full=True).end == "done"
        shop.assert_equals_truth(ORG)


def test_a_failover_that_loses_a_batch_ends_the_slice_and_loses_no_row(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An asynchronous replica takes over without the first batch's commit, but with the claim of the lease."""
    shop.restart(fetch_threads=4)  # or a slow machine stores all pages at once
    shop.sell(ORG, orders=1200)
    shop.sync(ORG)
    shop.sandbox.change(ORG, modify=1100)
    store, lost = Storing.store, False

    def lose_the_first_commit(storing: Storing) -> bool:
        nonlocal lost
        ended = store(storing)
        if not lost and shop.one("SELECT count(*) FROM backmarket.walks"):
            lost = True
            shop.execute(
                "UPDATE backmarket.orders SET content = 0, raw = '{}', state = 0, date_modification = NULL"
                " WHERE order_id IN (SELECT external_id::bigint FROM backmarket.changes WHERE kind = 'updated')"
            )
            shop.execute("DELETE FROM backmarket.changes WHERE kind = 'updated'")
            shop.execute("DELETE FROM backmarket.walks")
        return ended

    monkeypatch.setattr(Storing, "store", lose_the_first_commit)
    assert shop.run_slice(ORG).end == "lease_lost"
    monkeypatch.undo()
    shop.execute("UPDATE backmarket.sync_state SET lease_until = now() - interval '1 s'")
    shop.make_due(ORG)
    assert shop.sync(ORG).end == "done"
    shop.assert_equals_truth(ORG)


def test_rows_whose_transaction_failed_are_fetched_again(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL refuses a batch for whatever reason: the note of the failed run must not say that it is stored."""
    shop.sell(ORG, orders=60)

    def refuse(*_: object, **__: object) -> None:
        raise DatabaseError("PostgreSQL refused a statement: InternalError XX000")

    monkeypatch.setattr("backmarket.sync.storing.write", refuse)
    assert shop.run_slice(ORG).end == "failed"
    monkeypatch.undo()
    shop.make_due(ORG)
    assert shop.sync(ORG).end == "done"
    shop.assert_equals_truth(ORG)


@pytest.mark.slow
def test_a_schedule_for_everybody_and_erasure_lock_in_one_order(shop: Shop) -> None:
    shop.sell(ORG, orders=10)
    others = [f"o{number:03}" for number in range(200)]
    shop.execute(
        "INSERT INTO backmarket.connections (organization_id, api_key, account, environment, region, locale, base_url)"
        " SELECT o, c.api_key, c.account, c.environment, c.region, c.locale, c.base_url"
        " FROM backmarket.connections c, unnest(%s::text[]) o",
        others,
    )
    shop.execute(
        "INSERT INTO backmarket.sync_state (organization_id, resource)"
        " SELECT o, 'orders' FROM unnest(%s::text[]) o ORDER BY md5(o)",
        others,
    )
    database, errors = shop.services.database, list[BackMarketError]()

    def lock_often() -> None:
        for _ in range(100):
            try:
                with database.transaction() as transaction:
                    transaction.execute(erasure._LOCK, (others,))
            except BackMarketError as error:
                errors.append(error)

    thread = threading.Thread(target=lock_often)
    thread.start()
    for number in range(100):
        try:
            schedule.update_schedule(database, "orders", interval=300 + number)
        except BackMarketError as error:
            errors.append(error)
    thread.join()
    assert errors == []
