"""Three Sentinels, and HAProxy as `docs/deployment.md` has it: the primary is killed in mid-work, and comes back."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import create_connection
from time import monotonic

import pytest
import redis

from backmarket.settings import Settings
from backmarket.standalone.embedded.ports import LOOPBACK, free_ports
from backmarket.sync.requests import request_sync
from tests.servers.redis.server import RedisServer
from tests.servers.redis.town import ORG, goes_on, opened_shop, running
from tests.support.sellers import Shop
from tests.support.waiting import wait_until

DOCS = Path(__file__).parents[3] / "docs" / "deployment.md"
WORD = "word"
LOGIN = (f"requirepass {WORD}", f"masterauth {WORD}")
DOWN_AFTER = 2000
LIMIT = 25
"""Requests in a window: syncs wait for the limiter before, during and after the failover."""
OTHERS = [f"shop-{number}" for number in range(40)]


@dataclass
class Town:
    """What stands on several hosts.

    Attributes:
        servers: two Redis servers, the primary first.
        sentinels: three.
        port: of HAProxy.
    """

    servers: list[RedisServer]
    sentinels: list[RedisServer]
    port: int

    @property
    def url(self) -> str:
        """The one address."""
        return f"redis://:{WORD}@{LOOPBACK}:{self.port}/0"

    def named(self) -> list[int]:
        """The port of the primary, as each Sentinel names it."""
        found = []
        for each in self.sentinels:
            with each.client() as client:
                found.append(int(client.sentinel_get_master_addr_by_name("main")[1]))
        return found

    def role(self, server: RedisServer) -> str:
        """What a server says that it is."""
        with server.client(password=WORD) as client:
            return str(client.info("replication")["role"])


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    with ExitStack() as stack:
        first = stack.enter_context(RedisServer(tmp_path / "first", *LOGIN))
        second = stack.enter_context(RedisServer(tmp_path / "second", *LOGIN, f"replicaof {LOOPBACK} {first.port}"))
        with second.client(password=WORD) as client:
            wait_until(lambda: client.info("replication")["master_link_status"] == "up", "the replica follows")
        sentinels = []
        for name in ("a", "b", "c"):
            sentinel = RedisServer(
                tmp_path / name,
                f"sentinel monitor main {LOOPBACK} {first.port} 2",
                f"sentinel auth-pass main {WORD}",
                f"sentinel down-after-milliseconds main {DOWN_AFTER}",
                "sentinel failover-timeout main 10000",
                sentinel=True,
            )
            stack.callback(sentinel.kill)
            sentinel.start("--sentinel")
            sentinels.append(sentinel)
        found = Town([first, second], sentinels, free_ports(1)[0])
        wait_until(lambda: all(_knows(each) == (1, 2) for each in sentinels), "the Sentinels know each other")
        stack.enter_context(haproxy(found, tmp_path))
        yield found


def _knows(sentinel: RedisServer) -> tuple[int, int]:
    """Replicas and other Sentinels that one knows."""
    with sentinel.client() as client:
        state = client.sentinel_master("main")
    return int(state["num-slaves"]), int(state["num-other-sentinels"])


@contextmanager
def haproxy(town: Town, directory: Path) -> Iterator[None]:
    """HAProxy with the documented lines."""
    configuration = directory / "haproxy.cfg"
    configuration.write_text(documented(town))
    command = [shutil.which("haproxy", path="/usr/sbin:/usr/bin") or "haproxy", "-db", "-f", str(configuration)]
    with (directory / "haproxy.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        wait_until(lambda: _pong(town.port), "HAProxy leads to the primary")
        yield
    finally:
        process.kill()
        process.wait()


def _pong(port: int) -> bool:
    try:
        with create_connection((LOOPBACK, port), timeout=2) as connection:
            connection.sendall(b"PING\r\n")
            return bool(connection.recv(100))
    except OSError:
        return False


def documented(town: Town) -> str:
    """The lines of the documentation, with the addresses of the tests."""
    (lines,) = re.findall(r"```haproxy\n(.*?)```", DOCS.read_text(), re.DOTALL)
    text = str(lines).replace("PASSWORD", WORD).replace("10.0.0.9:6379", f"{LOOPBACK}:{town.port}")
    for number, server in enumerate(town.servers, start=1):
        text = text.replace(f"10.0.0.{number}:6379", f"{LOOPBACK}:{server.port}")
        text = text.replace(f"expect string 10.0.0.{number}\n", f"expect string {server.port}\n")
    for number, sentinel in enumerate(town.sentinels, start=1):
        text = text.replace(f"10.0.0.{number}:26379", f"{LOOPBACK}:{sentinel.port}")
    return text


def test_nothing_is_lost_when_the_primary_is_killed_and_comes_back(
    town: Town, settings: Settings, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    old, new = town.servers
    with opened_shop(settings, limit=LIMIT, orders=600, redis_url=town.url) as shop:
        for name in OTHERS:
            shop.sell(name, orders=3)
        with running(shop, tmp_path / "fleet"):
            goes_on(shop, "before")
            request_all(shop)
            old.kill()
            killed = monotonic()
            wait_until(lambda: town.named() == [new.port] * 3, "all Sentinels name the replica")
            named = monotonic() - killed
            goes_on(shop, "at the new primary")
            record_property("seconds from the kill", f"named {named:.1f}, two syncs {monotonic() - killed:.1f}")
            wait_until(lambda: served(shop), "each request from before is served")
            record_property("seconds until all requests were served", round(monotonic() - killed))
            request_all(shop)
            old.start()
            wait_until(lambda: town.role(old) == "slave", "Sentinel makes a replica of it")
            assert town.named() == [new.port] * 3
            wait_until(lambda: served(shop), "each request from while it came back is served")
            goes_on(shop, "after it came back")
        shop.every(3_000_000)
        shop.assert_equals_truth(ORG)
        for name in OTHERS:
            shop.assert_equals_truth(name)
        sellers = shop.sandbox.stats().sellers.values()
        record_property("requests", sum(each.requests for each in sellers))
        record_property("requests above the limit", sum(each.violations for each in sellers))
    with old.client(password=WORD) as client, pytest.raises(redis.ReadOnlyError):
        client.set("x", 1)


def request_all(shop: Shop) -> None:
    """Request a sync of every organization, whose messages lie at the primary of this moment."""
    for name in (ORG, *OTHERS):
        request_sync(shop.services.database, name, "orders")


def served(shop: Shop) -> bool:
    """Whether every request has been."""
    return bool(shop.one("SELECT bool_and(served = requested) FROM backmarket.sync_state"))
