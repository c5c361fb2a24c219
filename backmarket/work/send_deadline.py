"""How late a request may still be sent after its row says that it is being sent."""

from __future__ import annotations

from time import monotonic
from time import time as wall_clock

SEND_WITHIN = 2.0
"""Seconds from the beginning of the transaction that says `sending` to the first byte; later, it is not sent."""

CLOCKS = 1.0
"""Seconds for what the deadline of a request does not count: its rounding, and the end of its connection."""


class Stopwatch:
    """Measures by two clocks: one stands still while the machine sleeps, the other may be set."""

    def __init__(self) -> None:
        self._steady, self._wall = monotonic(), wall_clock()

    def elapsed(self) -> float:
        """Seconds since it was made, by the clock that shows more."""
        return max(monotonic() - self._steady, wall_clock() - self._wall)
