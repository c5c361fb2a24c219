"""A first walk sends PostgreSQL the next batch while it still writes the one before: nothing is lost, nothing twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from backmarket.database import DatabaseError
from backmarket.sync import leases
from backmarket.sync.storing import Storing
from backmarket.sync.upsert import write
from tests.support.sellers import Shop

ORG, PAGES = "auth0|1", 60


@pytest.fixture
def large(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """A seller whose first walk has several batches, at least one of which is written behind."""
    shop.sell(ORG, orders=50 * PAGES)
    shop.sandbox.settings(latency=0.05)
    behind: list[object] = []
    original = Storing.store_behind

    def store_behind(storing: Storing) -> None:
        behind.append(storing)
        original(storing)

    monkeypatch.setattr(Storing, "store_behind", store_behind)
    yield shop
    assert behind


def on_call(number: int, run: Callable[..., Any], act: Callable[[], object]) -> Callable[..., Any]:
    """The same function, which does something before its call of this number."""
    calls = 0

    def instead(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            act()
        return run(*args, **kwargs)

    return instead


def test_every_order_is_stored_once_and_told_once(large: Shop) -> None:
    assert large.sync(ORG).end == "done"
    large.assert_equals_truth(ORG)
    events = large.one("SELECT count(*) FROM backmarket.changes")
    assert events == large.one("SELECT count(*) FROM backmarket.orders") == 50 * PAGES
    assert large.sandbox.stats().count("orders.list") == PAGES
    assert large.one("SELECT rows_created FROM backmarket.sync_runs") == 50 * PAGES
    assert large.execute("SELECT FROM backmarket.walks") == []


def test_a_batch_that_cannot_be_written_fails_the_slice_and_comes_again(
    large: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise DatabaseError("PostgreSQL refused a statement: InternalError XX000")

    monkeypatch.setattr("backmarket.sync.storing.write", on_call(2, write, refuse))
    assert large.run_slice(ORG).end == "failed"
    stored = large.one("SELECT count(*) FROM backmarket.orders")
    assert stored <= 50 * large.one("SELECT next_page - 1 FROM backmarket.walks"), "no checkpoint is beyond the rows"
    large.make_due(ORG)
    assert large.sync(ORG).end == "done"
    large.assert_equals_truth(ORG)


def test_who_lost_its_lease_meanwhile_writes_nothing_more(large: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def take_over() -> None:
        large.execute("UPDATE backmarket.sync_state SET lease_number = lease_number + 1, lease_until = NULL")

    monkeypatch.setattr(leases, "hold", on_call(2, leases.hold, take_over))
    assert large.run_slice(ORG).end == "lease_lost"
    page = large.one("SELECT next_page FROM backmarket.walks")
    assert large.one("SELECT count(*) FROM backmarket.orders") == 50 * (page - 1)
    monkeypatch.undo()
    assert large.sync(ORG).end == "done"
    large.assert_equals_truth(ORG)
