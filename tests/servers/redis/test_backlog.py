"""10,000 organizations and no worker for six hours: Redis hardly grows, and a worker that returns works at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from time import monotonic

import pytest
import redis
from celery import Celery

from backmarket import services
from backmarket.messages import NUDGE_SECONDS, QUEUE_FULL
from backmarket.producer import celery_settings
from backmarket.settings import Settings
from backmarket.standalone.fleet import Fleet, Pool
from backmarket.sync.requests import CLAIM
from tasks.dispatch import dispatch
from tests.servers.redis.server import RedisServer
from tests.servers.redis.town import ORG, opened_shop
from tests.support.sellers import Shop, environment
from tests.support.waiting import wait_until
from workers.celery_overrides.scheduler import MemoryScheduler
from workers.timetable import TIMETABLE

ORGANIZATIONS = 10_000
MINUTES = 360
MEGABYTES = 50
FIRST_SYNC_SECONDS = 5.0
WORKERS = (Pool("dispatch", ("dispatch",), 1), Pool("sync", ("orders",)))

_CONNECT = """
INSERT INTO backmarket.connections (organization_id, api_key, account, environment, region, locale, base_url)
SELECT 'org ' || n, api_key, account, environment, region, locale, base_url
FROM backmarket.connections, generate_series(1, %s) AS n WHERE organization_id NOT LIKE 'org %%'
"""
_DUE = """
INSERT INTO backmarket.sync_state (organization_id, resource)
SELECT 'org ' || n, resource FROM generate_series(1, %s) AS n, backmarket.schedule
"""
_A_MINUTE_LATER = f"""
UPDATE backmarket.sync_state SET nudged_until = nudged_until - interval '{NUDGE_SECONDS} s' WHERE nudged_until > now()
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def shop(server: RedisServer, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    with opened_shop(settings, orders=3, redis_url=server.url()) as shop:
        shop.sync(ORG)
        shop.every(300_000_000)
        shop.execute(_CONNECT, ORGANIZATIONS)
        shop.execute(_DUE, ORGANIZATIONS)
        monkeypatch.setattr(services, "current", lambda: shop.services)
        yield shop


def test_six_hours_without_a_sync_worker(
    shop: Shop, server: RedisServer, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with server.client() as admin:
        before = used(admin)
        for _ in range(MINUTES):
            for _ in range(QUEUE_FULL // CLAIM + 1):
                dispatch.run()
            shop.execute(_A_MINUTE_LATER)
        grown = used(admin) - before
        waiting = {name: admin.llen(name) for name in ("orders", "listings", "deliveries", "returns")}
        record_property(f"{MINUTES} minutes, {ORGANIZATIONS} organizations", f"{grown / 1e6:.1f} MB, {waiting}")
        assert grown < MEGABYTES * 1e6
        began = monotonic()
        with Fleet(environment(shop.settings), directory=tmp_path / "fleet", workers=WORKERS) as fleet:
            fleet.wait_ready()
            ready = monotonic()
            wait_until(lambda: synced(shop), "the first sync ended")
            first = monotonic() - ready
            for tenths in range(1, 11):
                wait_until(partial(synced_at_least, shop, ORGANIZATIONS * tenths // 10), f"{tenths} tenths were synced")
            took = monotonic() - ready
            wait_until(lambda: not admin.llen("orders"), "the rest of the messages was taken")
        record_property("first sync", f"{first:.1f} s after the start took {ready - began:.1f} s; all in {took:.0f} s")
        assert first < FIRST_SYNC_SECONDS
    runs = "SELECT DISTINCT runs FROM backmarket.sync_state WHERE organization_id LIKE 'org %' AND resource = 'orders'"
    assert shop.execute(runs) == [(1,)]


def synced(shop: Shop) -> int:
    count = "SELECT count(last_success_at) FROM backmarket.sync_state WHERE organization_id LIKE 'org %'"
    return int(shop.one(f"{count} AND resource = 'orders'"))


def synced_at_least(shop: Shop, count: int) -> bool:
    return synced(shop) >= count


def used(admin: redis.Redis) -> int:
    return int(admin.info("memory")["used_memory"])


def test_two_beats_and_no_dispatch_worker_for_six_hours(
    server: RedisServer, record_property: Callable[[str, object], None]
) -> None:
    with server.client() as admin:
        beats = []
        for _ in range(2):
            app = Celery(set_as_current=False)
            app.conf.update(celery_settings(server.url()), beat_schedule=TIMETABLE)
            beats.append(MemoryScheduler(app=app))
            beats[-1].apply_entry(beats[-1].schedule["dispatch"], producer=beats[-1].producer)
        before, ticks = used(admin), 0
        for second in range(6 * 3600):
            for beat in beats:
                for entry in beat.schedule.values():
                    if second % int(entry.schedule.seconds) == 0:
                        beat.apply_entry(entry, producer=beat.producer)
                        ticks += 1
        grown = used(admin) - before
        record_property(f"two beats, six hours, {ticks} ticks", f"{grown / 1e6:.2f} MB")
        assert grown < 1e6
        for beat in beats:
            beat.connection.close()
            beat.app.close()
