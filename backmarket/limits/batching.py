"""Batching: concurrent calls of several threads become one call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Batcher(Generic[T]):
    """Collects items of several threads. While one thread flushes, the others leave their items with it and return.

    A single thread flushes at once, without waiting.

    Args:
        flush: takes the collected items; called by one thread at a time.
    """

    def __init__(self, flush: Callable[[Sequence[T]], None]) -> None:
        self._flush = flush
        self._lock = threading.Lock()
        self._waiting: list[T] = []
        self._busy = False

    def add(self, items: Sequence[T]) -> None:
        """Flush items, or leave them with the thread that is flushing.

        Raises:
            Exception: if `flush` raises it, in the thread that called it.
        """
        with self._lock:
            self._waiting += items
            if self._busy:
                return
            self._busy = True
        while taken := self._take():
            try:
                self._flush(taken)
            except BaseException:
                with self._lock:
                    self._busy = False
                raise

    def _take(self) -> list[T]:
        with self._lock:
            taken, self._waiting = self._waiting, []
            self._busy = bool(taken)
            return taken
