"""The periods of figures: what each span has, and days of 23 and 25 hours."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest

from backmarket.errors import InvalidArgument
from backmarket.queries.periods import Span, periods_of, zone_of

PARIS = zone_of("Europe/Paris")


@pytest.mark.parametrize(
    ("span", "number", "first", "last"),
    [
        ("day", 24, date(2026, 11, 29), date(2026, 11, 29)),
        ("week", 7, date(2026, 11, 23), date(2026, 11, 29)),
        ("month", 30, date(2026, 10, 31), date(2026, 11, 29)),
        ("quarter", 13, date(2026, 8, 31), date(2026, 11, 29)),
        ("year", 12, date(2025, 12, 1), date(2026, 11, 30)),
    ],
)
def test_a_span_ends_with_its_last_day_or_with_the_week_or_month_of_it(
    span: str, number: int, first: date, last: date
) -> None:
    found = periods_of(span, date(2026, 11, 29), PARIS)
    assert (len(found), found[0].first_day, found[-1].last_day) == (number, first, last)
    assert all(one.ends_at == other.starts_at for one, other in pairwise(found))


@pytest.mark.parametrize(("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (date(2026, 6, 1), 24)])
def test_a_day_has_its_hours_where_clocks_change(day: date, hours: int) -> None:
    found = [each.starts_at.astimezone(UTC) for each in periods_of(Span.DAY, day, PARIS)]
    assert len(found) == hours
    assert {one - other for other, one in pairwise(found)} == {timedelta(hours=1)}


def test_a_day_of_a_zone_begins_at_its_midnight() -> None:
    (*_, last) = periods_of("week", date(2026, 3, 29), PARIS)
    assert last.starts_at.astimezone(UTC) == datetime(2026, 3, 28, 23, tzinfo=UTC)
    assert last.ends_at.astimezone(UTC) == datetime(2026, 3, 29, 22, tzinfo=UTC)


def test_years_begin_and_end_with_months() -> None:
    assert [each.first_day.month for each in periods_of("year", date(2026, 1, 31), PARIS)] == [*range(2, 13), 1]


def test_without_a_day_a_span_ends_today() -> None:
    now = datetime.now(PARIS)
    found = periods_of("week", None, PARIS)[-1]
    assert found.starts_at - timedelta(days=1) <= now < found.ends_at + timedelta(days=1)


@pytest.mark.parametrize("day", [date(1, 1, 1), date(1999, 12, 31), date.max])
def test_a_day_that_cannot_be_calculated_with_is_refused(day: date) -> None:
    with pytest.raises(InvalidArgument, match="2000 to 9000"):
        periods_of("year", day, PARIS)


def test_an_unknown_span_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="no span 'decade'"):
        periods_of("decade", None, PARIS)


@pytest.mark.parametrize(
    "name", ["", "Paris", "../../etc/passwd", "/etc/passwd", "Europe", "Europe/Paris\0", "é" * 500]
)
def test_what_is_no_time_zone_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument, match="no time zone"):
        zone_of(name)
