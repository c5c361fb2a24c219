"""Wait for a durable row to end."""

from __future__ import annotations

from collections.abc import Callable, Generator
from time import monotonic, sleep
from typing import TypeVar

from backmarket.errors import WaitTimeout

T = TypeVar("T")

INITIAL_PAUSE_SECONDS = 0.02
"""Seconds between the first two reads of the row; each further pause is half as long again."""

Poll = Generator[float, None, T]
"""Reads a row until it has ended: yields the seconds to pause before the next read, and returns the outcome."""


def poll(
    done: Callable[[], T | None],
    timeout: float,
    why_not: Callable[[], str],
    *,
    max_pause: float = 0.5,
    poll_interval: float | None = None,
) -> Poll[T]:
    """Read a row until it has ended.

    Args:
        done: returns the outcome; None: it has not ended.
        timeout: seconds.
        why_not: returns the text of the error, which says what the row waits for.
        max_pause: maximum seconds between two reads.
        poll_interval: seconds between two reads; None: short at first, then growing.

    Raises:
        WaitTimeout: if it has not ended in time.
    """
    until, pause = monotonic() + timeout, poll_interval or INITIAL_PAUSE_SECONDS
    while (outcome := done()) is None:
        left = until - monotonic()
        if left <= 0:
            text = why_not()
            if (outcome := done()) is None:  # not a text about a row that has ended meanwhile
                raise WaitTimeout(text)
            break
        yield min(pause, left)
        pause = poll_interval or min(pause * 1.5, max_pause)
    return outcome


def read(reads: Poll[T]) -> tuple[float, T | None]:
    """One read: the seconds to pause before the next one, and None; or the outcome.

    Raises:
        WaitTimeout: if it has not ended in time.
    """
    try:
        return next(reads), None
    except StopIteration as ended:
        return 0.0, ended.value


def wait_for(reads: Poll[T]) -> T:
    """Wait in this thread.

    Raises:
        WaitTimeout: if it has not ended in time.
    """
    while True:
        pause, outcome = read(reads)
        if outcome is not None:
            return outcome
        sleep(pause)
