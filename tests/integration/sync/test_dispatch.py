"""The dispatcher's task: one tick nudges what is due of every resource."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import redis

from backmarket import BackMarket
from backmarket.messages import QUEUES, SYNC_TASKS
from backmarket.services import Services
from backmarket.settings import Settings
from backmarket.sync import lease_statements
from tasks.dispatch import dispatch


@pytest.fixture
def process(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    """This process's services, as a worker has them."""
    own = Services(settings)
    monkeypatch.setattr("backmarket.services.services._current", own)
    yield own
    own.close()


def test_a_look_reads_one_row_however_many_fell_due_since_the_last_statistics(process: Services) -> None:
    values = {"organization": "org 77", "resource": "orders", "market": "", "incremental": True}
    with process.database.transaction() as transaction:
        transaction.execute(
            "INSERT INTO backmarket.connections (organization_id, api_key, account, environment, region, locale)"
            " SELECT 'org ' || n, 'key', 'account', 'production', 'EU', 'fr-fr' FROM generate_series(1, 2000) n"
        )
        transaction.execute(
            "INSERT INTO backmarket.sync_state (organization_id, resource, next_due_at)"
            " SELECT organization_id, 'orders', 'infinity' FROM backmarket.connections"
        )
        transaction.execute("ANALYZE backmarket.sync_state, backmarket.connections")
        transaction.execute("UPDATE backmarket.sync_state SET next_due_at = now()")
        plan = "\n".join(row[0] for row in transaction.execute(f"EXPLAIN {lease_statements.PROBE}", values))
    assert "sync_state_pkey" in plan
    assert "sync_state_due" not in plan


def test_a_tick_nudges_every_resource_once(process: Services) -> None:
    with BackMarket(process.settings) as bm:
        for organization in ("one", "two"):
            bm.upsert_connection(organization, f"key-of-{organization}")
    with process.database.transaction() as transaction:
        transaction.execute("UPDATE backmarket.sync_state SET next_due_at = now()")
    dispatch()
    with redis.Redis.from_url(process.settings.need("redis_url")) as valkey:
        nudged = {
            resource: [json.loads(text)["headers"]["argsrepr"] for text in valkey.lrange(QUEUES[task], 0, -1)]
            for resource, task in SYNC_TASKS.items()
        }
        assert {resource: sorted(told) for resource, told in nudged.items()} == {
            resource: ["('one',)", "('two',)"] for resource in SYNC_TASKS
        }
        valkey.delete(*QUEUES.values())
        dispatch()
        assert not valkey.exists(*QUEUES.values()), "a nudge counts for a minute"
