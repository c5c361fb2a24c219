"""What was read of many organizations is shown again, that of few never."""

from threading import Event

import pytest

from backmarket.console.recent_overview import FRESH_SECONDS, MAX_AGE_SECONDS, SHARED_FROM, RecentOverview
from backmarket.errors import DatabaseUnavailable
from backmarket.status.overview import Overview


class Readings:
    """Counts so many organizations, and one more each time."""

    def __init__(self, organizations: int) -> None:
        self.organizations, self.now, self.number = organizations, 0.0, 0
        self.fails = False
        self.repeated = Event()
        self.recent = RecentOverview(self.read, list, clock=lambda: self.now)

    def read(self) -> Overview:
        self.number += 1
        if self.number > 1:
            self.repeated.set()
        if self.fails:
            raise DatabaseUnavailable("PostgreSQL is away.")
        return Overview({"ok": self.organizations + self.number - 1}, {})

    def shown(self) -> int:
        """Organizations more than at first, as a page shows them."""
        return self.recent.get().overview.total - self.organizations

    def wait_repeated(self) -> None:
        """Wait for the reader behind the pages."""
        assert self.repeated.wait(60)
        with self.recent._one_reader:
            pass


def test_few_are_counted_for_each_page() -> None:
    few = Readings(SHARED_FROM - 3)
    assert [few.shown() for _ in range(3)] == [0, 1, 2]
    assert few.recent.get().at is None


def test_many_are_shown_again_with_the_time_at_which_they_were_counted() -> None:
    many = Readings(SHARED_FROM)
    assert many.recent.get().at is None
    many.now = FRESH_SECONDS
    assert many.shown() == 0
    assert many.recent.get().at is not None
    assert many.number == 1


def test_many_are_counted_anew_behind_the_page() -> None:
    many = Readings(SHARED_FROM)
    many.shown()
    many.now = FRESH_SECONDS + 0.1
    assert many.shown() == 0
    many.wait_repeated()
    assert (many.shown(), many.number) == (1, 2)


def test_counts_that_are_too_old_are_not_shown() -> None:
    many = Readings(SHARED_FROM)
    many.shown()
    many.now = MAX_AGE_SECONDS + 0.1
    assert (many.shown(), many.number) == (1, 2)


def test_counts_that_cannot_be_repeated_are_shown_until_they_are_too_old() -> None:
    many = Readings(SHARED_FROM)
    many.shown()
    many.fails, many.now = True, FRESH_SECONDS + 0.1
    assert many.shown() == 0
    many.wait_repeated()
    assert many.shown() == 0
    many.now = MAX_AGE_SECONDS + 0.1
    with pytest.raises(DatabaseUnavailable):
        many.recent.get()
