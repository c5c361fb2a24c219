"""Refused keys: a 401 pauses the account, a second one makes it unauthorized, and probes find out when it is over."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest

from backmarket import connections, work
from backmarket.errors import Unauthorized
from backmarket.organizations import lifecycle
from backmarket.organizations.probes import probe_due
from backmarket.sync.requests import claim_due
from tests.support.sellers import Shop, let_time_pass

ORG, TWIN, OTHER = "shop", "twin", "other"
HOUR, DAY = 3600.0, 86400.0


def probe(shop: Shop) -> int:
    return probe_due(shop.services, seconds=60)


def health(shop: Shop, organization: str = ORG) -> str:
    return connections.get(shop.services.database, organization).health


def until_probe(shop: Shop, organization: str = ORG) -> float | None:
    found = shop.one(
        "SELECT extract(epoch FROM next_probe_at - now())::float8 FROM backmarket.connections"
        " WHERE organization_id = %s",
        organization,
    )
    return None if found is None else float(found)


def requests(shop: Shop) -> int:
    """Requests for orders since this was last asked."""
    seen = shop.sandbox.stats().count("orders.list")
    shop.sandbox.reset()
    return seen


def sell_refused(shop: Shop, *organizations: str) -> None:
    """Sellers whose keys were refused twice, and whose first probe is due."""
    for name in organizations:
        shop.sell(name, orders=3)
        shop.sandbox.patch_seller(name, revoked=True)
        assert shop.run_slice(name).end == "failed"
    let_time_pass(shop, 31)
    assert probe(shop) == len(organizations)
    let_time_pass(shop, 1.3 * HOUR)
    requests(shop)


def test_one_401_pauses_the_account_for_half_a_minute_and_no_person_is_needed(shop: Shop) -> None:
    shop.sell(ORG, orders=60)
    shop.sandbox.add_fault("unauthorized", operation="orders.list", count=1)
    assert shop.run_slice(ORG).end == "failed"
    connection = connections.get(shop.services.database, ORG)
    assert (connection.health, connection.last_error_code, connection.unauthorized_at) == (
        "failing", "unauthorized", None
    )  # fmt: skip
    shop.make_due(ORG)
    requests(shop)
    assert (claim_due(shop.services.database, "orders"), shop.run_slice(ORG, ask=False).end) == ([], "nothing_to_do")
    assert probe(shop) == 0, "not yet"
    let_time_pass(shop, 31)
    assert (probe(shop), requests(shop), health(shop)) == (1, 1, "ok")
    assert probe(shop) == 0
    assert shop.sync(ORG).end == "done"
    shop.assert_equals_truth(ORG)


def test_a_second_401_makes_all_connections_of_the_account_unauthorized_and_no_other(shop: Shop) -> None:
    shop.sandbox.add_seller(ORG, "one-token", orders=3)
    shop.sandbox.patch_seller(ORG, revoked=True)
    for name in (ORG, TWIN):
        shop.connect(name, "one-token")
    shop.connect("elsewhere", "one-token", region="NA")
    shop.sell(OTHER, orders=3)
    assert shop.run_slice(ORG).end == "failed"
    assert shop.run_slice(TWIN).end == "nothing_to_do", "it has the same key"
    assert {each.organization_id for each in claim_due(shop.services.database, "orders")} == {"elsewhere", OTHER}
    let_time_pass(shop, 31)
    assert probe(shop) == 1
    found = {name: health(shop, name) for name in (ORG, TWIN, "elsewhere", OTHER)}
    assert found == {ORG: "unauthorized", TWIN: "unauthorized", "elsewhere": "ok", OTHER: "ok"}
    assert connections.get(shop.services.database, TWIN).last_error_code == "unauthorized"
    assert until_probe(shop) == pytest.approx(until_probe(shop, TWIN), abs=1)


def test_a_connection_added_with_a_refused_key_is_unauthorized_at_its_first_401(shop: Shop) -> None:
    sell_refused(shop, ORG)
    shop.connect(TWIN, f"token-of-{ORG}")
    due = until_probe(shop)
    assert shop.run_slice(TWIN).end == "failed"
    assert health(shop, TWIN) == "unauthorized"
    assert until_probe(shop, TWIN) == pytest.approx(due, abs=1), "one probe for both"


def test_401s_within_half_a_minute_confirm_nothing(shop: Shop) -> None:
    shop.sell(ORG, orders=3)
    generation = connections.get(shop.services.database, ORG).generation
    for seconds in (0, 10, 19, 2):
        let_time_pass(shop, seconds)
        with shop.services.database.transaction() as transaction:
            assert connections.mark_unauthorized(transaction, ORG, generation, Unauthorized("refused"))
        assert health(shop) == ("failing" if seconds != 2 else "unauthorized")


def test_probes_come_after_an_hour_doubling_to_a_day_for_30_days(shop: Shop) -> None:
    sell_refused(shop, ORG)
    shop.execute(
        "UPDATE backmarket.connections SET unauthorized_at = now() - interval '1 hour', probed_at = NULL,"
        " next_probe_at = now()"
    )
    pauses: list[float] = []
    while len(pauses) < 50:
        assert probe(shop) == 1
        if (pause := until_probe(shop)) is None:
            break
        pauses.append(pause)
        let_time_pass(shop, pause + 1)
    assert pauses[0] == pytest.approx(2.25 * HOUR, abs=0.3 * HOUR)
    assert all(later >= min(1.9 * earlier, DAY - 5) for earlier, later in pairwise(pauses))
    assert max(pauses) == pytest.approx(DAY, abs=5)
    assert sum(pauses) <= 30 * DAY
    assert len(pauses) + 1 == requests(shop) in range(30, 37)
    let_time_pass(shop, 400 * DAY)
    assert probe(shop) == 0
    assert health(shop) == "unauthorized"
    lifecycle.enable(shop.services.database, ORG)
    assert shop.run_slice(ORG).end == "failed", "a person has it tried again"
    assert until_probe(shop) == pytest.approx(30, abs=5), "from the beginning"


def test_of_the_probes_that_are_refused_one_is_sent_in_ten_seconds(shop: Shop) -> None:
    names = [f"shop-{number}" for number in range(4)]
    sell_refused(shop, *names)
    assert (probe(shop), probe(shop), requests(shop)) == (1, 0, 1)
    let_time_pass(shop, 11)
    assert (probe(shop), requests(shop)) == (1, 1)
    for name in names:
        shop.sandbox.patch_seller(name, revoked=False)
    let_time_pass(shop, 11)
    assert probe(shop) == 2, "those that are accepted delay none"
    assert sorted(health(shop, name) for name in names) == ["ok", "ok", "unauthorized", "unauthorized"]


def test_of_many_workers_one_probes_an_account(shop: Shop) -> None:
    sell_refused(shop, ORG)
    shop.sandbox.settings(latency=0.5)
    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(lambda _: probe(shop), range(4))) == [0, 0, 0, 1]
    assert requests(shop) == 1


@pytest.mark.parametrize("organizations", [(ORG,), (ORG, TWIN)])
def test_a_key_that_is_accepted_again_is_used_at_once(shop: Shop, organizations: tuple[str, ...]) -> None:
    sell_refused(shop, ORG)
    for name in organizations[1:]:
        shop.connect(name, f"token-of-{ORG}")
        assert shop.run_slice(name).end == "failed"
    shop.sandbox.patch_seller(ORG, revoked=False)
    assert probe(shop) == 1
    for name in organizations:
        connection = connections.get(shop.services.database, name)
        assert (connection.health, connection.last_error, connection.next_probe_at) == ("ok", None, None)
        assert shop.sync(name).end == "done"


@pytest.mark.parametrize("fault", ["status", "reset", "forbidden", "waf_html", "garbage"])
def test_another_answer_than_a_second_401_ends_the_pause(shop: Shop, fault: Any) -> None:
    shop.sell(ORG, orders=3)
    shop.sandbox.patch_seller(ORG, revoked=True)
    assert shop.run_slice(ORG).end == "failed"
    shop.sandbox.patch_seller(ORG, revoked=False)
    shop.sandbox.add_fault(fault, operation="orders.list")
    let_time_pass(shop, 31)
    assert (probe(shop), health(shop), until_probe(shop)) == (1, "ok", None)


def test_an_unauthorized_account_is_used_again_only_after_an_answer_with_its_data(shop: Shop) -> None:
    sell_refused(shop, ORG)
    shop.sandbox.patch_seller(ORG, revoked=False)
    shop.sandbox.add_fault("status", status=503, operation="orders.list")
    let_time_pass(shop, 10 * DAY)
    assert (probe(shop), health(shop)) == (1, "unauthorized")
    assert until_probe(shop) == pytest.approx(HOUR, abs=5), "not a day for what says nothing"
    let_time_pass(shop, 25 * DAY)
    assert probe(shop) == 1
    assert until_probe(shop) is None, "that has an end, too"


def test_a_disabled_connection_is_not_probed_and_enabling_starts_afresh(shop: Shop) -> None:
    sell_refused(shop, ORG)
    lifecycle.disable(shop.services.database, ORG)
    assert (probe(shop), requests(shop)) == (0, 0)
    shop.sandbox.patch_seller(ORG, revoked=False)
    lifecycle.enable(shop.services.database, ORG)
    assert (health(shop), until_probe(shop)) == ("ok", None)
    assert shop.run_slice(ORG).end == "done"


def test_a_probe_whose_worker_died_is_repeated(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    sell_refused(shop, ORG)

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("backmarket.organizations.probes.check_connection", die)
        with pytest.raises(KeyboardInterrupt):
            probe(shop)
    pause = until_probe(shop)
    assert pause is not None
    let_time_pass(shop, pause + 1)
    assert (probe(shop), requests(shop)) == (1, 1)


def test_work_waits_for_the_key_and_goes_on_with_it(shop: Shop) -> None:
    sell_refused(shop, ORG)
    with shop.services.database.transaction() as transaction:
        for kind in work.KINDS:
            work.make_due(transaction, ORG, kind)
    assert work.claim_due(shop.services.database) == []
    shop.sandbox.patch_seller(ORG, revoked=False)
    assert probe(shop) == 1
    assert {nudge.name for nudge in work.claim_due(shop.services.database)} == set(work.KINDS)
