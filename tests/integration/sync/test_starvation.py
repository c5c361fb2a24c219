"""Missing rows that fail for ever hold up no others, although they come first in their order."""

from __future__ import annotations

from collections import Counter
from itertools import count

import pytest

from backmarket.resources import Row
from backmarket.sync.engine import run_slice
from backmarket.sync.page_fetcher import Fetcher
from backmarket.sync.requests import request_sync
from tests.support.sellers import Shop

ORG = "auth0|1"


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How often each order is requested by its id."""
    counted, one = Counter[int](), Fetcher.one

    def count(fetcher: Fetcher, key: str) -> Row | None:
        counted[int(key)] += 1
        return one(fetcher, key)

    monkeypatch.setattr(Fetcher, "one", count)
    return counted


def remove(shop: Shop, failing: int, good: int) -> tuple[list[int], list[int]]:
    """Orders that are gone at Back Market: those whose requests fail for ever come first; a full walk is due."""
    shop.restart(task_budget_pages=40)  # a slice then looks for ten rows at once
    shop.sell(ORG, orders=400)
    assert shop.sync(ORG).end == "done"
    gone = sorted(int(key) for key in shop.sandbox.change(ORG, remove=failing + good).removed)
    for key in gone[:failing]:
        shop.sandbox.add_fault("status", status=409, path=f"/ws/orders/{key}")
    request_sync(shop.services.database, ORG, "orders", accept_missing=True)
    return gone[:failing], gone[failing:]


def full_walk(shop: Shop) -> tuple[str, int]:
    """The next run of the full walk; returns how it ended, and the number of its slices."""
    for slices in count(1):
        shop.execute(
            "UPDATE backmarket.sync_state SET next_due_at = now(), full_walk_due_at = now(),"
            " sync_due_at = now() + interval '1 h'"
        )
        end = run_slice(shop.services, ORG, "orders").end
        if end != "handed_on":
            return end, slices
    raise AssertionError


def left(shop: Shop, keys: list[int]) -> int:
    """How many of these orders are not marked as gone."""
    rows = shop.execute("SELECT order_id FROM backmarket.orders WHERE order_id = ANY(%s) AND removed_at IS NULL", keys)
    return len(rows)


@pytest.mark.slow
def test_a_missing_row_that_fails_for_ever_is_requested_once_in_a_walk_of_many_slices(
    shop: Shop, tries: Counter[int]
) -> None:
    failing, good = remove(shop, 8, 100)
    assert full_walk(shop)[0] == "done"
    assert (left(shop, failing), left(shop, good)) == (8, 0)
    assert {tries[key] for key in failing} == {1}


@pytest.mark.slow
def test_missing_rows_that_fail_for_ever_starve_no_others_although_the_run_fails(
    shop: Shop, tries: Counter[int]
) -> None:
    failing, good = remove(shop, 30, 30)
    runs = slices = 0
    while left(shop, good):
        end, played = full_walk(shop)
        assert end == "failed", "more than ten of one slice fail"
        runs += 1
        slices += played
        assert runs <= 30
    assert sum(tries[key] for key in failing) <= 11 * slices
