"""What is found by reading all organizations: PostgreSQL takes a second for 100,000, so pages share it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from threading import Lock, Thread
from time import monotonic

from backmarket.errors import BackMarketError
from backmarket.observability.logs import Logger
from backmarket.status.overview import Overview
from backmarket.status.throttled import Throttled

SHARED_FROM = 5_000
"""Organizations from which a reading is shown again; fewer are read for each page, in some 40 ms at most."""
FRESH_SECONDS = 10.0
"""An older reading is repeated, while the page shows it."""
MAX_AGE_SECONDS = 60.0
"""An older reading is not shown: the page waits for a new one."""

log = Logger(__name__)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a page shows.

    Attributes:
        overview: the counts.
        throttled: what waits for a limit.
        at: when both were read, if that was for an earlier page; None: now.
    """

    overview: Overview
    throttled: Sequence[Throttled]
    at: datetime | None = None


class RecentOverview:
    """The newest reading, which all pages of a process share.

    Args:
        count: counts.
        find_throttled: finds what waits for a limit.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        count: Callable[[], Overview],
        find_throttled: Callable[[], Sequence[Throttled]],
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._count, self._find_throttled, self._clock = count, find_throttled, clock
        self._last: tuple[Reading, float] | None = None
        self._one_reader = Lock()

    def get(self) -> Reading:
        """A reading of now, or one of the last minute where there are many organizations.

        Raises:
            BackMarketError: if the database cannot be read, and was not in the last minute.
        """
        if self._last is None:
            return self._read_now()
        reading, began = self._last
        age = self._clock() - began
        if reading.overview.total < SHARED_FROM or age > MAX_AGE_SECONDS:
            return self._read_now()
        if age > FRESH_SECONDS and self._one_reader.acquire(blocking=False):
            Thread(target=self._read_behind, name="overview", daemon=True).start()
        return reading

    def _read_now(self) -> Reading:
        began, at = self._clock(), datetime.now(UTC)
        reading = Reading(self._count(), self._find_throttled())
        self._last = replace(reading, at=at), began
        return reading

    def _read_behind(self) -> None:
        try:
            self._read_now()
        except BackMarketError as error:  # the last reading is shown until it is too old; then the page says why
            log.warning("console.overview_not_read", code=error.code)
        finally:
            self._one_reader.release()
