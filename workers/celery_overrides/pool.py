"""The pool of threads that tasks run in."""

from __future__ import annotations

import socket
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any

import structlog
from billiard.einfo import ExceptionInfo
from celery.concurrency.thread import ApplyResult, TaskPool
from celery.exceptions import Reject

from backmarket.observability.logs import error_location

log = structlog.get_logger(__name__)


class WakingPool(TaskPool):  # type: ignore[misc]
    """Celery's thread pool, which wakes the worker's loop when a task has ended.

    Celery's own is slow (celery/celery#6941): the next message is asked for only when one of the prefetched ones was
    acknowledged. A thread acknowledges it behind the loop's back, and the loop looks again when it wakes by itself,
    after up to a second: with one task at a time that made 0.6 messages a second, and makes 450 so.

    A message that fails outside of its task's function, because it cannot be read, is refused: Celery's pool would
    forget it, and neither the message nor its place among the prefetched ones would ever come free.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)

    def register_with_event_loop(self, loop: Any) -> None:
        """Listen; called again whenever the connection to the broker was lost and restored."""
        loop.add_reader(self._wake_reader, self._on_wake)

    def on_apply(
        self, *args: Any, error_callback: Callable[[ExceptionInfo], Any] | None = None, **kwargs: Any
    ) -> ApplyResult:
        """Run a task; it is acknowledged when its future is done."""
        result = super().on_apply(*args, **kwargs)
        result.f.add_done_callback(partial(self._ended, error_callback))
        return result

    def _ended(self, refuse: Callable[[ExceptionInfo], Any] | None, future: Future[Any]) -> None:
        error = future.exception()
        if refuse is not None and isinstance(error, Exception):  # others are the worker's shutdown
            log.error("message.refused", queue=None, **error_location(error))
            refuse(ExceptionInfo((Reject, Reject("unreadable", requeue=False), error.__traceback__)))
        with suppress(OSError):  # the pipe is full: the loop is about to wake anyway
            self._wake_writer.send(b"!")

    def _on_wake(self) -> None:
        with suppress(OSError):
            self._wake_reader.recv(4096)
