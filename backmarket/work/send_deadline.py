"""Deadline for sending a request after its row was set to `sending`."""

from __future__ import annotations

from time import monotonic
from time import time as wall_clock

from backmarket.errors import NetworkError

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


def late() -> NetworkError:
    """The error of a request that was not sent, as more than `SEND_WITHIN` had passed since its mark."""
    return NetworkError(
        f"The worker was held up for more than {SEND_WITHIN:g} s before it sent the request.", delivery="not_sent"
    )


class Stopwatch:
    """Measures with two clocks: one stops while the machine sleeps, the other may be set."""

    def __init__(self) -> None:
        self._steady, self._wall = monotonic(), wall_clock()

    def elapsed(self) -> float:
        """Seconds since it was created, by the clock that shows more."""
        return max(monotonic() - self._steady, wall_clock() - self._wall)
