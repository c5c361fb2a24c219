"""Sentinel behind one address: the primary dies or hands over in the middle of work."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic

import pytest
import redis

from backmarket.settings import Settings
from backmarket.standalone.embedded.ports import free_ports
from tests.servers.redis.server import RedisServer
from tests.servers.redis.town import ORG, goes_on, opened_shop, running
from tests.support.switch import Switch
from tests.support.waiting import wait_until

DOCS = Path(__file__).parents[3] / "docs" / "operations.md"
QUORUM = 2
LOGIN = ("requirepass word", "masterauth word")
FOLLOWS_WITHIN = 30.0


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[RedisServer, RedisServer]]:
    """A primary and its replica."""
    with (
        RedisServer(tmp_path / "a", *LOGIN) as first,
        RedisServer(tmp_path / "b", *LOGIN, f"replicaof 127.0.0.1 {first.port}") as second,
    ):
        with second.client(password="word") as client:
            wait_until(lambda: client.info("replication")["master_link_status"] == "up", "the replica follows")
        yield first, second


@pytest.fixture
def sentinels(pair: tuple[RedisServer, RedisServer], tmp_path: Path) -> Iterator[RedisServer]:
    """Three that watch the pair; one of them."""
    watch = (
        f"sentinel monitor mymaster 127.0.0.1 {pair[0].port} {QUORUM}",
        "sentinel auth-pass mymaster word",
        "sentinel down-after-milliseconds mymaster 1000",
        "sentinel failover-timeout mymaster 5000",
    )
    with ExitStack() as stack:
        found = []
        for number in range(3):
            found.append(RedisServer(tmp_path / f"sentinel{number}", *watch, sentinel=True))
            found[-1].start("--sentinel")
            stack.callback(found[-1].kill)
        with found[0].client() as client:
            wait_until(lambda: int(client.sentinel_master("mymaster")["num-other-sentinels"]) == 2, "they know another")
            wait_until(lambda: int(client.sentinel_master("mymaster")["num-slaves"]) == 1, "they know the replica")
        yield found[0]


@contextmanager
def haproxy(directory: Path, pair: tuple[RedisServer, RedisServer]) -> Iterator[int]:
    """HAProxy with the configuration of the documents; the port of its one address."""
    (text,) = re.findall(r"```haproxy\n(.*?)```", DOCS.read_text(), re.DOTALL)
    port = free_ports(1)[0]
    for documented, ours in (
        ("*:6379", f"127.0.0.1:{port}"),
        ("redis-a:6379", f"127.0.0.1:{pair[0].port}"),
        ("redis-b:6379", f"127.0.0.1:{pair[1].port}"),
        ("PASSWORD", "word"),
    ):
        assert documented in text
        text = text.replace(documented, ours)
    (directory / "haproxy.cfg").write_text(text)
    program = shutil.which("haproxy", path="/usr/sbin:/usr/bin")
    assert program, "Debian's package haproxy is not installed"
    with (directory / "haproxy.log").open("wb") as log:
        process = subprocess.Popen([program, "-db", "-f", directory / "haproxy.cfg"], stdout=log, stderr=log)
    try:
        yield port
    finally:
        process.terminate()
        process.wait()


def test_work_goes_on_after_a_crash_and_after_a_planned_failover(
    pair: tuple[RedisServer, RedisServer],
    sentinels: RedisServer,
    settings: Settings,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    with haproxy(tmp_path, pair) as port, sentinels.client() as sentinel:
        url = f"redis://:word@127.0.0.1:{port}/0"
        wait_until(lambda: _leads(url), "HAProxy knows the primary")
        with opened_shop(settings, limit=20, redis_url=url) as shop, running(shop, tmp_path / "fleet"):
            goes_on(shop, "before")
            began = monotonic()
            pair[0].kill()
            wait_until(lambda: sentinel.sentinel_master("mymaster")["port"] == pair[1].port, "the replica leads")
            led = monotonic() - began
            goes_on(shop, "after the crash")
            record_property(
                "primary killed", f"promoted after {led:.1f} s, two syncs after {monotonic() - began:.1f} s"
            )
            assert monotonic() - began - led < FOLLOWS_WITHIN
            pair[0].start()
            with pair[0].client(password="word") as old:
                wait_until(lambda: old.info("replication").get("master_link_status") == "up", "the old one follows")
            began = monotonic()
            sentinel.execute_command("SENTINEL", "FAILOVER", "mymaster")
            wait_until(lambda: sentinel.sentinel_master("mymaster")["port"] == pair[0].port, "the old one leads again")
            goes_on(shop, "after the planned failover")
            record_property("handed over", f"two syncs after {monotonic() - began:.1f} s")
            shop.sandbox.change(ORG, modify=5)
            goes_on(shop, "and brings what has changed")
            assert shop.sandbox.stats().violations == 0, "the limiter's window survived both"


def _leads(url: str) -> bool:
    """Whether the address leads to the primary alone: HAProxy takes each for one until its first check failed."""
    try:
        for _ in range(10):
            with redis.Redis.from_url(url) as client:
                if client.role()[0] not in {b"master", "master"}:
                    return False
    except redis.RedisError:
        return False
    return True


def test_work_goes_on_where_the_old_primary_keeps_its_connections(
    pair: tuple[RedisServer, RedisServer], settings: Settings, tmp_path: Path
) -> None:
    with Switch(pair[0].port) as switch:
        url = f"redis://:word@127.0.0.1:{switch.port}/0"
        with (
            opened_shop(settings, redis_url=url) as shop,
            running(shop, tmp_path / "fleet"),
            pair[0].client(password="word") as old,
            pair[1].client(password="word") as new,
        ):
            goes_on(shop, "before")
            new.execute_command("REPLICAOF", "NO", "ONE")
            old.execute_command("REPLICAOF", "127.0.0.1", str(pair[1].port))
            switch.target = pair[1].port
            goes_on(shop, "after the roles were changed by hand")
