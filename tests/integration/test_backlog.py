"""Messages that no worker takes: they don't pile up, and a worker that comes back works at once, on each row once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest
import redis
from celery import Celery

from backmarket import messages, services
from backmarket.messages import NUDGE_SECONDS, QUEUE_FULL, QUEUES, REQUESTS_FULL, SHARED_TICKS_FULL, TICKS_FULL
from backmarket.producer import celery_settings
from backmarket.sandbox.control.client import SandboxControl
from backmarket.settings import Settings
from backmarket.standalone.fleet import Fleet
from backmarket.standalone.pools import Pool
from backmarket.sync.requests import CLAIM, request_sync
from tasks.dispatch import dispatch
from tests.support.sellers import Shop, environment
from tests.support.waiting import wait_until
from workers.celery_overrides.scheduler import MemoryScheduler
from workers.timetable import TIMETABLE

ORGANIZATIONS = 1000
WORKERS = (Pool("dispatch", ("dispatch",), 1), Pool("sync", ("orders",)))
BYTES_OF_A_QUEUE = 50e6 / len(set(QUEUES.values()))
"""Its share of the 50 MB that all may take."""

_CONNECT = """
INSERT INTO backmarket.connections (organization_id, api_key, account, environment, region, locale, base_url)
SELECT 'org ' || n, api_key, account, environment, region, locale, base_url
FROM backmarket.connections, generate_series(1, %s) AS n WHERE organization_id NOT LIKE 'org %%'
"""
_DUE = "INSERT INTO backmarket.sync_state (organization_id, resource) SELECT 'org ' || generate_series(1, %s), 'orders'"


@pytest.fixture
def shop(settings: Settings, sandbox: SandboxControl, org: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """A dispatcher's process, and organizations that are due."""
    shop = Shop(settings.model_copy(update={"rate_limit": 100_000}), sandbox)
    shop.sell(org, orders=3)
    shop.sync(org)
    shop.every(300_000_000)
    shop.execute(_CONNECT, ORGANIZATIONS)
    shop.execute(_DUE, ORGANIZATIONS)
    monkeypatch.setattr(services, "current", lambda: shop.services)
    yield shop
    shop.services.close()


