"""Deadline for sending a request after its row was set to `sending`."""

from __future__ import annotations

from time import monotonic
from time import time as wall_clock

SEND_WITHIN = 2.0
"""Maximum seconds from the start of the transaction that sets `sending` to the first byte; later, it is not sent."""

CLOCKS = 1.0
"""Seconds for what a request's deadline does not cover: rounding, and closing its connection."""


def send_deadline(request_longest: float) -> float:
    """Seconds from the mark that a request is being sent until it can no longer arrive.

    Args:
        request_longest: maximum seconds of one request.
    """
    return SEND_WITHIN + request_longest + CLOCKS


class Stopwatch:
    """Measures with two clocks: one stops while the machine sleeps, the other may be set."""

    def __init__(self) -> None:
        self._steady, self._wall = monotonic(), wall_clock()

    def elapsed(self) -> float:
        """Seconds since it was created, by the clock that shows more."""
        return max(monotonic() - self._steady, wall_clock() - self._wall)
