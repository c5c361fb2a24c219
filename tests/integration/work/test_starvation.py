"""What is due for longest and never gets done comes behind the others: the queue of the table `work`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from backmarket import work
from backmarket.settings import Settings
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop

FAILING = [f"failing-{number}" for number in range(6)]
GOOD = [f"good-{number}" for number in range(6)]
LIMIT = 4
"""Rows claimed at once."""

ENDINGS = {
    "the nudge is lost": "nudged_until = now() - interval '1 s'",
    "the worker dies": "nudged_until = NULL, lease_until = now() - interval '1 s'",
}
"""How a slice may end without a word; the row stays due since when it was."""


@pytest.fixture
def shop(settings: Settings) -> Iterator[Shop]:
    with fresh_sandbox() as sandbox:
        shop = Shop(settings, sandbox.control)
        for organization in FAILING + GOOD:
            shop.connect(organization, f"token-{organization}")
        yield shop
        shop.services.close()


@pytest.mark.parametrize("ending", ENDINGS)
def test_organizations_whose_slices_never_end_starve_no_others(shop: Shop, ending: str) -> None:
    shop.execute(
        "INSERT INTO backmarket.work (organization_id, kind, due_at)"
        " SELECT organization_id, 'labels', now() FROM backmarket.connections"
        " ON CONFLICT (organization_id, kind) DO UPDATE SET due_at = now()"
    )
    shop.execute("UPDATE backmarket.work SET due_at = now() - interval '1 h', nudged_until = NULL")
    shop.execute("UPDATE backmarket.work SET due_at = now() - interval '2 h' WHERE organization_id = ANY(%s)", FAILING)
    claimed, left = Counter[str](), set(GOOD)
    while left:
        nudged = [
            each.organization_id for each in work.claim_due(shop.services.database, kinds=["labels"], limit=LIMIT)
        ]
        assert nudged, "something is due"
        claimed.update(nudged)
        assert max(claimed.values()) <= 2
        left.difference_update(nudged)
        shop.execute(
            "UPDATE backmarket.work SET due_at = 'infinity' WHERE organization_id = ANY(%s)",
            [one for one in nudged if one in GOOD],
        )
        shop.execute(
            f"UPDATE backmarket.work SET {ENDINGS[ending]} WHERE organization_id = ANY(%s)",
            [one for one in nudged if one in FAILING],
        )
