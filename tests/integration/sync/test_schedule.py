"""The schedule: who is due, that two dispatchers never nudge the same, and the messages that go out."""

from __future__ import annotations

import base64
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from statistics import mean
from threading import Barrier
from typing import Any

import pytest
import redis

from backmarket import BackMarket
from backmarket.database import Database
from backmarket.errors import InvalidArgument
from backmarket.messages import NUDGE_SECONDS, SYNC_ORDERS, Nudge
from backmarket.producer import Producer
from backmarket.sandbox.control.client import SandboxControl
from backmarket.settings import Settings
from backmarket.standalone.embedded import Stack
from backmarket.standalone.embedded.ports import free_ports
from backmarket.sync.engine import run_slice
from backmarket.sync.requests import CLAIM, claim_due, request_sync
from tests.support.databases import empty, open_connection
from tests.support.gate import Gate, Reply, listed
from tests.support.plans import explained
from tests.support.sellers import Shop
from tests.support.settings import fresh_settings
from tests.support.waiting import PATIENCE_SECONDS, Moment

Query = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def query(shared_url: str) -> Iterator[Query]:
    """Runs a statement in a database without rows."""
    empty(shared_url)
    with open_connection(shared_url, autocommit=True) as connection:

        def query(statement: str, *values: Any) -> list[tuple[Any, ...]]:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

        yield query


@pytest.fixture
def database(shared_url: str, query: Query) -> Iterator[Database]:
    database = Database(shared_url)
    yield database
    database.close()


@pytest.fixture
def settings(shared_url: str, redis_url: str, query: Query) -> Settings:
    return fresh_settings(
        database_url=shared_url,
        redis_url=redis_url,
    )


def connect(query: Callable[..., Any], count: int) -> None:
    """Connect so many organizations, `org 1` and so on; the higher the number, the longer it is due."""
    query(
        "INSERT INTO backmarket.connections (organization_id, api_key, account, environment, region, locale)"
        " SELECT 'org ' || n, 'encrypted', 'account', 'production', 'EU', 'fr-fr' FROM generate_series(1, %s) n",
        count,
    )
    query(
        "INSERT INTO backmarket.sync_state (organization_id, resource, next_due_at)"
        " SELECT 'org ' || n, 'orders', now() - n * interval '1 s' FROM generate_series(1, %s) n",
        count,
    )


def ids(nudges: list[Nudge]) -> list[str]:
    assert {nudge.name for nudge in nudges} <= {"orders"}
    return [nudge.organization_id for nudge in nudges]


