"""The throttle of logins: tries delay the next try of the same address or name."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable

WINDOW = 600.0
"""Seconds for which a try counts."""
REMEMBERED = 10_000
"""Maximum number of remembered keys; the oldest are forgotten first."""


class Throttle:
    """Counts tries by key in a sliding window. A try counts from its reservation on, so that many at once are counted.

    Args:
        allowed: number of tries that one key may have in the window.
        clock: a monotonic clock, in seconds.
    """

    def __init__(self, allowed: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._allowed = allowed
        self._clock = clock
        self._tries: OrderedDict[str, deque[float]] = OrderedDict()

    def wait(self, key: str) -> float:
        """Seconds until this key may try again; 0: now."""
        tries = self._tries.get(key)
        if tries is None:
            return 0.0
        now = self._clock()
        while tries and tries[0] <= now - WINDOW:
            tries.popleft()
        return tries[0] + WINDOW - now if len(tries) >= self._allowed else 0.0

    def reserve(self, key: str) -> None:
        """Count a try, before its password is compared."""
        self._tries.setdefault(key, deque(maxlen=self._allowed)).append(self._clock())
        self._tries.move_to_end(key)
        while len(self._tries) > REMEMBERED:
            self._tries.popitem(last=False)

    def release(self, key: str) -> None:
        """Forget one try, which succeeded; the others of the key stay, as another person's may be among them."""
        if tries := self._tries.get(key):
            tries.pop()

    def forget(self, key: str) -> None:
        """Forget all tries of a key."""
        self._tries.pop(key, None)
