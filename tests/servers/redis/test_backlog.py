"""Ten thousand organizations, and six hours in which no worker takes a message: what Redis holds, who is synced then.

No hour is waited for: the rows and ticks of each minute are what they would be by then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import pytest
import redis
from celery import Celery

from backmarket import messages, services
from backmarket.messages import NUDGE_SECONDS, QUEUE_FULL, REQUESTS_FULL, SHARED_TICKS_FULL, TICKS_FULL
from backmarket.producer import celery_settings
from backmarket.settings import Settings
from backmarket.standalone.fleet import Fleet
from backmarket.standalone.pools import Pool
from backmarket.sync.requests import CLAIM
from tasks.dispatch import dispatch
from tests.servers.redis.server import RedisServer
from tests.servers.redis.town import opened_shop
from tests.support.sellers import Shop, environment
from tests.support.waiting import PATIENCE_SECONDS, wait_until
from workers.celery_overrides.scheduler import MemoryScheduler
from workers.timetable import TIMETABLE

ORGANIZATIONS = 10_000
HOURS = 6
WITHOUT_WORKER_BYTES = 50e6
WITHOUT_DISPATCHER_BYTES = 1e6
DISPATCH = Pool("dispatch", ("dispatch",), 1)
SYNC = Pool("sync", ("orders",))

_CONNECT = """
INSERT INTO backmarket.connections (organization_id, api_key, account, environment, region, locale, base_url)
SELECT 'org ' || n, api_key, account, environment, region, locale, base_url
FROM backmarket.connections, generate_series(1, %s) AS n WHERE organization_id NOT LIKE 'org %%'
"""
_DUE = """
INSERT INTO backmarket.sync_state (organization_id, resource, next_due_at, requested, watermark, last_success_at,
    last_full_walk_at, full_walk_due_at)
SELECT 'org ' || n, resource, now() - interval '6 hours' + n * interval '1 ms', %s, now() - interval '7 hours',
    now() - interval '7 hours', now() - interval '7 hours', now() + interval '1 day'
