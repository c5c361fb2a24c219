"""Keys whose probes say nothing for ever hold up no others, although they have been due for longest."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from backmarket import connections
from backmarket.errors import RateLimited
from backmarket.organizations import probes
from backmarket.organizations.check import ConnectionCheck
from tests.support.sellers import Shop, let_time_pass

FAILING = [f"failing-{number}" for number in range(12)]
GOOD = [f"good-{number}" for number in range(12)]
STEP_SECONDS = 5
"""Between two probes of those that fail: as a thousand of them would be, each probed every hour or so."""


@pytest.mark.parametrize("confirmed", [False, True], ids=["paused", "refused"])
def test_keys_whose_probes_are_answered_429_for_ever_starve_no_others(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, confirmed: bool
) -> None:
    """Those that fail are paused or refused; the good ones were refused, and are accepted again."""
    for organization in FAILING + GOOD:
        shop.connect(organization, f"token-{organization}")
    shop.execute(
        "UPDATE backmarket.connections SET refused_at = now() - interval '1 h', next_probe_at = now(),"
        " unauthorized_at = CASE WHEN %s OR organization_id = ANY(%s) THEN now() - interval '1 h' END",
        confirmed,
        GOOD,
    )
    shop.execute(
        "UPDATE backmarket.connections SET next_probe_at = now() + (n - 2) * interval '5 s'"
        " FROM unnest(%s::text[]) WITH ORDINALITY AS failing (id, n) WHERE organization_id = id",
        FAILING,
    )
    tries = Counter[str]()

    def check(_: Any, organization: str, **__: Any) -> ConnectionCheck:
        tries[organization] += 1
        if organization in FAILING:
            return ConnectionCheck(ok=False, orders=None, seconds=0.0, error=RateLimited("Too many.", status=429))
        with shop.services.database.transaction() as transaction:
            generation = connections.get(shop.services.database, organization).generation
            connections.mark_authorized(transaction, organization, generation)
        return ConnectionCheck(ok=True, orders=0, seconds=0.0, error=None)

    monkeypatch.setattr(probes, "check_connection", check)
    for _ in FAILING:
        probes.probe_due(shop.services, seconds=60)
        let_time_pass(shop, STEP_SECONDS)
    assert {tries[name] for name in GOOD} == {1}
    assert max(tries.values()) <= 2
