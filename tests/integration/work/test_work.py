"""The work beside the syncs: due rows, nudges, leases."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from backmarket import work
from backmarket.errors import LeaseLost
from backmarket.messages import Nudge
from backmarket.organizations import lifecycle
from backmarket.settings import Settings
from backmarket.work import WorkLease
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop
from tests.support.waiting import PATIENCE_SECONDS, wait_until

ORG = "shop-1"


@pytest.fixture
def shop(settings: Settings) -> Iterator[Shop]:
    with fresh_sandbox() as sandbox:
        shop = Shop(settings, sandbox.control)
        shop.connect(ORG, "token")
        yield shop
        shop.services.close()


def make_due(shop: Shop, kind: work.Work = "labels") -> None:
    with shop.services.database.transaction() as transaction:
        work.make_due(transaction, ORG, kind)


def take(shop: Shop, *, seconds: float = 60, owner: str = "one") -> WorkLease | None:
    return work.take(shop.services.database, ORG, "labels", owner=owner, seconds=seconds)


def taken(shop: Shop, *, seconds: float = 60) -> WorkLease:
    lease = take(shop, seconds=seconds)
    assert lease is not None
    return lease


def finish(shop: Shop, lease: WorkLease, due_at: datetime | None = None) -> None:
    with shop.services.database.transaction() as transaction:
        work.hold(transaction, lease)
        work.finish(transaction, lease, due_at)


def test_what_is_wanted_is_nudged_once_a_minute_until_it_is_done(shop: Shop) -> None:
    database = shop.services.database
    assert work.claim_due(database) == []
    make_due(shop, "labels")
    make_due(shop, "writes")
    assert sorted(work.claim_due(database), key=lambda each: each.name) == [Nudge("labels", ORG), Nudge("writes", ORG)]
    make_due(shop, "labels")
    assert work.claim_due(database) == []
    shop.execute("UPDATE backmarket.work SET nudged_until = now() - interval '1 s' WHERE kind = 'labels'")
    assert work.claim_due(database) == [Nudge("labels", ORG)]
    finish(shop, taken(shop))
    assert work.claim_due(database) == []
    assert take(shop) is None


def test_the_next_look_is_when_the_worker_says(shop: Shop) -> None:
    make_due(shop)
    finish(shop, taken(shop), datetime.now(UTC) + timedelta(hours=1))
    assert take(shop) is None
    assert work.claim_due(shop.services.database) == []
    shop.execute("UPDATE backmarket.work SET due_at = now()")
    assert work.claim_due(shop.services.database) == [Nudge("labels", ORG)]


def test_one_at_a_time(shop: Shop) -> None:
    make_due(shop)
    with ThreadPoolExecutor(4) as pool:
        leases = list(pool.map(lambda n: take(shop, owner=str(n)), range(4)))
    assert sum(lease is not None for lease in leases) == 1


def test_a_worker_that_slept_past_its_lease_writes_nothing(shop: Shop) -> None:
    make_due(shop)
    sleeper = taken(shop, seconds=0)
    assert work.claim_due(shop.services.database) == [Nudge("labels", ORG)]
    finish(shop, taken(shop))
    with pytest.raises(LeaseLost), shop.services.database.transaction() as transaction:
        work.hold(transaction, sleeper, seconds=60)
    with pytest.raises(LeaseLost), shop.services.database.transaction() as transaction:
        work.finish(transaction, sleeper, None)


def test_what_is_wanted_while_a_slice_runs_is_nudged_when_it_ends(shop: Shop) -> None:
    make_due(shop)
    lease = taken(shop)
    make_due(shop)
    assert work.claim_due(shop.services.database) == []
    with shop.services.database.transaction() as transaction:
        work.hold(transaction, lease)
        work.finish(transaction, lease, datetime.now(UTC))
    assert work.claim_due(shop.services.database) == [Nudge("labels", ORG)]


def test_what_is_written_down_while_a_slice_ends_is_not_forgotten(shop: Shop) -> None:
    """The row is locked from `want` to the commit: an ending slice waits for it, and then sees what was written."""
    make_due(shop)
    database = shop.services.database
    waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    lease = taken(shop)
    with ThreadPoolExecutor(1) as pool:
        with database.transaction() as transaction:
            work.make_due(transaction, ORG, "labels")
            ending = pool.submit(finish, shop, lease)
            wait_until(lambda: shop.one(waits), "the slice that ends waits")
        ending.result(PATIENCE_SECONDS)


@pytest.mark.parametrize("act", ["new key", "disabled", "removed"])
def test_a_connection_that_changes_voids_the_lease(shop: Shop, act: str) -> None:
    make_due(shop)
    lease = taken(shop)
    if act == "new key":
        shop.connect(ORG, "another-token")
    elif act == "disabled":
        lifecycle.disable(shop.services.database, ORG)
    else:
        lifecycle.remove(shop.services.database, ORG)
        shop.connect(ORG, "token")
        make_due(shop)
        assert taken(shop).number > lease.number
    with pytest.raises(LeaseLost), shop.services.database.transaction() as transaction:
        work.hold(transaction, lease)


def test_a_connection_that_is_not_asked_is_not_nudged(shop: Shop) -> None:
    make_due(shop)
    lifecycle.disable(shop.services.database, ORG)
    assert work.claim_due(shop.services.database) == []
    assert take(shop) is None
    lifecycle.enable(shop.services.database, ORG)
    assert work.claim_due(shop.services.database) == [Nudge("labels", ORG)]
    shop.execute("UPDATE backmarket.connections SET refused_at = now()")
    assert take(shop) is None
