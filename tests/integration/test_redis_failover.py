"""A failover that cuts no connection: the old primary answers on as a replica, and the address leads elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import pytest
import redis
from celery import Celery

from backmarket.limits.shared import SharedLimiter
from backmarket.messages import Nudge
from backmarket.producer import Producer, celery_settings
from backmarket.standalone.embedded.valkey import Valkey
from tests.support.switch import Switch
from workers.celery_overrides.scheduler import MemoryScheduler
from workers.timetable import TIMETABLE

Failover = Callable[[], redis.Redis]


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[Valkey, Valkey]]:
    both = []
    try:
        for name in ("old", "new"):
            (tmp_path / name).mkdir()
            both.append(Valkey(tmp_path / name, durable=False))
            both[-1]._password = "word"
            both[-1].start()
        yield both[0], both[1]
    finally:
        for server in both:
            server.kill()


@pytest.fixture
def switch(servers: tuple[Valkey, Valkey]) -> Iterator[Switch]:
    with Switch(port(servers[0])) as switch:
        yield switch


@pytest.fixture
def url(switch: Switch) -> str:
    return f"redis://:word@127.0.0.1:{switch.port}/0"


@pytest.fixture
def fail_over(switch: Switch, servers: tuple[Valkey, Valkey]) -> Iterator[Failover]:
    """Gives a client of the new primary."""
    old, new = servers
    with redis.Redis.from_url(old.url) as before, redis.Redis.from_url(new.url) as after:

        def move() -> redis.Redis:
            before.execute_command("REPLICAOF", "127.0.0.1", str(port(new)))
            switch.target = port(new)
            return cast(redis.Redis, after)

        yield move


def port(server: Valkey) -> int:
    return urlsplit(server.url).port or 0


def test_the_limiter_grants_at_the_new_primary(url: str, fail_over: Failover) -> None:
    limiter = SharedLimiter(url, limit=5, window=60, sensitive_limit=5, deadline=1)
    limiter.skip_recovery()
    assert limiter.acquire("account").slots
    fail_over()
    assert limiter.acquire("account").blocked, "it is new, and nobody knows what was sent before"
    limiter.skip_recovery()
    assert limiter.acquire("account").slots


def test_a_host_applications_message_arrives_at_the_new_primary(url: str, fail_over: Failover) -> None:
    producer = Producer(url)
    assert producer.nudge([Nudge("orders", "shop")]) == 1
    after = fail_over()
    assert producer.nudge([Nudge("orders", "shop")]) == 1
    assert after.llen("orders") == 1
    producer.close()


def test_beat_ticks_at_the_new_primary(url: str, fail_over: Failover) -> None:
    app = Celery(set_as_current=False)
    app.conf.update(celery_settings(url), beat_schedule=TIMETABLE)
    beat = MemoryScheduler(app=app)
    beat.apply_entry(beat.schedule["dispatch"], producer=beat.producer)
    after = fail_over()
    beat.apply_entry(beat.schedule["dispatch"], producer=beat.producer)
    assert after.llen("dispatch") == 1
    beat.connection.close()
    app.close()
