"""Every queue full of messages that nobody can read: workers outlive them, none comes back, what follows is done."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from backmarket import BackMarket
from backmarket.messages import DISPATCH, FETCH_LABELS, QUEUES, SYNC_ORDERS
from backmarket.resources import RESOURCES
from backmarket.settings import Settings
from backmarket.standalone.fleet import Fleet
from tests.support.bad_messages import broken, unfit
from tests.support.bulk_files import as_csv
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop, environment
from tests.support.waiting import PATIENCE_SECONDS, wait_until

ORG = "auth0|1"


@pytest.fixture
def shop(settings: Settings) -> Iterator[Shop]:
    with fresh_sandbox(limit=100_000) as sandbox:
        quick = {"rate_limit": 100_000, "bulk_poll_initial_seconds": 0.5, "bulk_poll_max_seconds": 1.0}
        shop = Shop(settings.model_copy(update=quick), sandbox.control, tuple(RESOURCES))
        yield shop
        shop.services.close()


def held(client: redis.Redis) -> dict[str, int]:
    """Messages that wait in each queue, and those that were taken and not let go."""
    waiting = {name: int(client.llen(name)) for name in sorted(set(QUEUES.values()))}
    return {name: count for name, count in {**waiting, "unacked": int(client.hlen("unacked"))}.items() if count}


@pytest.mark.slow
def test_what_stands_behind_them_is_done(shop: Shop, tmp_path: Path) -> None:
    with redis.Redis.from_url(shop.settings.need("redis_url")) as client:
        for task, queue in QUEUES.items():
            client.lpush(queue, *unfit(task))
        for task in (DISPATCH, SYNC_ORDERS, FETCH_LABELS):  # one in each worker
            client.lpush(QUEUES[task], *broken(task))
        sent = held(client)
        with Fleet(environment(shop.settings), directory=tmp_path) as fleet, BackMarket(shop.settings) as bm:
            fleet.wait_ready()
            shop.sell(ORG, orders=60, listings=60, deliveries=3, returns=3)
            wait_until(lambda: labels(shop) == {"stored"}, "all was synced, and the labels are in the bucket")
            listing = shop.sandbox.truth(ORG, "listings")[0]
            assert bm.update_listing(ORG, listing["id"], quantity=7).wait(PATIENCE_SECONDS)
            assert bm.create_or_update_listings(ORG, as_csv([{"sku": listing["sku"], "quantity": 8}]).decode()).wait(
                PATIENCE_SECONDS
            )
            assert fleet.died == []
            wait_until(lambda: not held(client), "no message is left anywhere")
    assert sent.keys() == set(QUEUES.values())
    shop.assert_equals_truth(ORG)
    for resource in ("deliveries", "returns"):
        shop.assert_rows_equal_truth(ORG, resource)
    lines = [json.loads(line) for name in ("dispatch", "sync", "work") for line in told(tmp_path, name)]
    assert_told(lines, sent)


def labels(shop: Shop) -> set[str]:
    return {state for (state,) in shop.execute("SELECT DISTINCT state FROM backmarket.labels")}


def told(directory: Path, name: str) -> list[str]:
    return (directory / f"{name}.log").read_text().splitlines()


def assert_told(lines: list[dict[str, Any]], sent: dict[str, int]) -> None:
    """Each was refused in a line or two, of which none is long, and none is a fault of ours."""
    events = Counter(line["event"] for line in lines)
    assert events["task.crashed"] == 0
    assert events["message.refused"] > sum(sent.values()) / 4
    assert max(len(json.dumps(line)) for line in lines) < 5_000
