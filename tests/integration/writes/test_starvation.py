"""Writes that fail for ever hold up no others, whatever they fail with, although they have been due for longest."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from backmarket import BackMarket
from backmarket.sandbox.control.client import SandboxControl
from backmarket.writes.engine import slice as engine
from backmarket.writes.engine.slice import run_slice
from tests.support.databases import empty
from tests.support.sellers import Shop
from tests.support.settings import fresh_settings
from tests.support.state_machines import age

FAILING, GOOD = 12, 12

LASTING: dict[str, dict[str, Any]] = {
    "firewall-page": {"kind": "waf_html"},
    "firewall-challenge": {"kind": "waf_json"},
    "firewall-429": {"kind": "rate_limited"},
    "lost": {"kind": "close"},
    "500": {"kind": "status", "status": 500},
}
MOMENTS = {"work": "due_at lease_until", "api_writes": "settle_at due_at"}
NEXT = "SELECT due_at FROM backmarket.work WHERE kind = 'writes' AND due_at < 'infinity'"


@pytest.fixture
def shop(shared_url: str, redis_url: str, sandbox: SandboxControl, org: str) -> Iterator[Shop]:
    empty(shared_url)
    settings = fresh_settings(
        database_url=shared_url, redis_url=redis_url, rate_limit=100_000, rate_window=0.05, write_window=4
    )
    shop = Shop(settings, sandbox, ("listings",))
    shop.sell(org, orders=0, listings=FAILING + GOOD, deliveries=0, returns=0)
    shop.sync(org, "listings")
    yield shop
    sandbox.remove_faults()
    shop.services.close()


@pytest.mark.parametrize("name", LASTING)
def test_writes_that_fail_for_ever_starve_no_others(
    shop: Shop, org: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "READ_AHEAD_WRITES", 4)
    listings = shop.sandbox.truth(org, "listings")
    with BackMarket(shop.settings) as bm:
        ids = [
            bm.update_listing(org, row["id"], price=Decimal(str(row["price"])) + Decimal("1.25")).id for row in listings
        ]
    for row in listings[:FAILING]:
        shop.sandbox.add_fault(path=f"/ws/listings/{row['id']}", **LASTING[name])
    done = "SELECT count(*) FROM backmarket.api_writes WHERE id = ANY(%s) AND state = 'succeeded'"
    tries = "SELECT max(tries + sent) FROM backmarket.api_writes WHERE id = ANY(%s)"
    while shop.one(done, ids[FAILING:]) < GOOD:
        age(shop, MOMENTS, NEXT)
        run_slice(shop.services, org)
        assert shop.one(tries, ids[:FAILING]) <= 2
