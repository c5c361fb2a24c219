"""How much one slice of a sync may do, so that the syncs of all organizations take turns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from backmarket.client.rate_limited import MAX_LIMITER_WAIT_SECONDS
from backmarket.observability import telemetry
from backmarket.services import Services
from backmarket.sync.page_fetcher import Fetcher

YIELD_SECONDS = 2.0
"""Seconds that a long sync pauses between two slices while another waits to be admitted."""


MIN_REQUESTS = 2
"""Requests of a slice that its time does not cut off, however long they take: a row is gone if it answers 404 twice in
one slice."""


class SliceBudget:
    """The time and the requests of one slice, which begins now.

    Args:
        fetcher: sends the slice's requests.
    """

    def __init__(self, services: Services, fetcher: Fetcher) -> None:
        self._services = services
        self._fetcher = fetcher
        self._until = monotonic() + services.settings.task_budget_seconds

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What PostgreSQL does meanwhile takes none of the time. For the ids of a very long list it may take longer
        than all of it, and each slice would end before it had requested anything.
        """
        began = monotonic()
        yield
        self._until += monotonic() - began

    def middle(self) -> float:
        """When half of the time that is left is over, by the monotonic clock."""
        now = monotonic()
        return now + max(0.0, self._until - now) / 2

    def must_end(self) -> float | None:
        """Seconds until another slice continues, if this one must end; None: continue."""
        pause = self._fetcher.pause()
        if pause > MAX_LIMITER_WAIT_SECONDS:
            # due a little early, so that the next slice waits for less than a tick of beat
            telemetry.emit("limiter_wait", seconds=pause)
            return max(0.1, pause - MAX_LIMITER_WAIT_SECONDS / 2)
        if self._services.stopping.is_set():
            return 0.1  # the dispatcher finds it: this process sends no nudge any more
        requests = self._fetcher.requests
        has_time = monotonic() <= self._until or requests < MIN_REQUESTS
        if has_time and requests < self._services.settings.task_budget_pages:
            return None
        return YIELD_SECONDS if self._services.admission.awaited else 0.0
