"""A circuit breaker: how long this process sends nothing to a server that does not answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic

from backmarket.limits import backoff

INITIAL_PAUSE_SECONDS = 5.0
"""Seconds of the first pause."""

MAX_PAUSE_SECONDS = 300.0
"""Maximum pause, in seconds; each pause is twice the one before it."""

PROBE_TIMEOUT_SECONDS = 60.0
"""Seconds after which a probe without a result counts as lost: longer than any request waits for its answer."""

LOG_INTERVAL_SECONDS = 60.0
"""Minimum seconds between two log lines about the same server."""


class CircuitBreaker:
    """Stops requests to a server that does not answer, and probes it. Safe to share between threads.

    Args:
        clock: returns seconds that never decrease.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._until = 0.0
        self._probed_until = 0.0
        self._logged_at = -LOG_INTERVAL_SECONDS

    @property
    def is_open(self) -> bool:
        """Whether the last request failed."""
        return self._failures > 0

    def allow_probe(self) -> bool:
        """Whether the caller may probe the server; one caller at a time may.

        A caller that gets True must report the result with `record_failure()` or `record_success()`.
        """
        with self._lock:
            now = self._clock()
            if now < self._probed_until:
                return False
            self._probed_until = now + PROBE_TIMEOUT_SECONDS
            return True

    def wait(self) -> float:
        """Seconds until the next probe may succeed, jittered, for a caller that did not probe."""
        return backoff.at_least(max(self._until - self._clock(), INITIAL_PAUSE_SECONDS))

    def record_failure(self) -> float:
        """The server did not answer. Concurrent callers get the same pause.

        Returns:
            Seconds until the next probe, jittered.
        """
        with self._lock:
            now = self._clock()
            if now >= self._until:
                self._until = now + backoff.doubled(self._failures, INITIAL_PAUSE_SECONDS, MAX_PAUSE_SECONDS)
                self._failures += 1
            self._probed_until = 0.0
            return backoff.at_least(self._until - now)

    def should_log(self) -> bool:
        """Whether a log line is due; a caller that gets True writes it."""
        with self._lock:
            worth = self._clock() - self._logged_at >= LOG_INTERVAL_SECONDS
            if worth:
                self._logged_at = self._clock()
            return worth

    def record_success(self) -> None:
        """The server answered: close the breaker."""
        if self._failures:
            with self._lock:
                self._failures, self._until, self._probed_until = 0, 0.0, 0.0
