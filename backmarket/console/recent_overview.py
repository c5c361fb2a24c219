"""The counts over all organizations: PostgreSQL takes a second for those of 100,000, so pages share them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock, Thread
from time import monotonic

from backmarket.errors import BackMarketError
from backmarket.observability.logs import Logger
from backmarket.status.overview import Overview

SHARED_FROM = 5_000
"""Organizations from which counts are shown again; fewer are counted for each page, in some 30 ms at most."""
FRESH_SECONDS = 10.0
"""Older counts are counted again, while the page shows them."""
MAX_AGE_SECONDS = 60.0
"""Older counts are not shown: the page waits for new ones."""

log = Logger(__name__)


@dataclass(frozen=True, slots=True)
class Counts:
    """What a page shows.

    Attributes:
        overview: the counts.
        at: when they were counted, if that was for an earlier page; None: now.
    """

    overview: Overview
    at: datetime | None = None


class RecentOverview:
    """The newest counts, which all pages of a process share.

    Args:
        read: counts.
        clock: seconds that never go back.
    """

    def __init__(self, read: Callable[[], Overview], *, clock: Callable[[], float] = monotonic) -> None:
        self._read, self._clock = read, clock
        self._last: tuple[Counts, float] | None = None
        self._one_reader = Lock()

    def get(self) -> Counts:
        """Counts of now, or of the last minute where there are many organizations.

        Raises:
            BackMarketError: if they cannot be counted, and there are none of the last minute.
        """
        if self._last is None:
            return Counts(self._read_now())
        counts, counted = self._last
        age = self._clock() - counted
        if counts.overview.total < SHARED_FROM or age > MAX_AGE_SECONDS:
            return Counts(self._read_now())
        if age > FRESH_SECONDS and self._one_reader.acquire(blocking=False):
            Thread(target=self._read_behind, name="overview", daemon=True).start()
        return counts

    def _read_now(self) -> Overview:
        counted, at = self._clock(), datetime.now(UTC)
        overview = self._read()
        self._last = Counts(overview, at), counted
        return overview

    def _read_behind(self) -> None:
        try:
            self._read_now()
        except BackMarketError as error:  # the last counts are shown until they are too old; then the page says why
            log.warning("console.overview_not_counted", code=error.code)
        finally:
            self._one_reader.release()
