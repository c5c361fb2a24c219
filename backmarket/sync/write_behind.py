"""Writing one batch in a thread of its own, while the slice goes on with the next one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

from backmarket.services.request_threads import RequestThreads


class WriteBehind:
    """At most one batch that is being written.

    Args:
        threads: of the process; if none is free, the caller's own writes.
    """

    def __init__(self, threads: RequestThreads) -> None:
        self._threads = threads
        self._batch: Future[None] | None = None

    @property
    def running(self) -> bool:
        """Whether a batch is being written."""
        return self._batch is not None and not self._batch.done()

    def start(self, write: Callable[[], None]) -> None:
        """Write a batch. The one before must have been joined."""
        if self._threads.reserve(1, patience=0.0):
            self._batch = self._threads.submit(write)
        else:
            write()

    def join(self) -> None:
        """Wait until the batch is committed.

        Raises:
            BackMarketError: if it could not be written.
        """
        batch, self._batch = self._batch, None
        if batch is not None:
            batch.result()
