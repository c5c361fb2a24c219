"""The threads that send a process's requests, shared by all slices."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")


class RequestThreads:
    """A pool of threads that are reserved before use: a request is sent as soon as its slot is taken.

    Args:
        threads: size of the pool.
    """

    def __init__(self, threads: int) -> None:
        self._size = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="fetch")
        self._free = threads
        self._changed = threading.Condition()

    def share(self, users: int) -> int:
        """Threads that each of so many users may have at a time, at least 1."""
        return max(1, self._size // max(1, users))

    def reserve(self, want: int, *, patience: float) -> int:
        """Reserve up to `want` threads.

        Args:
            want: at least 1.
            patience: seconds to wait for the first one.

        Returns:
            The number reserved; the caller passes each to `submit` or `release`.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._free > 0, timeout=patience)
            taken = min(want, self._free)
            self._free -= taken
            return taken

    def release(self, count: int) -> None:
        """Return reserved threads that are not used."""
        with self._changed:
            self._free += count
            self._changed.notify(count)

    def submit(self, fetch: Callable[[], T]) -> Future[T]:
        """Run something on a reserved thread, which is free again afterwards."""
        future = self._pool.submit(copy_context().run, fetch)  # log lines there name the organization, too
        future.add_done_callback(lambda _: self.release(1))
        return future

    def close(self) -> None:
        """End the threads when their requests are done."""
        self._pool.shutdown(wait=True, cancel_futures=True)
