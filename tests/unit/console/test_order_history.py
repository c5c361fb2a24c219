"""The history of an order: when it happened, when it was seen, and what changed, in words that people know."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, Literal, cast

import pytest

from backmarket.changes import Change
from backmarket.console.order_history import history_of
from backmarket.queries.orders import Order
from backmarket.writes.models import Write

THERE, SEEN = datetime(2026, 1, 2, 8, tzinfo=UTC), datetime(2026, 1, 2, 9, tzinfo=UTC)
ORDER = cast(Order, SimpleNamespace(date_creation=datetime(2026, 1, 1, tzinfo=UTC)))


def change(
    kind: Literal["created", "updated", "removed"] = "updated", values: Any = None, *fields: str, at: datetime = SEEN
) -> Change:
    return Change("1-1-x", "shop-1", "orders", "7", kind, [*fields], at, values=values)


def test_a_change_is_told_at_its_time_there_and_says_when_it_was_seen() -> None:
    modified = {"date_modification": ["2026-01-01T00:00:00Z", "2026-01-02T09:00:00+01:00"], "state": [1, 3]}
    (event,) = history_of(ORDER, [], [change("updated", modified, "date_modification", "state", "country_code")])
    assert (event.at, event.seen_at) == (THERE, SEEN)
    assert event.fields == "state from paid to to be shipped, country"


@pytest.mark.parametrize(
    "values", [None, {}, {"date_modification": [None, None]}, {"date_modification": ["", "soon"]}, {"state": [1, 77]}]
)
def test_a_change_without_a_time_there_is_told_at_the_time_when_it_was_seen(values: Any) -> None:
    (event,) = history_of(ORDER, [], [change("updated", values, "state")])
    assert (event.at, event.seen_at) == (SEEN, None)
    assert event.fields in {"state", "state from paid to 77"}


def test_all_are_told_the_newest_first_and_an_order_begins_with_its_creation() -> None:
    write = cast(Write, SimpleNamespace(created_at=datetime(2026, 1, 2, 8, 30, tzinfo=UTC)))
    events = history_of(ORDER, [write], [change("removed"), change("created")])
    assert [each.change.kind if each.change else "write" for each in events] == ["removed", "write", "created"]
    assert (events[2].at, events[2].seen_at) == (ORDER.date_creation, SEEN)
    assert history_of(None, [], [change("created")])[0].seen_at is None
