"""A server that is away: how long everybody in this process waits before it is asked again."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from time import monotonic

FIRST = 5.0
"""Seconds of the first pause."""

LONGEST = 300.0
"""Seconds; each pause is twice the one before it, up to this."""

ASKING = 60.0
"""Seconds after which whoever asks counts as gone: longer than an answer is waited for."""

TOLD_AGAIN = 60.0
"""Seconds for which one line in the log is enough, however many organizations wait."""


class Outage:
    """What a process knows of a server's absence. Safe to share between threads.

    Args:
        clock: gives seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._pause = 0.0
        self._until = 0.0
        self._asked_until = 0.0
        self._told_at = -TOLD_AGAIN

    @property
    def ongoing(self) -> bool:
        """Whether it did not answer when it was asked last."""
        return self._pause > 0

    def may_ask(self) -> bool:
        """Whether the caller may ask, for all who wait: one does at a time.

        Whoever may says what came of it: `failed`, or `over`.
        """
        with self._lock:
            now = self._clock()
            if now < self._asked_until:
                return False
            self._asked_until = now + ASKING
            return True

    def wait(self) -> float:
        """Seconds until it may be worth asking again, jittered, for somebody who did not ask."""
        return max(self._until - self._clock(), FIRST) * random.uniform(1.0, 1.25)  # noqa: S311

    def failed(self) -> float:
        """It did not answer. Those who ask at the same time are told of the same pause.

        Returns:
            Seconds until it is worth asking again, jittered.
        """
        with self._lock:
            now = self._clock()
            if now >= self._until:
                self._pause = min(max(FIRST, 2 * self._pause), LONGEST)
                self._until = now + self._pause
            self._asked_until = 0.0
            return (self._until - now) * random.uniform(1.0, 1.25)  # noqa: S311

    def worth_telling(self) -> bool:
        """Whether nobody has told the log of it lately; whoever asks does."""
        with self._lock:
            worth = self._clock() - self._told_at >= TOLD_AGAIN
            if worth:
                self._told_at = self._clock()
            return worth

    def over(self) -> None:
        """It answers."""
        if self._pause:
            with self._lock:
                self._pause = self._until = self._asked_until = 0.0
