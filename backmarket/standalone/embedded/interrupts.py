"""Ctrl-C held back for a moment, so that nothing is started that nobody has noted."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def held_back() -> Iterator[None]:
    """What a signal means to this process happens at the end of the block, not within it.

    Only for what takes a moment. Python runs handlers in the main thread alone, so another thread needs none of this.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        came.append(number)

    before = _handlers()
    try:
        for number in before:
            signal.signal(number, note)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for each in came:
            signal.raise_signal(each)


def _handlers() -> dict[signal.Signals, Callable[[int, FrameType | None], object]]:
    """The handlers that are Python's: what the system does by itself can't be held back."""
    found = ((number, signal.getsignal(number)) for number in SIGNALS)
    return {number: handler for number, handler in found if callable(handler)}
