"""Everything is killed again and again while it works, and Redis emptied: each line arrives once all the same."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import pytest
import redis

from backmarket import BackMarket
from backmarket.settings import Settings
from backmarket.standalone.fleet import Fleet
from backmarket.standalone.pools import Pool
from tests.support.large_file import LIMIT, LINES, WINDOW, LargeFile
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop, environment
from tests.support.waiting import wait_until

ORG = "auth0|1"
BETWEEN_KILLS = 3.0
KILLS = 8
STRUCK_ON_PURPOSE = 4
"""The part of whose request the first kill is an interruption; the quota is used up after it for a while anyhow."""
WORKERS = (Pool("dispatch", ("dispatch",), 1), Pool("bulk", ("bulk",), 4))


@pytest.fixture
def shop(settings: Settings) -> Iterator[Shop]:
    with fresh_sandbox(limit=100_000) as sandbox:
        quick = {
            "rate_limit": 100_000,
            "rate_window": 1.0,
            "request_deadline": 5.0,
            "lease_seconds": 5.0,
            "bulk_settle_after": 1.0,
            "bulk_poll_initial_seconds": 0.5,
            "bulk_poll_max_seconds": 1.0,
            "sku_lines_limit": LIMIT,
            "sku_lines_window": WINDOW,
        }
        shop = Shop(settings.model_copy(update=quick), sandbox.control, ("listings",))
        yield shop
        shop.services.close()


@dataclass
class Killer:
    """Kills all workers and beat at once, starts them again, lets them work for three seconds at least, and so on.

    Some work is done between two kills, however slow the machine is: else the job would never end.

    Attributes:
        kills: how many there were.
        struck: how many of them left a part that says `submitting`.
        emptied: how often Redis was emptied.
    """

    shop: Shop
    fleet: Fleet
    kills: int = 0
    struck: int = 0
    emptied: int = 0
    at: float = field(default_factory=lambda: monotonic() + BETWEEN_KILLS)
    seen: object = None

    def due(self) -> bool:
        """Whether it is time for a kill, or the part is under way that is to be struck."""
        if not self.struck and self.submitting(STRUCK_ON_PURPOSE):
            return True
        return self.kills < KILLS and monotonic() >= self.at and self.states() != self.seen

    def kill(self) -> None:
        """Kill everything, and start it again."""
        names = list(self.fleet.pids)
        for name in names:
            self.fleet.kill(name, signal.SIGKILL)
        self.kills += 1
        self.struck += self.submitting() > 0
        if self.kills in {2, 4}:
            self.empty_redis()
        for name in names:
            self.fleet.restart(name)
        self.fleet.wait_ready()
        self.at = monotonic() + BETWEEN_KILLS
        self.seen = self.states()

    def states(self) -> list[tuple[object, ...]]:
        """How far the parts are."""
        return self.shop.execute("SELECT state, count(*) FROM backmarket.bulk_parts GROUP BY 1 ORDER BY 1")

    def submitting(self, least: int = 1) -> int:
        """Parts that are under way, from this number on."""
        statement = "SELECT count(*) FROM backmarket.bulk_parts WHERE state = 'submitting' AND number >= %s"
        return int(self.shop.one(statement, least))

    def empty_redis(self) -> None:
        """All messages, and the limiter's memory, are gone."""
        with redis.Redis.from_url(self.shop.settings.need("redis_url")) as client:
            client.flushdb()
        self.emptied += 1


@pytest.mark.slow
def test_each_line_arrives_once_whatever_is_killed(shop: Shop, tmp_path: Path) -> None:
    shop.sandbox.settings(sku_lines_limit=LIMIT, sku_lines_window=WINDOW, task_delay=0.5)
    shop.sell(ORG, listings=LINES)
    shop.sync(ORG, "listings")
    shop.execute("UPDATE backmarket.schedule SET enabled = false")
    file = LargeFile.of(shop, ORG)
    shop.sandbox.add_fault("slow", operation="listings.bulk", seconds=0.5)
    with (
        Fleet(environment(shop.settings), directory=tmp_path, workers=WORKERS) as fleet,
        BackMarket(shop.settings) as bm,
    ):
        fleet.wait_ready()
        began = monotonic()
        handle = bm.create_or_update_listings(ORG, file.text)
        killer = Killer(shop, fleet)

        def over() -> bool:
            return handle.status().ended_at is not None

        while not over():
            wait_until(lambda: over() or killer.due(), "the job ended, or went on")
            if not over():
                killer.kill()
        took = monotonic() - began
    told = f"{killer.kills} kills, {killer.struck} of a part under way, Redis emptied {killer.emptied} times"
    sys.stderr.write(f"{LINES} lines in {took:.0f} s; {told}\n")
    assert killer.struck >= 1, f"no kill struck a request: {told}"
    assert killer.emptied == 2, told
    file.assert_done_once(shop, ORG, handle)
