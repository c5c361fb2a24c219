"""Waiting for a condition, never for a time."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, sleep

PATIENCE_SECONDS = 300.0
"""Until a test that waits for something fails. Far more than a core takes that ten share: a deadline finds what never
happens; what must be prompt is counted, or compared within the run."""


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