class TestClaims:
    def test_the_longest_due_come_first(self, database: Database, query: Query) -> None:
        connect(query, 1200)
        query("ANALYZE")
        seen = [ids(claim_due(database, "orders")) for _ in range(4)]
        assert [len(claim) for claim in seen] == [CLAIM, CLAIM, 200, 0]
        assert [each for claim in seen for each in claim] == [f"org {n}" for n in range(1200, 0, -1)]

    @pytest.mark.parametrize(
        ("table", "change"),
        [
            ("sync_state", "next_due_at = now() + interval '1 h'"),
            ("sync_state", "nudged_until = now() + interval '1 h'"),
            ("sync_state", "lease_until = now() + interval '1 h'"),
            ("connections", "enabled = false"),
            ("connections", "refused_at = now()"),
            ("connections", "api_key = NULL, account = NULL"),
        ],
        ids=lambda text: text.split(" ")[0],
    )
    def test_what_is_not_to_be_asked_is_not_claimed(
        self, database: Database, query: Query, table: str, change: str
    ) -> None:
        connect(query, 3)
        query(f"UPDATE backmarket.{table} SET {change} WHERE organization_id = 'org 2'")
        assert ids(claim_due(database, "orders")) == ["org 3", "org 1"]

    def test_a_lease_or_a_nudge_that_ran_out_blocks_no_worker(self, database: Database, query: Query) -> None:
        connect(query, 2)
        query("UPDATE backmarket.sync_state SET lease_until = now() - interval '1 s', nudged_until = now()")
        assert len(claim_due(database, "orders")) == 2

    def test_a_resource_is_claimed_alone(self, database: Database, query: Query) -> None:
        connect(query, 2)
        query("INSERT INTO backmarket.sync_state (organization_id, resource) VALUES ('org 1', 'listings')")
        assert claim_due(database, "listings") == [Nudge("listings", "org 1")]
        assert ids(claim_due(database, "orders")) == ["org 2", "org 1"]

    def test_a_nudge_counts_for_a_minute_and_then_the_row_is_claimed_again(
        self, database: Database, query: Query
    ) -> None:
        connect(query, 1)
        began = Moment()
        assert ids(claim_due(database, "orders")) == ["org 1"]
        ((left,),) = query("SELECT extract(epoch FROM nudged_until - now())::float8 FROM backmarket.sync_state")
        assert began.waits(left, NUDGE_SECONDS - 1, NUDGE_SECONDS)
        assert claim_due(database, "orders") == []
        query(f"UPDATE backmarket.sync_state SET nudged_until = nudged_until - interval '{NUDGE_SECONDS / 2} s'")
        assert claim_due(database, "orders") == []
        query("UPDATE backmarket.sync_state SET nudged_until = now()")
        assert ids(claim_due(database, "orders")) == ["org 1"]

    def test_dispatchers_at_once_never_claim_the_same_row(self, database: Database, query: Query) -> None:
        connect(query, 2000)
        together = Barrier(6)

        def dispatch(_: int) -> list[str]:
            together.wait(PATIENCE_SECONDS)
            claimed: list[str] = []
            while found := ids(claim_due(database, "orders", limit=50)):
                claimed += found
            return claimed

        with ThreadPoolExecutor(6) as threads:
            claims = list(threads.map(dispatch, range(6)))
        claimed = Counter(each for claim in claims for each in claim)
        assert set(claimed.values()) == {1}
        assert sum(1 for claim in claims if claim) > 1, "more than one of them claimed"
        # what one skipped because another was claiming it is claimed by that one
        assert len(claimed) == 2000

    def test_a_claim_is_one_statement(self, shared_url: str, query: Query) -> None:
        connect(query, 700)
        database = Database(shared_url, size=1)
        with tempfile.TemporaryFile() as trace:
            with database.transaction() as transaction:
                transaction.pgconn.trace(trace.fileno())
            assert len(claim_due(database, "orders")) == CLAIM
            with database.transaction() as transaction:
                transaction.pgconn.untrace()
            database.close()
            trace.seek(0)
            sent = [line for line in trace.read().decode().splitlines() if "\tF\t" in line and "Parse" in line]
        assert len(sent) == 1

    def test_ten_thousand_organizations_are_no_reason_to_read_them_all(self, shared_url: str, query: Query) -> None:
        """The plan that PostgreSQL really used: when few are due, and when all are."""
        connect(query, 10_000)
        query(
            "UPDATE backmarket.sync_state SET next_due_at = now() + interval '5 minutes'"
            " WHERE length(organization_id) > length('org 9')"
        )
        query("VACUUM ANALYZE backmarket.sync_state, backmarket.connections")
        few, when_few = claim_explained(shared_url)
        query(
            "UPDATE backmarket.sync_state"
            " SET next_due_at = now() - random() * interval '5 minutes', nudged_until = NULL"
        )
        query("VACUUM ANALYZE backmarket.sync_state, backmarket.connections")
        many, when_many = claim_explained(shared_url)
        assert few == 9
        assert many == CLAIM
        for scans in (when_few, when_many):
            assert "sync_state_due" in {scan.get("Index Name") for scan in scans}
            assert ("Seq Scan", "connections") not in {(scan["Node Type"], scan["Relation Name"]) for scan in scans}
        assert {scan["Relation Name"] for scan in when_few if scan["Node Type"] == "Seq Scan"} <= {"schedule"}


