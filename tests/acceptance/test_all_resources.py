"""Twenty organizations with all that they have, under faults and while it changes: the tables come to be right."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from time import sleep

import pytest

from backmarket.resources import RESOURCES
from backmarket.sandbox.world.fault_rules import FaultKind
from backmarket.settings import Settings
from backmarket.standalone.fleet import Fleet
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop, environment
from tests.support.waiting import wait_until

ORGANIZATIONS = [f"auth0|{number}" for number in range(20)]
FAULTS: tuple[FaultKind, ...] = ("status", "reset", "cut", "garbage")
"""Half a percent each: 502, a reset connection, half an answer, HTML where JSON should be."""


@pytest.fixture
def shop(settings: Settings) -> Iterator[Shop]:
    with fresh_sandbox() as sandbox:
        shop = Shop(settings, sandbox.control, tuple(RESOURCES))
        yield shop
        shop.services.close()


def equal(shop: Shop, organization: str) -> bool:
    with suppress(AssertionError):
        shop.assert_equals_truth(organization)
        for name in ("listings", "deliveries", "returns"):
            shop.assert_rows_equal_truth(organization, name)
        return True
    return False


@pytest.mark.slow
def test_every_table_comes_to_equal_the_truth(shop: Shop, tmp_path: Path) -> None:
    dice = Random(3)
    for kind in FAULTS:
        shop.sandbox.add_fault(kind, probability=0.005)
    for organization in ORGANIZATIONS:
        shop.sell(organization, orders=120, listings=110, deliveries=50, returns=30)
    shop.execute("UPDATE backmarket.schedule SET interval_seconds = 3, full_interval_seconds = 8")
    removed: list[str] = []
    with Fleet(environment(shop.settings), directory=tmp_path) as fleet:
        fleet.wait_ready()
        wait_until(lambda: shop.one("SELECT count(*) FROM backmarket.listings") > 1000, "the first syncs are under way")
        for _ in range(60):  # in the midst of it
            organization = dice.choice(ORGANIZATIONS)
            shop.sandbox.change(organization, modify=3, add=1, hide=dice.randrange(2))
            gone = shop.sandbox.change(organization, resource="listings", modify=3, add=1, remove=1).removed
            removed += map(str, gone)
            for resource in ("deliveries", "returns"):
                shop.sandbox.change(organization, resource=resource, modify=3, add=1)
            sleep(0.1)
        for organization in ORGANIZATIONS:
            wait_until(lambda name=organization: equal(shop, name), f"{organization} equals the truth")  # type: ignore[misc]
    marked = {
        key for (key,) in shop.execute("SELECT listing_id::text FROM backmarket.listings WHERE removed_at IS NOT NULL")
    }
    stored = {key for (key,) in shop.execute("SELECT listing_id::text FROM backmarket.listings")}
    assert marked == set(removed) & stored, "those that were seen before they went"
    assert len(marked) > 30
    stats = shop.sandbox.stats()
    assert sum(sum(seller.faults.values()) for seller in stats.sellers.values()) > 5, "faults struck"
    assert stats.violations == 0
