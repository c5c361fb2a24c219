"""Signals that end the process: Ctrl-C, SIGTERM and the end of the terminal are handled alike."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """A signal told this process to end."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextmanager
def interruptible() -> Iterator[None]:
    """Within the block, the first signal raises `Interrupted`, and so does the second, to end without waiting.

    Later ones are ignored, since only the cleanup is left; so is a signal after the block has ended by itself.
    """
    seen = 0

    def interrupt(number: int, _: FrameType | None) -> None:
        nonlocal seen
        seen += 1
        if seen <= 2:
            raise Interrupted(number)

    before = {number: signal.signal(number, interrupt) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
