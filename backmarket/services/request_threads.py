"""The threads in which a process sends its requests, shared by all turns."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")


class Seats:
    """The threads that fetch, and who may use them: a request is sent at once when its slot is taken.

    Args:
        threads: how many.
    """

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="fetch")
        self._free = threads
        self._changed = threading.Condition()

    def take(self, want: int, *, patience: float) -> int:
        """Reserve up to `want` threads.

        Args:
            want: at least 1.
            patience: seconds to wait for the first one.

        Returns:
            How many were free; each is ended with `submit` or `leave`.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._free > 0, timeout=patience)
            taken = min(want, self._free)
            self._free -= taken
            return taken

    def leave(self, count: int) -> None:
        """Give reserved threads back."""
        with self._changed:
            self._free += count
            self._changed.notify(count)

    def submit(self, fetch: Callable[[], T]) -> Future[T]:
        """Run something on a reserved thread, which is free again afterwards."""
        future = self._pool.submit(copy_context().run, fetch)  # log lines there name the organization, too
        future.add_done_callback(lambda _: self.leave(1))
        return future

    def close(self) -> None:
        """End the threads when what they do is done."""
        self._pool.shutdown(wait=True, cancel_futures=True)
