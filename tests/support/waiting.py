"""Waiting for a condition, never for a time."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, sleep

PATIENCE_SECONDS = 300.0
"""Until a test that waits for something fails. Far more than a core takes that ten share: a deadline finds what never
happens; what must be prompt is counted, or compared within the run."""


class Moment:
    """A moment before something, to tell afterwards how long that wants to wait, however late somebody looks."""

    def __init__(self) -> None:
        self._at = monotonic()

    def waits(self, left: float, least: float, most: float) -> bool:
        """Whether what is left of a wait that began after this moment can be the rest of one in between.

        Args:
            left: seconds of it, now.
            least: seconds that it was at least.
            most: seconds that it was at most.
        """
        return least < left + monotonic() - self._at and left <= most


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition, asking it 20 times a second.

    Args:
        condition: true when the wait is over.
        what: was waited for.
    """
    until = monotonic() + PATIENCE_SECONDS
    while not condition():
        assert monotonic() < until, f"not within {PATIENCE_SECONDS:g} s: {what}"
        sleep(0.05)
