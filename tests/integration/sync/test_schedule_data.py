"""The schedule as data: read and changed while everything runs, for everybody and for one organization."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.fernet import Fernet

from backmarket import BackMarket, ScheduleEntry
from backmarket.errors import ConnectionNotFound, InvalidArgument
from backmarket.resources import RESOURCES
from backmarket.settings import Settings
from backmarket.sync.requests import claim_due
from tests.support.databases import empty
from tests.support.waiting import PATIENCE_SECONDS

ORG, OTHER = "auth0|1", "a/../b"
DAY = 86400.0


@pytest.fixture
def bm(shared_url: str) -> Iterator[BackMarket]:
    """Two organizations, whose next syncs are due in a while."""
    empty(shared_url)
    settings = Settings(
        database_url=shared_url,
        secret_keys=(Fernet.generate_key().decode(),),
        limiter_key=secrets.token_hex(16),
    )
    with BackMarket(settings) as bm:
        for organization in (ORG, OTHER):
            bm.upsert_connection(organization, f"key-{organization}")
        put_off(bm)
        yield bm


def execute(bm: BackMarket, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    with bm._services.database.transaction() as transaction:
        cursor = transaction.execute(statement.encode(), values or None)
        return cursor.fetchall() if cursor.description else []


def put_off(bm: BackMarket) -> None:
    """Everything is due in two hours, and its full walk in 20."""
    execute(
        bm,
        "UPDATE backmarket.sync_state SET sync_due_at = now() + interval '2 hours', next_due_at = now() + interval"
        " '2 hours', full_walk_due_at = now() + interval '20 hours', watermark = now()",
    )


def due_in(bm: BackMarket, organization: str, resource: str) -> tuple[float, float, float]:
    """Seconds until the next slice, sync and full walk."""
    (row,) = execute(
        bm,
        "SELECT next_due_at, sync_due_at, full_walk_due_at FROM backmarket.sync_state"
        " WHERE organization_id = %s AND resource = %s",
        organization,
        resource,
    )
    now = datetime.now(UTC)
    next_turn, sync, full_walk = ((at - now).total_seconds() for at in row)
    return next_turn, sync, full_walk


class TestShown:
    def test_everybody_s_is_in_the_order_of_the_resources(self, bm: BackMarket) -> None:
        found = bm.get_schedule()
        assert list(found) == list(RESOURCES)
        assert found["orders"] == ScheduleEntry("orders", True, 300.0, DAY, None, ())
        assert found["listings"].full_interval is None, "each of its syncs is a full walk"

    def test_an_organization_s_is_what_counts_and_tells_what_is_its_own(self, bm: BackMarket) -> None:
        bm.update_schedule("returns", interval=60)
        bm.update_schedule("returns", organization_id=ORG, full_interval=3600, download_labels=False)
        assert bm.get_schedule(ORG)["returns"] == ScheduleEntry(
            "returns", True, 60.0, 3600.0, False, ("full_interval", "download_labels")
        )
        assert bm.get_schedule(OTHER)["returns"] == ScheduleEntry("returns", True, 60.0, DAY, True, ())
        assert bm.get_schedule(ORG)["orders"].download_labels is None

    def test_an_unknown_organization_is_not_found(self, bm: BackMarket) -> None:
        with pytest.raises(ConnectionNotFound):
            bm.get_schedule("nobody")
        with pytest.raises(ConnectionNotFound):
            bm.update_schedule("orders", organization_id="nobody", enabled=False)


class TestChanged:
    def test_what_is_not_named_stays(self, bm: BackMarket) -> None:
        bm.update_schedule("orders", interval=60, full_interval=3600)
        assert bm.update_schedule("orders", enabled=False) == ScheduleEntry("orders", False, 60.0, 3600.0, None, ())
        bm.update_schedule("orders", organization_id=ORG, interval=30)
        entry = bm.update_schedule("orders", organization_id=ORG, full_interval=1800)
        assert (entry.interval, entry.full_interval, entry.own) == (30.0, 1800.0, ("interval", "full_interval"))
        assert bm.get_schedule()["listings"].interval == 300.0

    def test_off_for_everybody_is_off_for_each(self, bm: BackMarket) -> None:
        bm.update_schedule("orders", organization_id=ORG, enabled=True)
        bm.update_schedule("orders", enabled=False)
        assert not bm.get_schedule(ORG)["orders"].enabled
        bm.update_schedule("orders", enabled=True)
        assert bm.get_schedule(ORG)["orders"] == bm.get_schedule(OTHER)["orders"]

    def test_inherit_drops_what_is_the_organization_s_own(self, bm: BackMarket) -> None:
        own = {"enabled": False, "interval": 10.0, "full_interval": 20.0, "download_labels": False}
        entry = bm.update_schedule("returns", organization_id=ORG, **own)  # type: ignore[arg-type]
        assert set(entry.own) == set(own)
        assert bm.update_schedule("returns", organization_id=ORG, inherit=True) == bm.get_schedule(OTHER)["returns"]
        bm.update_schedule("returns", organization_id=ORG, **own)  # type: ignore[arg-type]
        again = bm.update_schedule("returns", organization_id=ORG, inherit=True, interval=40.0)
        assert (again.interval, again.own) == (40.0, ("interval",))

    @pytest.mark.parametrize("interval", [0.0, 0.99, -5.0, 366 * DAY + 1, float("inf"), float("nan")])
    def test_an_interval_that_can_not_be(self, bm: BackMarket, interval: float) -> None:
        for name in ("interval", "full_interval"):
            with pytest.raises(InvalidArgument, match=f"^{name} must be 1 second to 366 days"):
                bm.update_schedule("orders", organization_id=ORG, **{name: interval})  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            ({"resource": "socks", "enabled": True}, "There is no resource 'socks'. Choose one of orders, listings"),
            ({"resource": "orders"}, "Nothing is to be changed. Give one of enabled, interval"),
            ({"resource": "orders", "inherit": True}, "name it"),
            ({"resource": "returns", "download_labels": False}, "name it"),
            ({"resource": "orders", "download_labels": False, "organization_id": ORG}, "orders have no labels"),
            ({"resource": "listings", "full_interval": DAY}, "Set its interval instead"),
        ],
        ids=str,
    )
    def test_what_can_not_be_meant_is_refused(self, bm: BackMarket, arguments: dict[str, Any], text: str) -> None:
        before = execute(bm, "SELECT * FROM backmarket.schedule ORDER BY 1")
        with pytest.raises(InvalidArgument, match=text):
            bm.update_schedule(**arguments)
        assert execute(bm, "SELECT * FROM backmarket.schedule ORDER BY 1") == before


class TestAtOnce:
    """A shorter interval brings forward what is due, in its phase; nothing is ever put off."""

    def test_everybody_s_brings_forward_those_without_an_interval_of_their_own(self, bm: BackMarket) -> None:
        bm.update_schedule("orders", organization_id=OTHER, interval=86400)
        put_off(bm)
        bm.update_schedule("orders", interval=10)
        next_turn, sync, full_walk = due_in(bm, ORG, "orders")
        assert next_turn == pytest.approx(sync, abs=1)
        assert next_turn <= 10
        assert full_walk > 19 * 3600
        assert due_in(bm, OTHER, "orders")[0] > 7000
        assert due_in(bm, ORG, "listings")[0] > 7000

    def test_an_organization_s_own_brings_forward_its_own(self, bm: BackMarket) -> None:
        bm.update_schedule("listings", organization_id=ORG, interval=10)
        assert due_in(bm, ORG, "listings")[0] <= 10
        assert due_in(bm, OTHER, "listings")[0] > 7000

    def test_inherit_brings_forward_too(self, bm: BackMarket) -> None:
        bm.update_schedule("orders", organization_id=ORG, interval=86400)
        put_off(bm)
        bm.update_schedule("orders", organization_id=ORG, inherit=True)
        assert due_in(bm, ORG, "orders")[0] <= 300

    def test_full_walks_have_a_rhythm_of_their_own(self, bm: BackMarket) -> None:
        bm.update_schedule("orders", full_interval=20)
        next_turn, sync, full_walk = due_in(bm, ORG, "orders")
        assert full_walk <= 20
        assert next_turn == pytest.approx(full_walk, abs=1)
        assert sync > 7000

    def test_organizations_do_not_all_fall_due_together(self, bm: BackMarket) -> None:
        bm.update_schedule("orders", interval=3600)
        assert abs(due_in(bm, ORG, "orders")[0] - due_in(bm, OTHER, "orders")[0]) > 1

    def test_a_longer_interval_puts_nothing_off(self, bm: BackMarket) -> None:
        before = due_in(bm, ORG, "orders")
        bm.update_schedule("orders", interval=366 * DAY, full_interval=366 * DAY)
        assert due_in(bm, ORG, "orders") == pytest.approx(before, abs=PATIENCE_SECONDS)

    def test_what_fails_keeps_its_back_off(self, bm: BackMarket) -> None:
        execute(bm, "UPDATE backmarket.sync_state SET failures = 3 WHERE organization_id = %s", ORG)
        execute(bm, "UPDATE backmarket.sync_state SET availability = 'not_available' WHERE organization_id = %s", OTHER)
        bm.update_schedule("returns", interval=5)
        for organization in (ORG, OTHER):
            next_turn, sync, _ = due_in(bm, organization, "returns")
            assert next_turn > 7000
            assert sync <= 5

    def test_what_is_off_is_not_claimed_and_what_is_on_again_is(self, bm: BackMarket) -> None:
        def claimed() -> list[str]:
            execute(bm, "UPDATE backmarket.sync_state SET next_due_at = now(), nudged_until = NULL")
            return sorted(nudge.organization_id for nudge in claim_due(bm._services.database, "orders"))

        bm.update_schedule("orders", organization_id=ORG, enabled=False)
        assert claimed() == [OTHER]
        bm.update_schedule("orders", enabled=False)
        assert claimed() == []
        bm.update_schedule("orders", enabled=True)
        bm.update_schedule("orders", organization_id=ORG, inherit=True)
        assert claimed() == sorted([ORG, OTHER])

    def test_two_callers_at_once_do_no_harm(self, bm: BackMarket) -> None:
        def change(number: int) -> ScheduleEntry:
            if number % 2:
                return bm.update_schedule("orders", interval=number)
            return bm.update_schedule("orders", organization_id=ORG, interval=number, enabled=number % 4 == 0)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(change, range(2, 42)))
        assert bm.get_schedule()["orders"].interval in range(3, 42, 2)
        assert bm.get_schedule(ORG)["orders"].interval in range(2, 42, 2)
        assert due_in(bm, OTHER, "orders")[0] <= 41  # of 300 s by default; it may be overdue by now


def test_a_change_for_everybody_is_one_statement_however_many_there_are(bm: BackMarket) -> None:
    execute(
        bm,
        "INSERT INTO backmarket.connections (organization_id, environment, region, locale)"
        " SELECT 'shop ' || n, 'production', 'EU', 'fr-fr' FROM generate_series(1, 3000) n;",
    )
    execute(
        bm,
        "INSERT INTO backmarket.sync_state (organization_id, resource, sync_due_at, next_due_at)"
        " SELECT organization_id, 'orders', now() + interval '1 day', now() + interval '1 day'"
        " FROM backmarket.connections ON CONFLICT DO NOTHING",
    )
    execute(bm, "UPDATE backmarket.sync_state SET full_walk_due_at = now() + interval '1 day'")
    bm.update_schedule("orders", interval=600)
    (found,) = execute(
        bm,
        "SELECT min(next_due_at), max(next_due_at), count(DISTINCT next_due_at) FROM backmarket.sync_state"
        " WHERE organization_id LIKE 'shop %%' AND resource = %s",
        "orders",
    )
    first, last, moments = found
    assert timedelta(seconds=500) < last - first < timedelta(seconds=601), "spread over the interval"
    assert moments > 2900
