"""The main job: every order and line of a seller stored, at the least cost, whatever happens meanwhile."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, tzinfo
from time import monotonic, sleep, time
from typing import Any

import pytest
from pydantic import SecretStr

from backmarket import connections
from backmarket.database.encryption import KeyCipher
from backmarket.errors import LeaseLost, ServerError, Unauthorized
from backmarket.organizations import lifecycle
from backmarket.resources import ORDERS, Page, Resource, parse_object, parse_page
from backmarket.resources.signed_links import without_signatures
from backmarket.sync import leases
from backmarket.sync.page_fetcher import MIN_DENIED_SECONDS, Fetched, Fetcher
from backmarket.sync.requests import claim_due, request_sync
from backmarket.sync.upsert import store
from tests.support.sellers import Shop, counted_writes, take_lease
from tests.support.waiting import PATIENCE_SECONDS, Moment, wait_until

ORG = "auth0|1"


def requests(shop: Shop) -> int:
    """Requests for orders since this was last asked."""
    seen = shop.sandbox.stats()
    shop.sandbox.reset()
    return seen.count("orders.list") + seen.count("orders.get")


def state(shop: Shop, column: str, organization: str = ORG) -> Any:
    return shop.one(f"SELECT {column} FROM backmarket.sync_state WHERE organization_id = %s", organization)


def test_events_of_the_first_walk_are_initial_and_no_later_ones(shop: Shop) -> None:
    shop.sell(ORG, orders=120)
    shop.sync(ORG)
    initial = "SELECT kind, initial, count(*) FROM backmarket.changes GROUP BY 1, 2 ORDER BY 1, 2"
    assert shop.execute(initial) == [("created", True, 120)]
    shop.sandbox.change(ORG, modify=2, add=3)
    shop.sync(ORG)
    shop.execute("UPDATE backmarket.sync_state SET watermark = NULL, full_requested = true")  # as a new key does
    shop.sandbox.change(ORG, modify=1)
    shop.sync(ORG)
    found = shop.execute(initial)
    assert found[:2] == [("created", False, 3), ("created", True, 120)]
    assert [(kind, first) for kind, first, _ in found[2:]] == [("updated", False)]


class TestCost:
    def test_the_pages_of_a_short_walk_are_stored_together_the_first_one_with_them(self, shop: Shop) -> None:
        shop.sell(ORG, orders=300)
        assert shop.sync(ORG).end == "done"
        assert requests(shop) == 6
        assert shop.one("SELECT count(DISTINCT transaction_id) FROM backmarket.changes") == 1

    @pytest.mark.slow
    def test_five_thousand_orders_cost_a_hundred_requests_and_then_next_to_nothing(self, shop: Shop) -> None:
        shop.sell(ORG, orders=5000)
        assert shop.sync(ORG).end == "done"
        assert requests(shop) == 100
        assert shop.one("SELECT count(*) FROM backmarket.orders") == 5000
        shop.assert_equals_truth(ORG)

        shop.execute("UPDATE backmarket.sync_state SET next_due_at = now()")
        with counted_writes(shop) as writes:
            assert [nudge.organization_id for nudge in claim_due(shop.services.database, "orders")] == [ORG]
            assert shop.run_slice(ORG, ask=False).end == "done"
            assert requests(shop) == 1
            written = writes()
        assert written.pop("sync_state") == 2, "the dispatcher's nudge, and the end of the slice"
        assert written == {}

        changed = shop.sandbox.change(ORG, modify=20).modified
        with counted_writes(shop) as writes:
            assert shop.run_slice(ORG).end == "done"
            assert requests(shop) == 1
            assert writes()["orders"] == 20
        shop.assert_equals_truth(ORG)
        events = shop.execute("SELECT external_id, kind FROM backmarket.changes WHERE kind <> 'created'")
        assert sorted(events) == sorted((str(key), "updated") for key in changed)

    def test_a_full_walk_over_unchanged_orders_writes_none_of_them(self, shop: Shop) -> None:
        shop.sell(ORG, orders=700)
        shop.sync(ORG)
        with counted_writes(shop) as writes:
            assert shop.sync(ORG, full=True).end == "done"
            written = writes()
        assert {"orders", "orderlines", "changes", "sync_runs"} & set(written) == set()

    def test_an_empty_shop_costs_one_request(self, shop: Shop) -> None:
        shop.sell(ORG, orders=0)
        assert shop.sync(ORG) == type(shop.run_slice(ORG, ask=False))("done", 1)
        assert state(shop, "watermark") is not None


class TestSession:
    """What a server, a database or a role sets for its sessions changes nothing."""

    @pytest.mark.parametrize(
        "setting",
        [
            "timezone = 'Europe/Paris'",
            "timezone = 'America/New_York'",
            "datestyle = 'German, DMY'",
            "intervalstyle = 'iso_8601'",
            "bytea_output = 'escape'",
        ],
    )
    def test_an_incremental_sync_finds_every_change_whatever_the_database_sets(self, shop: Shop, setting: str) -> None:
        shop.execute(f"ALTER DATABASE {shop.one('SELECT current_database()')} SET {setting}")
        shop.restart()
        shop.services.limiter.skip_recovery()
        shop.sell(ORG, orders=120)
        assert shop.sync(ORG).end == "done"
        changed = shop.sandbox.change(ORG, modify=20).modified
        assert shop.sync(ORG).end == "done"
        updated = {key for (key,) in shop.execute("SELECT external_id FROM backmarket.changes WHERE kind = 'updated'")}
        assert updated == {str(key) for key in changed}
        shop.assert_equals_truth(ORG)

    def test_a_transaction_has_the_session_that_our_statements_rely_on(self, shop: Shop) -> None:
        database = shop.one("SELECT current_database()")
        for setting in ("timezone = 'Asia/Kathmandu'", "datestyle = 'SQL, DMY'", "intervalstyle = 'sql_standard'"):
            shop.execute(f"ALTER DATABASE {database} SET {setting}")
        shop.execute(f"ALTER DATABASE {database} SET bytea_output = 'escape'")
        shop.execute(f"ALTER DATABASE {database} SET default_transaction_isolation = 'serializable'")
        shop.restart()
        pinned = {
            "timezone": "UTC",
            "datestyle": "ISO, MDY",
            "intervalstyle": "postgres",
            "bytea_output": "hex",
            "transaction_isolation": "read committed",
        }
        assert {name: shop.one("SELECT current_setting(%s)", name) for name in pinned} == pinned


class TestSignedLinks:
    """Each answer signs the links of delivery notes again (the sandbox's default, as in production)."""

    def test_a_full_walk_over_orders_whose_notes_are_signed_again_writes_no_row_and_no_event(self, shop: Shop) -> None:
        shop.sell(ORG, orders=700)
        shop.sync(ORG)
        notes = "SELECT count(*) FROM backmarket.orders WHERE delivery_note LIKE '%&Signature=%'"
        assert shop.one(notes) > 100
        with counted_writes(shop) as writes:
            assert shop.sync(ORG, full=True).end == "done"
            assert {"orders", "orderlines", "changes"} & set(writes()) == set()

    def test_the_event_of_a_changed_order_does_not_name_its_note(self, shop: Shop) -> None:
        shop.sell(ORG, orders=60)
        shop.sync(ORG)
        shop.sandbox.change(ORG, modify=60)
        shop.sync(ORG)
        changed = shop.one("SELECT count(*) FROM backmarket.changes WHERE kind = 'updated'")
        assert changed == 60
        signed = "SELECT count(*) FROM backmarket.orders WHERE delivery_note LIKE '%&Signature=%'"
        named = shop.one("SELECT count(*) FROM backmarket.changes WHERE 'delivery_note' = ANY(fields)")
        assert named < shop.one(signed), "only notes that changed their path are named"

    def test_python_and_postgresql_leave_the_same_out(self, shop: Shop) -> None:
        texts = [
            "https://a.example/1.pdf?AWSAccessKeyId=K&Signature=s%3D&Expires=1",
            "https://a.example/1.pdf?v=2&AWSAccessKeyId=K&Signature=s&Expires=1&w=3",
            "https://a.example/1.pdf?X-Amz-Date=20261128T120000Z&X-Amz-Expires=9&X-Amz-Signature=a&v=1",
            '{"a": "https://a.example/?Expires=1", "b": "https://a.example/?Expires=2&Signature=s&AWSAccessKeyId=K"}',
            "https://a.example/?Expires=1 https://a.example/?Policy=x",
            "signature=none, what?",
        ]
        for text in texts:
            theirs = shop.one("SELECT backmarket.without_signatures(%s)", text)
            assert theirs == without_signatures(text.encode()).decode(), text


class TestTruth:
    @pytest.mark.parametrize(
        "order",
        [
            "modification_desc",
            *(
                pytest.param(each, marks=pytest.mark.slow)
                for each in ("creation_desc", "creation_asc", "modification_asc")
            ),
        ],
    )
    def test_no_row_is_lost_to_changes_while_a_walk_runs(self, shop: Shop, order: str) -> None:
        shop.sandbox.settings(assumptions={"list_order": order})
        shop.sell(ORG, orders=1000)
        for after in (2, 5, 9, 14, 18):
            shop.sandbox.change(ORG, after=after, hide=2, modify=5, add=3, where="anywhere")
        shop.restart(fetch_threads=2)
        assert shop.sync(ORG).end == "done"
        assert self.lost(shop) == set(), "the first walk alone lost none"
        assert shop.sync(ORG).end == "done"
        assert shop.sync(ORG, full=True).end == "done", "finds those that became unpaid after they were seen"
        shop.assert_equals_truth(ORG)

    @staticmethod
    def lost(shop: Shop) -> set[int]:
        """Orders older than the walk that the list shows and the table has not."""
        began = shop.one("SELECT min(started_at) FROM backmarket.sync_runs").isoformat()
        listed = {
            row["order_id"]
            for row in shop.sandbox.truth(ORG)
            if row["state"] not in {0, 8} and row["date_creation"] < began
        }
        return listed - {key for (key,) in shop.execute("SELECT order_id FROM backmarket.orders")}

    @pytest.mark.parametrize(
        "assumption",
        [
            {"date_filter": "exclusive"},
            {"past_the_end": "empty"},
            {"past_the_end": "400"},
            {"page_size_above_maximum": "clamped"},
            {"count": "low"},
            {"next_url": "other_host"},
            {"next_url": "relative"},
            {"unpaid_orders": "stay"},
            {"date_header": "fast"},
            {"date_header": "slow"},
            {"date_header": "missing"},
            {"cookies": "set"},
            {"cookies": "bound"},
            {"cf_ray": "firewall"},
            {"address_email": "absent"},
        ],
        ids=lambda assumption: "-".join(*assumption.items()),
    )
    def test_the_other_answer_of_each_belief_loses_nothing(self, shop: Shop, assumption: dict[str, str]) -> None:
        shop.sandbox.settings(assumptions=assumption)
        shop.sell(ORG, orders=220)
        assert shop.sync(ORG).end == "done"
        shop.sandbox.change(ORG, modify=7, add=3)
        assert shop.sync(ORG).end == "done"
        shop.assert_equals_truth(ORG)

    def test_a_count_that_is_too_low_across_a_page_border_loses_nothing(self, shop: Shop) -> None:
        shop.sandbox.settings(assumptions={"count": "low"})
        shop.sell(ORG, orders=202)  # counted as 199: four pages instead of five
        assert shop.sync(ORG).end == "done"
        shop.assert_equals_truth(ORG)

    def test_a_count_that_is_too_high_stores_every_row_and_says_that_the_walk_is_incomplete(self, shop: Shop) -> None:
        shop.sandbox.settings(assumptions={"count": "high"})
        shop.sell(ORG, orders=220)
        assert shop.sync(ORG).end == "failed"
        assert state(shop, "error_code") == "incomplete_walk"
        assert state(shop, "watermark") is None
        shop.assert_equals_truth(ORG)

    def test_an_order_that_is_not_paid_leaves_the_list_and_is_asked_by_id(self, shop: Shop) -> None:
        shop.sell(ORG, orders=300)
        shop.sync(ORG)
        hidden = shop.sandbox.change(ORG, hide=3).hidden
        removed = shop.sandbox.change(ORG, remove=2).removed
        assert shop.sync(ORG, full=True).end == "done"
        stored = dict(shop.execute("SELECT order_id, state FROM backmarket.orders WHERE state = 8"))
        assert set(stored) == set(hidden)
        gone = [key for (key,) in shop.execute("SELECT order_id FROM backmarket.orders WHERE removed_at IS NOT NULL")]
        assert sorted(gone) == sorted(removed)
        kinds = shop.execute("SELECT external_id FROM backmarket.changes WHERE kind = 'removed'")
        assert sorted(int(key) for (key,) in kinds) == sorted(removed)
        shop.assert_equals_truth(ORG)
        requests(shop)
        assert shop.sync(ORG, full=True).end == "done"
        assert requests(shop) == 8, "the removed ones are asked for once more"
        assert shop.sync(ORG, full=True).end == "done"
        assert requests(shop) == 6, "what is known to be unpaid or gone is not asked for again"

    def test_when_very_many_are_missing_none_is_marked_and_an_alarm_is_raised(self, shop: Shop) -> None:
        shop.sell(ORG, orders=300)
        shop.sync(ORG)
        shop.sandbox.change(ORG, remove=40)
        assert shop.sync(ORG, full=True).end == "done"
        assert shop.one("SELECT count(*) FROM backmarket.orders WHERE removed_at IS NOT NULL") == 0
        assert shop.one("SELECT error_code FROM backmarket.sync_runs ORDER BY id DESC LIMIT 1") == "many_missing"

    def test_null_clears_a_column_and_a_line_that_is_gone_is_marked(self, shop: Shop) -> None:
        shop.sell(ORG, orders=60)
        shop.sync(ORG)
        order = shop.one(
            "SELECT order_id FROM backmarket.orders WHERE date_payment IS NOT NULL"
            " AND jsonb_array_length(raw->'orderlines') > 1 LIMIT 1"
        )
        truth = next(row for row in shop.sandbox.truth(ORG) if row["order_id"] == order)
        kept = truth["orderlines"][:1]
        shop.sandbox.change(
            ORG,
            modify=1,
            ids=[order],
            fields={"date_payment": None, "state": 77, "novel": {"a": 1}, "orderlines": kept},
        )
        shop.sync(ORG)
        row = shop.execute("SELECT date_payment, state, raw->'novel' FROM backmarket.orders WHERE order_id = %s", order)
        assert row == [(None, 77, {"a": 1})]
        shop.assert_equals_truth(ORG)
        fields = shop.one("SELECT fields FROM backmarket.changes WHERE kind = 'updated'")
        assert {"date_payment", "state", "novel", "orderlines"} <= set(fields)

    @pytest.mark.parametrize("kind", ["unknown_fields", "unknown_states", "nulls", "wrong_types", "nul_characters"])
    def test_odd_rows_are_kept(self, shop: Shop, kind: Any) -> None:
        shop.sandbox.add_fault(kind)
        shop.sell(ORG, orders=120)
        assert shop.sync(ORG).end == "done"
        assert shop.one("SELECT count(*) FROM backmarket.orders") == 120

    def test_a_row_without_an_id_is_counted_and_its_neighbours_are_stored(self, shop: Shop) -> None:
        shop.sandbox.add_fault("id_missing", page=2)
        shop.sell(ORG, orders=120)
        assert shop.sync(ORG).end == "done"
        assert shop.one("SELECT count(*) FROM backmarket.orders") == 119
        assert shop.one("SELECT rows_rejected FROM backmarket.sync_runs") == 1

    def test_an_order_that_the_api_shows_late_is_caught_by_the_overlap(self, shop: Shop) -> None:
        """Modified before the walk began, shown after it: only the overlap finds it."""
        assert _late_order_is_found(shop)

    def test_without_the_overlap_such_an_order_is_lost(self, shop: Shop) -> None:
        """The proof that the test above can fail."""
        shop.restart(watermark_overlap=0.0)
        assert not _late_order_is_found(shop)


def _late_order_is_found(shop: Shop) -> bool:
    shop.sell(ORG, orders=60)
    shop.sync(ORG)
    before = state(shop, f"watermark + make_interval(secs => {shop.settings.watermark_overlap - 5})")
    changed = shop.sandbox.change(
        ORG,
        modify=1,
        silent=True,
        fields={"tracking_number": "late", "date_modification": before.isoformat()},
    ).modified
    shop.sync(ORG)
    return bool(shop.one("SELECT tracking_number = 'late' FROM backmarket.orders WHERE order_id = %s", changed[0]))


class TestRefusals:
    def test_a_refused_key_is_not_asked_again_until_it_changes(self, shop: Shop) -> None:
        shop.sell(ORG, orders=60)
        shop.sandbox.patch_seller(ORG, revoked=True)
        ended = shop.run_slice(ORG)
        assert (ended.end, ended.error and ended.error.code) == ("failed", "unauthorized")
        connection = connections.get(shop.services.database, ORG)
        assert (connection.health, connection.last_error_code) == ("failing", "unauthorized")
        assert connection.last_error_request_id
        requests(shop)
        shop.execute("UPDATE backmarket.sync_state SET next_due_at = now()")
        assert shop.run_slice(ORG, ask=False).end == "nothing_to_do"
        assert requests(shop) == 0
        shop.sandbox.patch_seller(ORG, revoked=False, token="another")
        shop.connect(ORG, "another")
        assert connections.get(shop.services.database, ORG).health == "ok"
        assert shop.sync(ORG).end == "done"

    @pytest.mark.parametrize("kind", ["waf_html", "waf_json"])
    def test_the_firewall_is_no_bad_token(self, shop: Shop, kind: Any) -> None:
        shop.sell(ORG, orders=60)
        fault = shop.sandbox.add_fault(kind)
        began = Moment()
        assert shop.run_slice(ORG).end == "failed"
        connection = connections.get(shop.services.database, ORG)
        assert (connection.health, connection.last_error_code) == ("failing", "firewall_blocked")
        assert connection.last_error_cf_ray
        assert began.waits(state(shop, "extract(epoch FROM next_due_at - now())::float8"), 40, 80)
        shop.sandbox.remove_faults(fault)
        assert shop.sync(ORG).end == "done"
        assert connections.get(shop.services.database, ORG).health == "ok"

    def test_a_failing_organization_backs_off_and_goes_on_from_its_checkpoint(self, shop: Shop) -> None:
        shop.sell(ORG, orders=2000)
        shop.restart(fetch_threads=4)
        shop.sandbox.add_fault("status", page=25, status=502)
        assert shop.run_slice(ORG).end == "failed"
        assert state(shop, "error_code") == "server_error"
        first = state(shop, "extract(epoch FROM next_due_at - now())::float8")
        shop.execute("UPDATE backmarket.sync_state SET next_due_at = now()")
        assert shop.run_slice(ORG, ask=False).end == "failed"
        assert state(shop, "extract(epoch FROM next_due_at - now())::float8") > first * 1.1
        assert state(shop, "failures") == 2
        stored = shop.one("SELECT count(*) FROM backmarket.orders")
        assert stored >= 20 * 50, "what came before the bad page is stored"
        shop.sandbox.remove_faults()
        requests(shop)
        assert shop.sync(ORG).end == "done"
        assert requests(shop) <= 40 - stored // 50 + 1
        assert state(shop, "failing_since") is None
        shop.assert_equals_truth(ORG)

    @pytest.mark.parametrize(
        "kind", ["status", "reset", "close", "cut", "garbage", "empty", "early_404", "rate_limited"]
    )
    def test_a_fault_that_passes_is_retried_within_the_slice(self, shop: Shop, kind: Any) -> None:
        shop.restart(rate_window=0.2)
        shop.sandbox.settings(block=0.1)
        shop.sandbox.add_fault(kind, probability=0.2, count=3)
        shop.sell(ORG, orders=500)
        assert shop.sync(ORG).end == "done"
        shop.assert_equals_truth(ORG)

    def test_a_server_that_repeats_a_page_for_ever_does_not_hold_a_worker(self, shop: Shop) -> None:
        shop.sell(ORG, orders=2500)
        shop.sandbox.add_fault("repeat_page")
        assert shop.sync(ORG).end == "failed"
        assert state(shop, "error_code") == "incomplete_walk"
        assert requests(shop) <= 3 * 50 + 15, "three passes, and pages that were in flight as a slice ended"


class TestFaultsOfOurs:
    def test_a_crash_is_written_down_without_its_text_and_backs_off(self, shop: Shop) -> None:
        class Broken:
            def acquire(self, *_: Any, **__: Any) -> None:
                raise ValueError("Victor Hugo, +33639981234")

            def close(self) -> None: ...

        shop.sell(ORG, orders=60)
        shop.services.__dict__["limiter"] = Broken()
        assert shop.run_slice(ORG).end == "failed"
        code, text, due = shop.execute(
            "SELECT error_code, error, next_due_at > now() + interval '5 s' FROM backmarket.sync_state"
        )[0]
        assert (code, due) == ("crashed", True)
        assert "ValueError" in text
        assert "Hugo" not in text
        shop.restart()
        assert shop.sync(ORG).end == "done"

    def test_a_worker_without_the_right_secret_key_leaves_the_connection_usable(self, shop: Shop) -> None:
        shop.sell(ORG, orders=60)
        right = shop.settings.secret_keys
        shop.restart(secret_keys=(SecretStr(KeyCipher.generate()),))
        assert shop.run_slice(ORG).end == "failed"
        assert state(shop, "error_code") == "settings"
        shop.restart(secret_keys=right)
        assert shop.sync(ORG).end == "done"


class TestShorterLists:
    def test_a_walk_whose_next_page_is_refused_begins_anew(self, shop: Shop) -> None:
        shop.sandbox.settings(assumptions={"past_the_end": "400"})
        shop.sell(ORG, orders=1000)
        shop.restart(task_budget_pages=18, fetch_threads=2)
        assert shop.run_slice(ORG).end == "handed_on"
        shop.sandbox.change(ORG, remove=300)
        shop.execute("UPDATE backmarket.sync_state SET next_due_at = now()")
        for _ in range(3):  # the checkpoint is kept for two more tries
            assert shop.run_slice(ORG).end == "failed"
        shop.restart(task_budget_pages=200)
        assert shop.sync(ORG).end == "done"
        assert shop.sync(ORG, full=True).end == "done"

    def test_the_rows_of_a_walk_that_is_never_complete_are_stored_to_the_last_one(self, shop: Shop) -> None:
        shop.sandbox.settings(assumptions={"count": "high"})
        shop.sell(ORG, orders=220)
        shop.sandbox.change(ORG, add=1, after=10)
        assert shop.sync(ORG).end == "failed"
        assert state(shop, "error_code") == "incomplete_walk"
        shop.assert_equals_truth(ORG)

    def test_an_origin_that_is_no_longer_allowed_gets_no_key(self, shop: Shop) -> None:
        shop.sell(ORG, orders=60)
        requests(shop)
        allowed = shop.settings.allowed_base_urls
        shop.restart(allowed_base_urls=())
        ended = shop.run_slice(ORG)
        assert (ended.end, ended.error and ended.error.code) == ("failed", "settings")
        assert requests(shop) == 0
        assert "ALLOWED_BASE_URLS" in state(shop, "error")
        shop.restart(allowed_base_urls=allowed)
        assert shop.sync(ORG).end == "done"


class TestLimits:
    """Small figures, so that the windows pass quickly; the real ones are tried in tests/acceptance."""

    @pytest.mark.parametrize("scope", ["account", "address"])
    @pytest.mark.slow
    def test_whether_a_client_is_an_account_or_an_address_no_limit_is_exceeded(self, shop: Shop, scope: str) -> None:
        shop.sandbox.settings(limit=12, window=1.0, block=1.0, assumptions={"limit_scope": scope})
        shop.restart(rate_limit=12, rate_window=1.0, egress_rate_limit=12 if scope == "address" else 0)
        shop.services.limiter.skip_recovery()
        for name in ("a", "b"):
            shop.sell(name, orders=700)
        with ThreadPoolExecutor(2) as pool:
            assert [slice_.end for slice_ in pool.map(shop.sync, ("a", "b"))] == ["done", "done"]
        stats = shop.sandbox.stats()
        assert stats.violations == 0
        assert scope == "account" or sum(stats.address_violations.values()) == 0
        shop.assert_equals_truth("a")
        shop.assert_equals_truth("b")

    @pytest.mark.slow
    def test_without_a_limit_for_the_address_each_account_pauses_after_its_own_429s(self, shop: Shop) -> None:
        shop.sandbox.settings(limit=12, window=1.0, block=1.0, assumptions={"limit_scope": "address"})
        shop.restart(rate_limit=12, rate_window=1.0)
        shop.services.limiter.skip_recovery()
        for name in ("a", "b"):
            shop.sell(name, orders=700)
        with ThreadPoolExecutor(2) as pool:
            assert [slice_.end for slice_ in pool.map(shop.sync, ("a", "b"))] == ["done", "done"]
        shop.assert_equals_truth("a")
        shop.assert_equals_truth("b")

    def test_a_slice_sleeps_while_slots_come_free_one_by_one(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        looks: list[int] = []
        collect = Fetcher.collect

        def counted(fetcher: Fetcher, timeout: float) -> list[Fetched]:
            pages = collect(fetcher, timeout)
            looks.append(len(pages))
            return pages

        monkeypatch.setattr(Fetcher, "collect", counted)
        shop.sandbox.settings(limit=4, window=1.0, block=1.0, latency=0.5)
        shop.restart(rate_limit=4, rate_window=1.0)
        shop.services.limiter.skip_recovery()
        began = monotonic()
        shop.sell(ORG, orders=600)
        assert shop.sync(ORG).end == "done"
        assert len(looks) <= 12 + (monotonic() - began) / MIN_DENIED_SECONDS


class TestLeases:
    def test_one_of_two_slices_finds_nothing_to_do(self, shop: Shop) -> None:
        shop.sell(ORG, orders=60)
        lease = take_lease(shop.services.database, ORG, owner="another", seconds=60)
        assert lease is not None
        assert shop.run_slice(ORG).end == "nothing_to_do"

    @pytest.mark.slow
    def test_of_many_slices_at_once_over_an_unchanged_list_one_ends_it(self, shop: Shop) -> None:
        shop.sell(ORG, orders=60)
        shop.sync(ORG)
        shop.sandbox.settings(latency=3)
        shop.execute("UPDATE backmarket.sync_state SET next_due_at = now()")
        runs = state(shop, "runs")
        with ThreadPoolExecutor(4) as pool:
            ends = [slice_.end for slice_ in pool.map(lambda _: shop.run_slice(ORG, ask=False), range(4))]
        assert sorted(ends) == ["done", "lease_lost", "lease_lost", "lease_lost"]
        assert state(shop, "runs") == runs + 1

    @pytest.mark.slow
    def test_of_many_slices_at_once_over_a_changed_list_one_writes(self, shop: Shop) -> None:
        shop.sell(ORG, orders=60)
        shop.sync(ORG)
        shop.sandbox.change(ORG, modify=5)
        shop.sandbox.settings(latency=3)
        shop.execute("UPDATE backmarket.sync_state SET next_due_at = now()")
        with ThreadPoolExecutor(4) as pool:
            ends = [slice_.end for slice_ in pool.map(lambda _: shop.run_slice(ORG, ask=False), range(4))]
        assert sorted(ends) == ["done", "lease_lost", "lease_lost", "lease_lost"]
        assert shop.one("SELECT count(*) FROM backmarket.changes WHERE kind = 'updated'") == 5

    @pytest.mark.parametrize("end", ["handed on", "failed"])
    def test_a_worker_that_probed_while_another_slept_past_its_lease_takes_nothing_once_that_slice_has_ended(
        self, shop: Shop, end: str
    ) -> None:
        """It has seen another walk than there is now: its own would end, and the other one stay unfinished."""
        shop.sell(ORG, orders=10)
        request_sync(shop.services.database, ORG, "orders")
        sleeper = take_lease(shop.services.database, ORG, seconds=0)
        seen = leases.probe(shop.services.database, ORG, ORDERS)
        assert sleeper is not None
        assert seen is not None
        with shop.services.database.transaction() as transaction:
            if end == "handed on":
                leases.hand_on(transaction, sleeper, pause=0.0)
            else:
                leases.fail(transaction, sleeper, ServerError("The API failed."), pause=0.0)
        assert leases.claim(shop.services.database, seen, owner="late", seconds=60) is None
        assert take_lease(shop.services.database, ORG) is not None

    def test_a_slice_that_was_overtaken_writes_nothing(self, shop: Shop) -> None:
        shop.sell(ORG, orders=60)
        sleeper = take_lease(shop.services.database, ORG, owner="sleeper", seconds=0)
        assert sleeper is not None
        assert shop.run_slice(ORG).end == "done"
        for act in (leases.hold, lambda t, lease: leases.renew(t, lease, seconds=9)):
            with pytest.raises(LeaseLost), shop.services.database.transaction() as transaction:
                act(transaction, sleeper)

    def test_a_version_that_came_by_another_way_while_a_page_was_on_its_way_is_not_overwritten(
        self, shop: Shop
    ) -> None:
        shop.sell(ORG, orders=60)  # two pages: the lease is held while the second one is on its way
        shop.sync(ORG)
        (key,) = shop.sandbox.change(ORG, modify=1).modified
        newer = next(row for row in shop.sandbox.truth(ORG) if row["order_id"] == key)
        newer["date_modification"] = "2099-01-01T00:00:00Z"
        row = parse_object(ORDERS, json.dumps(newer).encode())
        assert row is not None
        shop.sandbox.settings(latency=3)
        waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        with ThreadPoolExecutor(1) as pool:
            slice_ = pool.submit(shop.run_slice, ORG, full=True)
            wait_until(lambda: state(shop, "lease_until IS NOT NULL"), "the slice asks")
            with shop.services.database.transaction() as transaction:
                transaction.execute("SELECT FROM backmarket.sync_state FOR UPDATE")  # as whoever stores does
                wait_until(lambda: shop.one(waits), "the page came, and waits for the lock")
                store(transaction, ORDERS, ORG, [row])
            assert slice_.result(PATIENCE_SECONDS).end == "done"
        assert shop.one("SELECT raw->>'date_modification' FROM backmarket.orders WHERE order_id = %s", key) == (
            "2099-01-01T00:00:00Z"
        )

    def test_a_slice_hands_on_within_its_budget_and_the_next_one_goes_on(self, shop: Shop) -> None:
        shop.restart(task_budget_pages=10, fetch_threads=4)
        shop.sell(ORG, orders=2000)
        assert shop.run_slice(ORG).end == "handed_on"
        assert 10 <= requests(shop) <= 14
        assert shop.sync(ORG).end == "done"
        shop.assert_equals_truth(ORG)
        assert shop.one("SELECT sum(requests) FROM backmarket.sync_runs") >= 40
        assert shop.one("SELECT count(*) FROM backmarket.walks") == 0
        assert shop.one("SELECT count(*) FROM backmarket.walk_seen") == 0

    def test_a_process_that_stops_hands_on_to_any_other_worker(self, shop: Shop) -> None:
        shop.sell(ORG, orders=2000)
        shop.services.stopping.set()
        assert shop.run_slice(ORG).end == "handed_on"
        assert state(shop, "lease_until IS NULL AND nudged_until IS NULL AND next_due_at < now() + interval '1 s'")
        shop.restart()
        shop.execute("UPDATE backmarket.sync_state SET next_due_at = now()")
        assert len(claim_due(shop.services.database, "orders")) == 1
        assert shop.run_slice(ORG, ask=False).end == "done"

    @pytest.mark.parametrize("act", ["new key", "disabled", "removed"])
    def test_a_connection_that_changes_voids_what_runs(self, shop: Shop, act: str) -> None:
        shop.sell(ORG, orders=300)
        lease = take_lease(shop.services.database, ORG, owner="old", seconds=60)
        assert lease is not None
        if act == "new key":
            shop.connect(ORG, "another-token")
        elif act == "disabled":
            lifecycle.disable(shop.services.database, ORG)
        else:
            lifecycle.remove(shop.services.database, ORG)
        with pytest.raises(LeaseLost), shop.services.database.transaction() as transaction:
            leases.hold(transaction, lease)

    def test_a_late_refusal_does_not_disable_a_new_key(self, shop: Shop) -> None:
        shop.sell(ORG, orders=60)
        old = connections.get(shop.services.database, ORG).generation
        shop.connect(ORG, "another-token")
        with shop.services.database.transaction() as transaction:
            assert not connections.mark_unauthorized(transaction, ORG, old, Unauthorized("refused"))
        assert connections.get(shop.services.database, ORG).health == "ok"


class Ahead(datetime):
    """A machine's clock that is an hour ahead."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Ahead:
        return cls.fromtimestamp(time() + 3600, tz)


@pytest.mark.parametrize("header", ["missing", "fast"])
def test_a_clock_of_ours_that_is_ahead_moves_no_watermark(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, header: str
) -> None:
    monkeypatch.setattr("backmarket.sync.engine.datetime", Ahead)
    shop.sandbox.settings(assumptions={"date_header": header}, date_skew=7200.0)
    shop.sell(ORG)
    shop.sync(ORG)
    assert state(shop, "watermark <= now()") is True


def test_a_process_that_is_stopped_before_it_reads_an_answer_moves_no_watermark(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that change while it is stopped are not in that answer."""
    shop.sandbox.settings(assumptions={"date_header": "missing"})
    shop.sell(ORG)
    stopped_at = []

    def stopped(resource: Resource, body: bytes) -> Page:
        stopped_at.append(shop.one("SELECT clock_timestamp()"))
        sleep(0.01)
        return parse_page(resource, body)

    monkeypatch.setattr("backmarket.sync.page_fetcher.parse_page", stopped)
    shop.sync(ORG)
    overlap = timedelta(seconds=shop.services.settings.watermark_overlap)
    assert state(shop, "watermark") + overlap < stopped_at[0]
