"""Beat, a dispatcher and workers as real processes: many sellers at once, each well or with a clear reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backmarket import connections
from backmarket.sandbox.world.fault_rules import FaultKind
from backmarket.settings import Settings
from backmarket.standalone.fleet import Fleet
from backmarket.standalone.pools import Pool
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop, environment
from tests.support.waiting import wait_until

DISPATCH = Pool("dispatch", ("dispatch",), 1)


@pytest.fixture
def shop(settings: Settings) -> Iterator[Shop]:
    with fresh_sandbox() as sandbox:
        shop = Shop(settings, sandbox.control)
        yield shop
        shop.services.close()


def succeeded(shop: Shop) -> int:
    return int(shop.one("SELECT count(*) FROM backmarket.sync_state WHERE last_success_at IS NOT NULL"))


@pytest.mark.slow
def test_fifty_sellers_of_which_two_are_refused(shop: Shop, tmp_path: Path) -> None:
    """48 complete in spite of 5% faulty answers; 2 with a reason on their connection; nobody else delayed by them."""
    names = [f"org|{number}" for number in range(50)]
    for name in names:
        shop.sell(name, orders=300)
    shop.sandbox.patch_seller(names[0], revoked=True)
    shop.sandbox.add_fault("waf_html", seller=names[1])
    shares: dict[FaultKind, float] = {"status": 0.02, "reset": 0.01, "cut": 0.01, "garbage": 0.01}
    for kind, share in shares.items():
        shop.sandbox.add_fault(kind, probability=share, status=502)
    with Fleet(environment(shop.settings), directory=tmp_path, workers=(DISPATCH, Pool("sync", ("orders",)))) as fleet:
        fleet.wait_ready()
        wait_until(lambda: succeeded(shop) == 48, "48 sellers synced")
        assert not fleet.died
    for name in names[2:]:
        shop.assert_equals_truth(name)
        assert connections.get(shop.services.database, name).health == "ok"
    dead, walled = (connections.get(shop.services.database, name) for name in names[:2])
    assert (dead.refused_at is not None, dead.last_error_code) == (True, "unauthorized")
    assert (walled.health, walled.last_error_code) == ("failing", "firewall_blocked")
    assert walled.last_error_cf_ray
    # one of the faulty answers may have come before the refusal
    refused = [entry.fault is None for entry in shop.sandbox.requests() if entry.seller == names[0]]
    assert refused.index(True) >= len(refused) - 2, "a dead token is asked with again by a probe only"
    assert sum(entry.seller == names[1] for entry in shop.sandbox.requests()) <= 2


@pytest.mark.slow
def test_two_organizations_with_one_key_share_its_limit(shop: Shop, tmp_path: Path) -> None:
    """200 requests in 10 s, 150 ms latency, two worker processes: never exceeded (its use: bench/shared_key.py)."""
    shop.sandbox.settings(latency=0.15)
    shop.sandbox.add_seller("seller", "one-token", orders=10_000)
    shop.sandbox.truth("seller")
    workers = (DISPATCH, Pool("sync-1", ("orders",)), Pool("sync-2", ("orders",)))
    with Fleet(environment(shop.settings), directory=tmp_path, workers=workers) as fleet:
        fleet.wait_ready()
        for name in ("a", "b"):
            shop.connect(name, "one-token")
        wait_until(lambda: succeeded(shop) == 2, "both synced")
    stats = shop.sandbox.stats()
    assert stats.violations == 0
    arrivals = [entry.arrival for entry in shop.sandbox.requests() if entry.operation == "orders.list"]
    assert len(arrivals) == 400, "no page was asked for twice"
    assert most_within(arrivals, 10.0) <= 200
    assert shop.execute("SELECT organization_id, count(*) FROM backmarket.orders GROUP BY 1 ORDER BY 1") == [
        ("a", 10_000),
        ("b", 10_000),
    ]


def most_within(arrivals: list[float], window: float) -> int:
    """The most arrivals in any window."""
    most = first = 0
    for last, arrival in enumerate(arrivals):
        while arrivals[first] <= arrival - window:
            first += 1
        most = max(most, last - first + 1)
    return most


@pytest.mark.slow
def test_the_schedule_goes_on_by_itself_and_two_beats_do_no_harm(shop: Shop, tmp_path: Path) -> None:
    shop.every(2)
    shop.sell("a", orders=60)
    with Fleet(environment(shop.settings), directory=tmp_path) as fleet:
        fleet.start_beat("beat-2")
        fleet.wait_ready()
        wait_until(lambda: shop.one("SELECT runs FROM backmarket.sync_state") >= 4, "four runs")
    walks = [entry for entry in shop.sandbox.requests() if entry.operation == "orders.list"]
    began = [entry.arrival for entry in walks if entry.page == 1][1:]
    intervals = (began[-1] - began[0]) / 2
    assert len(began) < intervals + 2, f"once an interval, not twice: {began}"
    assert shop.one("SELECT quiet_runs FROM backmarket.sync_state") >= 3
