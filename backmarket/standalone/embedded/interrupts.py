"""Delaying Ctrl-C for a moment, so that no process is started without a record."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def held_back() -> Iterator[None]:
    """Delay the handling of signals until the end of the block.

    Only for short blocks. Python runs handlers in the main thread alone, so other threads need no delay.
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
    """The handlers in Python: the system's default actions cannot be delayed."""
    found = ((number, signal.getsignal(number)) for number in SIGNALS)
    return {number: handler for number, handler in found if callable(handler)}
