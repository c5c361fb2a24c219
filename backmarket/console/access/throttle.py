"""The throttle of logins: failures delay the next attempt of the same address or name."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable

WINDOW = 600.0
"""Seconds for which a failure counts."""
REMEMBERED = 10_000
"""Maximum number of remembered keys; the oldest are forgotten first."""


class Throttle:
    """Counts failures by key in a sliding window.

    Args:
        allowed: number of failures that one key may have in the window.
        clock: a monotonic clock, in seconds.
    """

    def __init__(self, allowed: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._allowed = allowed
        self._clock = clock
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def wait(self, key: str) -> float:
        """Seconds until this key may try again; 0: now."""
        failures = self._failures.get(key)
        if failures is None:
            return 0.0
        now = self._clock()
        while failures and failures[0] <= now - WINDOW:
            failures.popleft()
        return failures[0] + WINDOW - now if len(failures) >= self._allowed else 0.0

    def failed(self, key: str) -> None:
        """Count a failure."""
        self._failures.setdefault(key, deque(maxlen=self._allowed)).append(self._clock())
        self._failures.move_to_end(key)
        while len(self._failures) > REMEMBERED:
            self._failures.popitem(last=False)

    def succeeded(self, key: str) -> None:
        """Forget the failures of a key."""
        self._failures.pop(key, None)
