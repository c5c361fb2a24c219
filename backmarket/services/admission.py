"""How many turns of one process may walk through pages at once: short turns always find a thread of the worker."""

from __future__ import annotations

import threading
from time import monotonic

from backmarket.messages import Nudge

AWAITED_SECONDS = 5.0
"""How long a turn that was refused counts as waiting; it comes again sooner."""

COME_AGAIN = (0.5, 1.5)
"""Seconds after which a turn that was refused comes again, if no place becomes free for it before: from, to."""


class Walkers:
    """The turns of this process that go beyond their first page. Safe to share between threads.

    Args:
        most: of them at a time.
    """

    def __init__(self, most: int) -> None:
        self._lock = threading.Lock()
        self._free = most
        self._waiting: dict[Nudge, float] = {}
        """Who was refused and has not come back, the first one first; and when it was refused last."""

    def enter(self, turn: Nudge) -> bool:
        """Whether there is room for one more; who has entered leaves.

        Args:
            turn: whose.
        """
        with self._lock:
            if self._free == 0:
                self._waiting[turn] = monotonic()
                return False
            self._free -= 1
            self._waiting.pop(turn, None)
            return True

    def leave(self) -> Nudge | None:
        """Make room.

        Returns:
            Whose turn may have it: who has waited longest; None: nobody waits. It is told of one place only.
        """
        with self._lock:
            self._free += 1
            self._forget()
            turn = next(iter(self._waiting), None)
            if turn is not None:
                del self._waiting[turn]
            return turn

    @property
    def awaited(self) -> bool:
        """Whether another was refused lately, and should come first."""
        with self._lock:
            self._forget()
            return bool(self._waiting)

    def _forget(self) -> None:
        """Who was refused long ago has found room elsewhere."""
        now = monotonic()
        self._waiting = {turn: at for turn, at in self._waiting.items() if now - at < AWAITED_SECONDS}
