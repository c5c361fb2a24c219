"""The periods that figures are counted by: hours, days, weeks and months of a time zone.

Only their bounds go to PostgreSQL, as moments: a day of 23 or 25 hours needs nothing there.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from itertools import pairwise
from zoneinfo import ZoneInfo

from backmarket.errors import InvalidArgument

DAY = timedelta(days=1)
FIRST_YEAR, LAST_YEAR = 2000, 9000
"""Years between which a span may end: dates beyond cannot be calculated with."""


class Span(StrEnum):
    """How far figures reach back."""

    DAY = "day"
    """One day, by the hour."""
    WEEK = "week"
    """Seven days, by the day."""
    MONTH = "month"
    """Thirty days, by the day."""
    QUARTER = "quarter"
    """Thirteen weeks from Monday to Sunday."""
    YEAR = "year"
    """Twelve calendar months."""


@dataclass(frozen=True, slots=True)
class Period:
    """An hour, a day, a week or a month.

    Attributes:
        starts_at: its first moment, in the zone.
        ends_at: the first moment after it.
    """

    starts_at: datetime
    ends_at: datetime

    @property
    def first_day(self) -> date:
        """Its first day."""
        return self.starts_at.date()

    @property
    def last_day(self) -> date:
        """Its last day."""
        return (self.ends_at - timedelta(microseconds=1)).date()


def zone_of(name: str) -> ZoneInfo:
    """A time zone by its IANA name, such as `Europe/Paris`.

    Raises:
        InvalidArgument: if no zone has this name.
    """
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):  # the name is a path below the database of zones
        raise InvalidArgument(f"There is no time zone {name[:60]!r}. Enter one such as Europe/Paris or UTC.") from None


def periods_of(span: Span | str, until: date | None, zone: ZoneInfo) -> list[Period]:
    """The periods of a span, the oldest first.

    Args:
        span: see `Span`.
        until: its last day. A quarter and a year end with the week and the month of this day. None: today.
        zone: the time zone whose days they are.

    Raises:
        InvalidArgument: if the span or the day is invalid.
    """
    try:
        span = Span(span)
    except ValueError:
        raise InvalidArgument(f"There is no span {str(span)[:40]!r}. Choose one of {', '.join(Span)}.") from None
    last = until or datetime.now(zone).date()
    if not FIRST_YEAR <= last.year <= LAST_YEAR:
        raise InvalidArgument(f"Figures can end in the years {FIRST_YEAR} to {LAST_YEAR}, not in {last.year}.")
    bounds = _hours(last, zone) if span is Span.DAY else [_midnight(day, zone) for day in _days(span, last)]
    return [Period(*each) for each in pairwise(bounds)]


def _hours(day: date, zone: ZoneInfo) -> list[datetime]:
    start, end = _midnight(day, zone), _midnight(day + DAY, zone)
    hours = -(-(end.astimezone(UTC) - start.astimezone(UTC)) // timedelta(hours=1))
    inner = [(start.astimezone(UTC) + timedelta(hours=n)).astimezone(zone) for n in range(1, hours)]
    return [start, *inner, end]


def _days(span: Span, last: date) -> list[date]:
    """The first days of the periods, and the day after the last one."""
    if span is Span.YEAR:
        months = last.year * 12 + last.month  # the month after the last one, from 0
        return [date(month // 12, month % 12 + 1, 1) for month in range(months - 12, months + 1)]
    if span is Span.QUARTER:
        end = last + timedelta(days=7 - last.weekday())
        return [end - timedelta(weeks=n) for n in range(13, -1, -1)]
    days = {Span.WEEK: 7, Span.MONTH: 30}[span]
    return [last + DAY - timedelta(days=n) for n in range(days, -1, -1)]


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone)
