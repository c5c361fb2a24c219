"""Labels that fail for ever hold up no others, whatever they fail with, although they have been due for longest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from backmarket.labels.engine import run_slice
from backmarket.settings import Settings
from tests.support.examples import some
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop

ORG = "auth0|1"

FAILING = 12
"""More than a slice has in flight at once."""

LASTING: dict[str, dict[str, Any]] = {
    "an error of the server": {"kind": "status", "status": 500},
    "a 403 with a page of nginx": {"kind": "status", "status": 403, "html": True},
    "a 403 as JSON": {"kind": "forbidden"},
    "the firewall's page": {"kind": "waf_html"},
    "the firewall's challenge": {"kind": "waf_json"},
    "a 429": {"kind": "rate_limited"},
    "a 404": {"kind": "early_404"},
    "a 408": {"kind": "status", "status": 408},
    "a 409": {"kind": "status", "status": 409},
    "a page instead of the file": {"kind": "garbage"},
    "nothing": {"kind": "empty"},
    "a closed connection": {"kind": "close"},
    "a cut file": {"kind": "cut"},
}


@pytest.fixture
def shop(settings: Settings) -> Iterator[Shop]:
    with fresh_sandbox(limit=100_000) as sandbox:
        quick = settings.model_copy(update={"rate_limit": 100_000, "rate_window": 0.2})
        shop = Shop(quick, sandbox.control, ("deliveries",))
        yield shop
        shop.services.close()


def wanted(shop: Shop) -> dict[int, str]:
    """The path of each label that is not in the bucket."""
    rows = shop.execute("SELECT shipment_id, url FROM backmarket.labels WHERE state = 'wanted'")
    return {key: url.removeprefix(shop.sandbox.url) for key, url in rows}


def let_time_pass(shop: Shop) -> None:
    """Let everything wait for less, by as much as the next slice has to wait."""
    (gap,) = shop.execute("SELECT GREATEST(due_at - now(), '0') FROM backmarket.work WHERE kind = 'labels'")[0]
    for table in ("labels", "work"):
        shop.execute(f"UPDATE backmarket.{table} SET due_at = due_at - %s WHERE due_at < 'infinity'", gap)


@pytest.mark.parametrize("name", some(list(LASTING)))
def test_labels_that_fail_for_ever_starve_no_others(shop: Shop, name: str) -> None:
    shop.sell(ORG, orders=30, deliveries=60, returns=0)
    shop.sync(ORG, "deliveries")
    failing = dict(sorted(wanted(shop).items())[:FAILING])
    shop.execute("UPDATE backmarket.labels SET due_at = now() - interval '1 h' WHERE shipment_id = ANY(%s)", [*failing])
    for path in failing.values():
        shop.sandbox.add_fault(path=path, **LASTING[name])
    for _ in range(2 * FAILING):
        run_slice(shop.services, ORG)
        if set(wanted(shop)) == set(failing):
            break
        let_time_pass(shop)
    assert set(wanted(shop)) == set(failing), "the good ones are stored"
    tries = Counter(dict(shop.execute("SELECT shipment_id, tries FROM backmarket.labels WHERE state = 'wanted'")))
    assert min(tries.values()) >= 1, "a try is counted, so that there is an end to the trying"
    assert max(tries.values()) <= 2
    asked = shop.sandbox.stats().sellers[ORG].labels
    assert max(asked.get(path, 0) for path in failing.values()) <= 2