FROM generate_series(1, %s) AS n, unnest(%s::text[]) AS resource
"""
_WORK = """
INSERT INTO backmarket.work (organization_id, kind, due_at)
SELECT 'org ' || n, kind, now() FROM generate_series(1, %s) AS n, unnest(%s::text[]) AS kind
"""
_A_MINUTE_LATER = f"""
UPDATE backmarket.{{}} SET nudged_until = nudged_until - interval '{NUDGE_SECONDS} s' WHERE nudged_until > now()
"""
_SYNCED_SINCE = "last_success_at > now() - interval '6 hours'"
_SYNCED = "FROM backmarket.sync_state WHERE organization_id LIKE 'org %' AND resource = 'orders'"


@dataclass
class Backlog:
    """Organizations that are due, a dispatcher in this process, and a Redis of their own."""

    shop: Shop
    redis: redis.Redis

    @property
    def used(self) -> int:
        """Bytes that Redis says it uses."""
        return int(self.redis.info("memory")["used_memory"])

    def waiting(self) -> dict[str, int]:
        """Messages in each queue."""
        return {queue: self.redis.llen(queue) for queue in sorted({*messages.QUEUES.values()})}

    def minute(self) -> None:
        """The dispatcher ticks until it claims nothing more, and a minute is over."""
        before = None
        while before != (before := self.waiting()):
            dispatch.run()
        for table in ("sync_state", "work"):
            self.shop.execute(_A_MINUTE_LATER.format(table))

    def synced(self) -> int:
        """Organizations whose orders were synced."""
        return int(self.shop.one(f"SELECT count(*) {_SYNCED} AND {_SYNCED_SINCE}"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def backlog(server: RedisServer, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backlog]:
    with opened_shop(settings, orders=3, redis_url=server.url()) as shop, server.client() as client:
        shop.sync("auth0|1")
        shop.every(300_000_000)
        shop.execute(_CONNECT, ORGANIZATIONS)
        monkeypatch.setattr(services, "current", lambda: shop.services)
        yield Backlog(shop, client)


@pytest.mark.parametrize("requested", [0, 1], ids=["scheduled", "requested"])
def test_without_a_worker_redis_grows_by_less_than_50_megabytes(
    backlog: Backlog, requested: int, record_property: Callable[[str, object], None]
) -> None:
    """All four resources and all other work of all organizations is due; or a person has requested every sync, too."""
    kinds = sorted(messages.WORK_TASKS)
    backlog.shop.execute(_DUE, requested, ORGANIZATIONS, sorted(messages.SYNC_TASKS))
    backlog.shop.execute(_WORK, ORGANIZATIONS, kinds)
    before = backlog.used
    for _ in range(HOURS * 60):
        backlog.minute()
    grown, waiting = backlog.used - before, backlog.waiting()
    record_property("MB", f"{before / 1e6:.1f} before, {grown / 1e6:+.1f}")
    record_property("messages", waiting)
    assert 0 < grown < WITHOUT_WORKER_BYTES
    full = REQUESTS_FULL if requested else QUEUE_FULL
    assert all(full <= waiting[name] < full + CLAIM for name in messages.SYNC_TASKS)
    assert all(waiting[name] < QUEUE_FULL + CLAIM for name in kinds)


def test_a_worker_that_comes_back_syncs_at_once_and_each_organization_once(
    backlog: Backlog, record_property: Callable[[str, object], None], tmp_path: Path
) -> None:
    shop = backlog.shop
    shop.execute(_DUE, 0, ORGANIZATIONS, ["orders"])
    for _ in range(HOURS * 60):
        backlog.minute()
    waiting = backlog.waiting()["orders"]
    asked = sum(each.requests for each in shop.sandbox.stats().sellers.values())
    with Fleet(environment(shop.settings), directory=tmp_path / "dispatch", workers=(DISPATCH,)) as dispatcher:
        dispatcher.wait_ready(PATIENCE_SECONDS)
        with Fleet(environment(shop.settings), directory=tmp_path / "sync", workers=(SYNC,), beat=False) as fleet:
            fleet.wait_ready(PATIENCE_SECONDS)
            begun = monotonic()
            wait_until(backlog.synced, "the first sync ended")
            first, left = monotonic() - begun, backlog.waiting()["orders"]
            all_are_synced(backlog)
            took = monotonic() - begun
            wait_until(lambda: not backlog.waiting()["orders"], "the rest of the messages was taken")
            rest = monotonic() - begun - took
            assert fleet.died + dispatcher.died == []
    late = displaced(shop)
    asked = sum(each.requests for each in shop.sandbox.stats().sellers.values()) - asked
    rate = ORGANIZATIONS / took
    record_property("seconds", f"first sync {first:.1f}, all {took:.0f} ({rate:.0f} a second), rest {rest:.1f}")
    record_property("messages", f"{waiting} waited, {left} were left at the first sync")
    record_property("places later than by due time", f"{sorted(late)[len(late) // 2]} (median), {max(late)} (most)")
    record_property("requests", asked)
    assert shop.execute(f"SELECT DISTINCT runs {_SYNCED}") == [(1,)], "each was synced once"
    assert left > waiting - CLAIM, "the first sync does not wait for the old messages"
    assert max(late) <= QUEUE_FULL + CLAIM, "who was due first is synced first"


def all_are_synced(backlog: Backlog) -> None:
    """Wait for as long as syncs end: for all of them."""
    done = 0
    while done < ORGANIZATIONS:
        wait_until(lambda done=done: backlog.synced() > done, "another organization is synced")  # type: ignore[misc]
        done = backlog.synced()


def displaced(shop: Shop) -> list[int]:
    """By how many places each organization was synced later than in the order in which they fell due."""
    ended = shop.execute(f"SELECT substr(organization_id, 5)::int {_SYNCED} ORDER BY last_success_at")
    return [max(0, place - number) for place, (number,) in enumerate(ended, start=1)]


def test_without_a_dispatcher_two_beats_leave_less_than_a_megabyte(
    server: RedisServer, record_property: Callable[[str, object], None]
) -> None:
    """Every tick of six hours, of two beats."""
    with server.client() as client:
        beats = [beat_of(server.url()) for _ in range(2)]
        before = int(client.info("memory")["used_memory"])
        for second in range(HOURS * 3600):
            for beat in beats:
                for entry in beat.schedule.values():
                    if second % entry.schedule.run_every.total_seconds() == 0:
                        beat.apply_entry(entry, producer=beat.producer)
        grown = int(client.info("memory")["used_memory"]) - before
        waiting = {key: client.llen(key) for key in client.scan_iter() if client.type(key) == "list"}
        for beat in beats:
            with closing(beat.connection):
                beat.app.close()
    record_property("MB", f"{before / 1e6:.1f} before, {grown / 1e6:+.2f}")
    record_property("messages", waiting)
    assert 0 < grown < WITHOUT_DISPATCHER_BYTES
    assert waiting.pop("dispatch") <= TICKS_FULL + 2
    assert all(number <= SHARED_TICKS_FULL + 2 for number in waiting.values())


def beat_of(url: str) -> MemoryScheduler:
    """A beat as it runs, but for its clock."""
    app = Celery(set_as_current=False)
    app.conf.update(celery_settings(url), beat_schedule=TIMETABLE)
    return MemoryScheduler(app=app)