def claim_explained(url: str) -> tuple[int, list[dict[str, Any]]]:
    """How many rows were claimed, and how PostgreSQL read tables for it."""
    with explained(url) as (database, plans):
        claimed = claim_due(database, "orders")
        assert len(plans.seen) == 1
        nodes = plans.nodes()
    return len(claimed), [node for node in nodes if "Scan" in node["Node Type"] and "Relation Name" in node]


class TestPhases:
    """`next_due_at` of a sync that went well: organizations are spread over the interval, each at its own place."""

    def test_the_organizations_are_spread_evenly(self, query: Query) -> None:
        connect(query, 1000)
        due = query(
            "SELECT extract(epoch FROM backmarket.next_in_phase(organization_id || '/orders', 300) - now())::float8"
            " FROM backmarket.sync_state"
        )
        waits = [wait for (wait,) in due]
        assert all(0 < wait <= 300 for wait in waits)
        assert 135 < mean(waits) < 165
        shares = Counter(int(wait // 30) for wait in waits)
        assert all(60 < shares[tenth] < 140 for tenth in range(10)), shares

    def test_an_organization_is_always_due_in_its_own_phase(self, settings: Settings, query: Query) -> None:
        with Gate(listed({"order_id": 7})) as gate:
            gate.open.set()
            shop = gate_shop(settings, gate)
            phase, phases = "SELECT round(extract(epoch FROM {})::numeric % 300, 3)", set[tuple[Any, ...]]()
            for _ in range(4):
                assert shop.run_slice("shop").end == "done"
                phases |= set(query(phase.format("next_due_at") + " FROM backmarket.sync_state"))
            shop.services.close()
        assert phases == set(query(phase.format("backmarket.next_in_phase('shop/orders', 300)")))
        ((wait,),) = query("SELECT extract(epoch FROM next_due_at - now())::float8 FROM backmarket.sync_state")
        assert wait <= 300


def gate_shop(settings: Settings, gate: Gate) -> Shop:
    """A worker beside one organization, `shop`, whose API is the gate."""
    shop = Shop(settings, SandboxControl(gate.url))
    shop.connect("shop", "key")
    return shop


class TestRequests:
    def test_a_request_makes_it_due_despite_a_back_off(self, settings: Settings, query: Query) -> None:
        with Gate(Reply(400)) as gate:
            gate.open.set()
            shop = gate_shop(settings, gate)
            assert shop.run_slice("shop").end == "failed"
            assert run_slice(shop.services, "shop", "orders").end == "nothing_to_do"
            first = request_sync(shop.services.database, "shop", "orders")
            gate.reply = listed()
            assert run_slice(shop.services, "shop", "orders").end == "done"
            second = request_sync(shop.services.database, "shop", "orders", full=True)
            assert second.number == first.number + 1
            assert query("SELECT full_requested, served FROM backmarket.sync_state") == [(True, first.number)]
            shop.services.close()

    def test_its_nudge_counts_as_sent(self, database: Database, query: Query) -> None:
        connect(query, 1)
        request_sync(database, "org 1", "orders")
        assert claim_due(database, "orders") == []

    @pytest.mark.parametrize(("status", "end"), [(200, "done"), (400, "failed")])
    def test_one_that_comes_during_a_slice_is_nudged_as_soon_as_it_is_due_again(
        self, settings: Settings, query: Query, status: int, end: str
    ) -> None:
        with Gate(Reply(status, listed().body)) as gate, ThreadPoolExecutor(1) as pool:
            shop = gate_shop(settings, gate)
            slice_ = pool.submit(run_slice, shop.services, "shop", "orders")
            gate.wait()
            request_sync(shop.services.database, "shop", "orders")
            assert claim_due(shop.services.database, "orders") == [], "the slice is not over"
            gate.open.set()
            assert slice_.result(PATIENCE_SECONDS).end == end
            if end == "failed":
                query("UPDATE backmarket.sync_state SET next_due_at = now()")  # the back-off is over
            assert ids(claim_due(shop.services.database, "orders")) == ["shop"]
            shop.services.close()

    def test_one_that_meets_a_removal_asks_for_the_connection_made_anew(
        self, database: Database, query: Query, shared_url: str
    ) -> None:
        connect(query, 1)
        with ThreadPoolExecutor(1) as pool:
            with open_connection(shared_url) as holder:
                holder.execute("DELETE FROM backmarket.connections")
                asked = pool.submit(request_sync, database, "org 1", "orders")
                query("SET statement_timeout = '300 s'")
                query(
                    "DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock')"
                    " LOOP PERFORM pg_stat_clear_snapshot(), pg_sleep(0.005); END LOOP; END $$"
                )
                connect(lambda statement, count: holder.execute(statement.encode(), (count,)), 1)
            assert asked.result(PATIENCE_SECONDS).number == 1

    def test_one_for_a_resource_that_is_not_synced_says_so(self, database: Database, query: Query) -> None:
        connect(query, 1)
        query("DELETE FROM backmarket.sync_state")
        with pytest.raises(InvalidArgument, match="orders is not synced for this organization"):
            request_sync(database, "org 1", "orders")


class TestMessages:
    def test_each_nudge_is_one_message_in_the_resource_s_queue(self, redis_url: str) -> None:
        producer = Producer(redis_url)
        assert producer.nudge(Nudge("orders", f"org {n}") for n in range(1200)) == 1200
        assert producer.nudge([]) == 0
        producer.close()
        with redis.Redis.from_url(redis_url) as valkey:
            assert valkey.llen("orders") == 1200
            told = [message(each)["args"] for each in valkey.lrange("orders", 0, -1)]
        assert sorted(told) == sorted([f"org {n}"] for n in range(1200))

    def test_a_message_says_which_organization_and_nothing_else(self, settings: Settings) -> None:
        organization = "a/../b 🦊'"
        with BackMarket(settings) as bm:
            bm.upsert_connection(organization, "bm-key-3f9a17c2")
            bm.sync_orders(organization)
        with redis.Redis.from_url(settings.need("redis_url")) as valkey:
            raw, _ = valkey.lrange("orders", 0, -1)  # the newer one; connecting sent the other
            everything = b" ".join(valkey.dump(key) or b"" for key in valkey.scan_iter())
        told = message(raw)
        assert (told["task"], told["args"], told["kwargs"]) == (SYNC_ORDERS, [organization], {"nudge": True})
        assert told["expires"] is None
        assert told["extra"] == {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
        secrets = ["bm-key", settings.need("limiter_key"), settings.need("database_url"), settings.need("redis_url")]
        assert [secret for secret in secrets if secret.encode() in raw + everything] == []

    def test_a_broker_that_is_away_loses_nothing(self, settings: Settings, query: Query) -> None:
        (port,) = free_ports(1)
        away = settings.model_copy(update={"broker_url": f"redis://127.0.0.1:{port}/0"})
        with BackMarket(away) as bm:
            bm.upsert_connection("shop", "key")
            handle = bm.sync_orders("shop")
            assert handle.done() is None
        database = Database(settings.need("database_url"))
        query("UPDATE backmarket.sync_state SET nudged_until = nudged_until - interval '60 s'")
        assert ids(claim_due(database, "orders")) == ["shop"], "the dispatcher nudges the request"
        database.close()

    def test_a_broker_that_goes_and_comes_back_is_used_again(self, redis_url: str, stack: Stack) -> None:
        producer = Producer(redis_url)
        assert producer.nudge([Nudge("orders", "one")]) == 1
        stack.valkey.kill()
        assert producer.nudge([Nudge("orders", "two")]) == 0
        stack.valkey.start()
        assert producer.nudge([Nudge("orders", "three")]) == 1
        producer.close()


def message(raw: bytes) -> dict[str, Any]:
    """What stands in a message of Celery's."""
    outer = json.loads(raw)
    args, kwargs, extra = json.loads(base64.b64decode(outer["body"]))
    return {
        "task": outer["headers"]["task"],
        "args": args,
        "kwargs": kwargs,
        "extra": extra,
        "expires": outer["headers"]["expires"],
    }
