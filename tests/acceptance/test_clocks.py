"""Every process of a fleet two hours off, each to another side: everything goes on, and each clock is named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backmarket import BackMarket
from backmarket.database import clocks
from backmarket.doctor import work
from backmarket.settings import Settings
from backmarket.standalone.fleet import Fleet
from backmarket.standalone.pools import FLEET
from chaos.clocks import Clock
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop, environment
from tests.support.waiting import wait_until

ORG = "auth0|1"
HOURS_SECONDS = 7200
RESOURCES = ("orders", "listings", "deliveries", "returns")


@pytest.fixture
def shop(settings: Settings) -> Iterator[Shop]:
    with fresh_sandbox(limit=100_000) as sandbox:
        shop = Shop(settings.model_copy(update={"rate_limit": 100_000}), sandbox.control, RESOURCES)
        yield shop
        shop.services.close()


@pytest.mark.slow
@pytest.mark.parametrize("first", [1, -1])
def test_two_hours_off_nothing_stops(shop: Shop, tmp_path: Path, first: int) -> None:
    """Dispatcher and beat are off to one side, the other workers in turn to the other and to the same."""
    shop.sell(ORG, orders=60, listings=20, deliveries=2, returns=1)
    shop.every(2)
    off = {"dispatch": first, "sync": -first, "work": first, "beat": -first}
    clocks_of = {name: Clock(tmp_path / f"{name}.clock") for name in off}
    for name, side in off.items():
        assert clocks_of[name].works
        clocks_of[name].set(side * HOURS_SECONDS)
    with Fleet(environment(shop.settings), directory=tmp_path, workers=(), beat=False) as fleet:
        for pool in FLEET:
            own = clocks_of[pool.name].environment
            fleet.start_worker(pool.queues, pool.name, pool.concurrency, environment=own)
        fleet.start_beat(environment=clocks_of["beat"].environment)
        fleet.wait_ready()
        wait_until(lambda: runs(shop) >= 3, "each list was synced three times")
        with BackMarket(shop.settings) as market:
            listing = shop.sandbox.truth(ORG, "listings")[0]["id"]
            handle = market.update_listing(ORG, listing, quantity=77)
            wait_until(lambda: shop.one("SELECT state FROM backmarket.api_writes") == "succeeded", "the write is over")
            assert handle.wait(0).requests == 1
        shop.sandbox.change(ORG, modify=5)
        before = runs(shop)
        wait_until(lambda: runs(shop) > before + 1, "each was synced again")
        shop.assert_equals_truth(ORG)
        wait_until(lambda: len(clocks.reported(shop.services.database)) >= len(FLEET), "each worker told its clock")
    told = clocks.reported(shop.services.database)
    assert {name.partition("@")[0]: round(ahead / HOURS_SECONDS) for name, ahead in told.items()} == {
        name: side for name, side in off.items() if name != "beat"
    }
    assert [each.check for each in work.look(shop.services)].count("worker clock") == len(FLEET)


def runs(shop: Shop) -> int:
    """The syncs of the list that was synced least."""
    return int(shop.one("SELECT min(runs) FROM backmarket.sync_state"))
