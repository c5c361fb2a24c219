"""A failover by hand in the middle of work: the old primary keeps its connections, and the address leads elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backmarket.settings import Settings
from tests.servers.redis.server import RedisServer
from tests.servers.redis.town import goes_on, opened_shop, running
from tests.support.switch import Switch
from tests.support.waiting import wait_until

LOGIN = ("requirepass word", "masterauth word")


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