def minutes_pass(shop: Shop, minutes: int) -> None:
    """The dispatcher ticks until nothing is left to claim, each minute anew; no worker takes a nudge."""
    for _ in range(minutes):
        for _ in range(ORGANIZATIONS // CLAIM + 1):
            dispatch.run()
        shop.execute(f"UPDATE backmarket.sync_state SET nudged_until = nudged_until - interval '{NUDGE_SECONDS} s'")


@pytest.mark.slow
def test_an_hour_without_a_worker_leaves_a_bounded_queue_and_each_organization_is_synced_once(
    shop: Shop, tmp_path: Path
) -> None:
    with redis.Redis.from_url(shop.settings.need("redis_url")) as valkey:
        minutes_pass(shop, 60)
        waiting, size = valkey.llen("orders"), valkey.memory_usage("orders", samples=0)
        assert QUEUE_FULL <= waiting < QUEUE_FULL + CLAIM
        assert size < BYTES_OF_A_QUEUE / 2
        with Fleet(environment(shop.settings), directory=tmp_path, workers=WORKERS):
            begun = monotonic()
            wait_until(lambda: synced(shop), "the first sync ended")
            first = monotonic() - begun
            wait_until(lambda: synced(shop) == ORGANIZATIONS, "each organization was synced")
            took = monotonic() - begun
            wait_until(lambda: not valkey.llen("orders"), "the rest of the messages was taken")
    assert first < took / 2, "the first sync does not wait for the old messages"
    assert shop.execute("SELECT DISTINCT runs FROM backmarket.sync_state WHERE organization_id LIKE 'org %'") == [(1,)]


def synced(shop: Shop) -> int:
    return int(shop.one("SELECT count(last_success_at) FROM backmarket.sync_state WHERE organization_id LIKE 'org %'"))


def test_a_requested_sync_is_sent_though_its_queue_is_full_until_requests_fill_it(shop: Shop) -> None:
    with redis.Redis.from_url(shop.settings.need("redis_url")) as valkey:
        valkey.lpush("orders", *["x"] * QUEUE_FULL)
        request_sync(shop.services.database, "org 7", "orders")
        shop.execute("UPDATE backmarket.sync_state SET nudged_until = NULL")
        dispatch.run()
        assert valkey.llen("orders") == QUEUE_FULL + 1
        assert "org 7" in str(valkey.lindex("orders", 0))
        valkey.lpush("orders", *["x"] * (REQUESTS_FULL - QUEUE_FULL))
        shop.execute("UPDATE backmarket.sync_state SET nudged_until = NULL")
        dispatch.run()
        assert valkey.llen("orders") == REQUESTS_FULL + 1


@pytest.mark.parametrize("kind", messages.WORK_TASKS)
def test_a_full_queue_takes_no_more_work_and_holds_up_no_other_queue(shop: Shop, kind: str) -> None:
    shop.execute(
        "INSERT INTO backmarket.work (organization_id, kind, due_at) SELECT 'org 1', kind, now()"
        " FROM unnest(%s::text[]) AS kind",
        list(messages.WORK_TASKS),
    )
    with redis.Redis.from_url(shop.settings.need("redis_url")) as valkey:
        valkey.lpush(kind, *["x"] * QUEUE_FULL)
        dispatch.run()
        waiting = {each: valkey.llen(each) for each in messages.WORK_TASKS}
    assert waiting == dict.fromkeys(messages.WORK_TASKS, 1) | {kind: QUEUE_FULL}


def test_two_beats_without_a_worker_put_less_than_a_megabyte_into_redis(redis_url: str) -> None:
    beats = []
    for _ in range(2):
        app = Celery(set_as_current=False)
        app.conf.update(celery_settings(redis_url), beat_schedule=TIMETABLE)
        beats.append(MemoryScheduler(app=app))
    with redis.Redis.from_url(redis_url) as valkey:
        for _ in range(20):
            for beat in beats:
                for entry in beat.schedule.values():
                    beat.apply_entry(entry, producer=beat.producer)
        tick = valkey.lindex("labels", 0)
        valkey.lpush("labels", *[tick] * (SHARED_TICKS_FULL - valkey.llen("labels") - 1))
        for beat in beats:
            beat.apply_entry(beat.schedule["sweep bucket"], producer=beat.producer)
        assert (valkey.llen("dispatch"), valkey.llen("labels")) == (TICKS_FULL, SHARED_TICKS_FULL)
        size = sum(valkey.memory_usage(key, samples=0) for key in valkey.scan_iter() if valkey.type(key) == b"list")
        assert size < 1e6
        valkey.delete("dispatch")
        beats[0].apply_entry(beats[0].schedule["dispatch"], producer=beats[0].producer)
        assert valkey.llen("dispatch") == 1, "beat ticks again once a worker has taken what waited"
    for beat in beats:
        beat.connection.close()
        beat.app.close()


def test_a_beat_whose_broker_refuses_to_write_goes_on_and_sends_once_it_may(redis_url: str) -> None:
    app = Celery(set_as_current=False)
    app.conf.update(celery_settings(redis_url), beat_schedule=TIMETABLE)
    beat = MemoryScheduler(app=app)
    with redis.Redis.from_url(redis_url) as valkey:
        valkey.config_set("min-replicas-to-write", 1)  # as with a full disk
        try:
            for _ in range(2):
                for entry in beat.schedule.values():
                    beat.apply_entry(entry, producer=beat.producer)
        finally:
            valkey.config_set("min-replicas-to-write", 0)
        for entry in beat.schedule.values():
            beat.apply_entry(entry, producer=beat.producer)
        assert valkey.llen("dispatch") > 0
    beat.connection.close()
    app.close()
