"""Admission control: limits the long syncs of one process, so that short ones always find a thread of the worker."""

from __future__ import annotations

import threading
from time import monotonic

from backmarket.messages import Nudge

AWAITED_SECONDS = 5.0
"""How long a rejected sync counts as waiting. It retries sooner than that."""

RETRY_WHEN_FULL_SECONDS = (0.5, 1.5)
"""Seconds after which a rejected sync retries, unless it gets a free place before: minimum, maximum."""


class AdmissionControl:
    """Admits the slices of this process that go beyond their first page. Safe to share between threads.

    Args:
        limit: slices admitted at a time.
    """

    def __init__(self, limit: int) -> None:
        self._lock = threading.Lock()
        self._limit = self._free = limit
        self._waiting: dict[Nudge, float] = {}
        """Rejected syncs that have not retried, oldest first; and when each was last rejected."""

    def enter(self, nudge: Nudge) -> bool:
        """Admit a sync if there is room. A caller that gets True must call `leave`.

        Args:
            nudge: of the sync.
        """
        with self._lock:
            if self._free == 0:
                self._waiting[nudge] = monotonic()
                return False
            self._free -= 1
            self._waiting.pop(nudge, None)
            return True

    def is_waiting(self, nudge: Nudge) -> bool:
        """Whether a sync was rejected lately.

        Args:
            nudge: of the sync.
        """
        with self._lock:
            self._forget()
            return nudge in self._waiting

    def leave(self) -> Nudge | None:
        """Free a place.

        Returns:
            The sync that has waited longest, which may have the place and is forgotten here; None: none waits.
        """
        with self._lock:
            self._free += 1
            self._forget()
            nudge = next(iter(self._waiting), None)
            if nudge is not None:
                del self._waiting[nudge]
            return nudge

    @property
    def running(self) -> int:
        """Number of admitted slices."""
        return self._limit - self._free

    @property
    def awaited(self) -> bool:
        """Whether another sync was rejected lately, and should come first."""
        with self._lock:
            self._forget()
            return bool(self._waiting)

    def _forget(self) -> None:
        """Forget waiters that have not retried recently; another worker has taken them."""
        now = monotonic()
        self._waiting = {nudge: at for nudge, at in self._waiting.items() if now - at < AWAITED_SECONDS}
