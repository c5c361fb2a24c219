"""The primary's host vanishes without a word, and its address leads to the new one: no connection is ever told.

In a network of the tests' own (`tests.servers.network`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import monotonic

from backmarket.settings import Settings
from tests.servers.network import come_back, lead, vanish
from tests.servers.redis.server import RedisServer
from tests.servers.redis.town import ORG, goes_on, opened_shop, running
from tests.support.waiting import wait_until

SOON_SECONDS = 30.0
"""Until work goes on, from the moment at which the new primary is there."""
HOST, ADDRESS, PORT = "127.0.0.2", "127.0.0.9", 6379
LAST = "SELECT max(last_success_at) FROM backmarket.sync_state"
LOGIN = ("requirepass word", "masterauth word")


def test_work_goes_on_soon_after_the_new_primary_is_there(
    settings: Settings, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    come_back()
    with (
        RedisServer(tmp_path / "old", *LOGIN, host=HOST) as old,
        RedisServer(tmp_path / "new", *LOGIN, f"replicaof {HOST} {old.port}") as new,
        new.client(password="word") as client,
    ):
        wait_until(lambda: client.info("replication")["master_link_status"] == "up", "the replica follows")
        lead(ADDRESS, PORT, (HOST, old.port))
        with (
            opened_shop(settings, redis_url=f"redis://:word@{ADDRESS}:{PORT}/0") as shop,
            running(shop, tmp_path / "fleet"),
        ):
            goes_on(shop, "before")
            vanish(HOST)
            client.execute_command("REPLICAOF", "NO", "ONE")
            lead(ADDRESS, PORT, (new.host, new.port))
            there = monotonic()
            before = shop.one("SELECT max(last_success_at) FROM backmarket.sync_state")
            wait_until(
                lambda: shop.one("SELECT max(last_success_at) FROM backmarket.sync_state") != before, "a sync ends"
            )
            took = monotonic() - there
            goes_on(shop, "at the new primary")
            record_property("seconds until work went on", round(took, 1))
            shop.every(3_000_000)
            shop.assert_equals_truth(ORG)
    assert took <= SOON_SECONDS
