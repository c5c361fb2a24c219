"""What every task needs, in one place: the log context, and how errors leave a task."""

from __future__ import annotations

from typing import Any

import structlog
from celery import Task
from celery.exceptions import Reject

from backmarket import services
from backmarket.audit import Actor, ProvedBy, acting
from backmarket.errors import BackMarketError, Crashed, TransientError
from backmarket.observability import telemetry
from backmarket.observability.logs import error_location
from tasks import arguments

LATER_SECONDS = 5.0
"""Seconds that a task waits before it puts its message back into the queue."""

log = structlog.get_logger(__name__)


def _sender(origin: object) -> Actor:
    """Who sent a message, by its own word: the audit trail says that this is unverified."""
    return Actor(None, ProvedBy.BROKER, origin if isinstance(origin, str) else None)


class SliceFailed(Exception):
    """Ends a task whose slice failed, so that Flower shows a failure and why; the row and the log say so already.

    Its only argument is that text: Celery pickles exceptions, and logs an error about those that it cannot restore.
    """

    def __repr__(self) -> str:
        """As Flower shows it."""
        return str(self)


class BackMarketTask(Task):  # type: ignore[misc]
    """The base of all tasks: acknowledged late, safe to run twice, silent about values.

    The row that it worked on says what is due next, so no error is retried here. Our own errors leave the task
    unchanged, since their text is safe to show; of any other error only the class leaves it, and the log has its place.
    What a task returns is told in the events that Flower reads, and stored nowhere: how its slice ended, or the error.
    """

    abstract = True
    acks_late = True
    reject_on_worker_lost = True
    ignore_result = True
    max_retries = 0
    throws = (BackMarketError, SliceFailed)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task with its name and id bound to every log line."""
        with (
            structlog.contextvars.bound_contextvars(task=self.name, task_id=self.request.id),
            telemetry.span("task", task=self.name),
            acting(_sender(self.request.origin)),
        ):
            try:
                arguments.check(self.run, args, kwargs)
                result = self.run(*args, **kwargs)
            except BackMarketError as error:
                log.error("task.failed", code=error.code, error=error.message)
                raise
            except Exception as error:  # noqa: BLE001 - its text may quote a customer's data; only its place is logged
                log.error("task.crashed", **error_location(error))
                raise Crashed.of(error) from None
        if isinstance(result, BackMarketError):
            raise SliceFailed(f"{result.code}: {result.message}")
        return result


class TickTask(BackMarketTask):
    """A task that beat ticks: it sends no events, so that the tasks that Flower remembers are work."""

    abstract = True
    send_events = False


class OnlyMessageTask(BackMarketTask):
    """A task without a row: while PostgreSQL or the bucket is unavailable, its message goes back into the queue."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task; after a transient error, put its message back."""
        try:
            return super().__call__(*args, **kwargs)
        except TransientError as error:
            services.current().stopping.wait(LATER_SECONDS)
            raise Reject(error.code, requeue=True) from None
