"""How many turns of one process may walk through pages at once: short turns always find a thread of the worker."""

from __future__ import annotations

import threading
from time import monotonic

AWAITED_SECONDS = 5.0
"""How long a turn that was refused counts as waiting; it comes again sooner."""


class Walkers:
    """The turns of this process that go beyond their first page. Safe to share between threads.

    Args:
        most: of them at a time.
    """

    def __init__(self, most: int) -> None:
        self._free = threading.BoundedSemaphore(most)
        self._refused_at = -AWAITED_SECONDS

    def enter(self) -> bool:
        """Whether there is room for one more; who has entered leaves."""
        entered = self._free.acquire(blocking=False)
        if not entered:
            self._refused_at = monotonic()
        return entered

    def leave(self) -> None:
        """Make room."""
        self._free.release()

    @property
    def awaited(self) -> bool:
        """Whether another was refused lately, and should come first."""
        return monotonic() - self._refused_at < AWAITED_SECONDS
