"""The consumer of a worker: it beats the process's heartbeat, and rejects messages that are not ours for good."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog
from celery.exceptions import InvalidTaskError
from celery.worker.consumer import Consumer

from backmarket.messages import QUEUES
from backmarket.observability.logs import error_location
from backmarket.producer import reason
from workers.health.heartbeat import HEARTBEAT

BEAT_SECONDS = 1.0

_EMBEDDED = ("callbacks", "errbacks", "chain", "chord")
"""Fields in which a message names tasks that a worker is to call or send after its own."""

MAX_BODY_BYTES = 64 * 1024
"""Maximum size of a message's body, in bytes: ours have a few hundred."""

log = structlog.get_logger(__name__)


class HeartbeatConsumer(Consumer):  # type: ignore[misc]
    """Beats once a second, while it consumes and while it waits for an unavailable broker.

    Celery offers no liveness check (celery/celery#4079). Its main thread is in one of two places: in the event loop,
    whose timers Celery forgets with every lost connection; and, until there is a connection again, in kombu's retries,
    which call back once a second.
    """

    def register_with_event_loop(self, hub: Any) -> None:
        """Called at the start, and whenever the connection was made again."""
        hub.call_repeatedly(BEAT_SECONDS, HEARTBEAT.beat)
        super().register_with_event_loop(hub)

    def ensure_connected(self, conn: Any) -> Any:
        """Wait until the broker is available."""
        connect = conn.ensure_connection

        def ensure_connection(_: Any, max_retries: Any, callback: Callable[[], Any]) -> Any:
            # instead of Celery's line, in which the log leaves out what it cannot know to be harmless: the reason
            return connect(_log_unavailable, max_retries, callback=_beating(callback))

        conn.ensure_connection = ensure_connection
        return super().ensure_connected(conn)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Log the reason, which Redis may have given: a missing permission, a full memory, a role that has changed."""
        log.warning("broker.lost", error=reason(exc))
        super().on_connection_error_after_connected(exc)


class FlushingConsumer(HeartbeatConsumer):
    """Sends every event of a task that a thread of the pool reports, the last ones too.

    Celery lets the loop flush them in a way that is safe for its own thread alone, and not after the loop has ended: a
    task that ran when its worker was told to end stayed STARTED in Flower for ever.
    """

    def on_send_event_buffered(self) -> None:
        """Let the loop flush; called by any thread."""
        with self.hub._ready_lock:
            self.hub._ready.add(self._flush_events)

    def shutdown(self) -> None:
        """The pool has ended."""
        self._flush_events()
        super().shutdown()


class RejectingConsumer(FlushingConsumer):
    """The workers' consumer: it runs only our tasks, and logs one line for each message that it refuses.

    A queue is open to everyone who reaches the broker. Celery ends the worker over most messages that are not as it
    makes them (celery/celery#4308), and puts the message back before; so one of them would end every worker that takes
    it, forever. When Celery refuses a message, it logs all that the message holds.

    Celery's built-in tasks (`celery.map` and the like) and the calls that a message can carry (`link`, `chain`,
    `chord`) would let one message run thousands of tasks, and those of other queues. A message that is to wait (`eta`)
    would stay in the worker's memory.
    """

    def update_strategies(self) -> None:
        """Know our tasks, and none of Celery's own."""
        super().update_strategies()
        for name in set(self.strategies) - set(QUEUES):
            del self.strategies[name]

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """The function that takes each message."""
        receive = super().create_task_handler(*args, **kwargs)

        def handle(message: Any) -> None:
            try:
                _check(message)
                receive(message)
            except self.connection_errors:
                raise
            except Exception as error:  # noqa: BLE001 - anything can be in a message
                self._reject(message, error)

        return handle

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """It names no task."""
        self._reject(message, KeyError())

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """It names a task that is not ours."""
        self._reject(message, exc)

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Its arguments have another form than a task's."""
        self._reject(message, exc)

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Its body cannot be decoded."""
        self._reject(message, exc)

    def _reject(self, message: Any, error: Exception) -> None:
        log.error("message.refused", queue=queue_of(message), **error_location(error))
        if not message.acknowledged:
            message.reject_log_error(log, self.connection_errors)


def _check(message: Any) -> None:
    """Refuse a message that is large, carries calls of other tasks, or is to wait in the worker.

    Raises:
        InvalidTaskError: if it does.
        Exception: if it is not a message of Celery's; of any class.
    """
    if len(message.body) > MAX_BODY_BYTES:
        raise InvalidTaskError
    headers, body = message.headers, message.payload
    second = "task" in headers  # protocol 2; in protocol 1 everything is in the body
    about, embedded = (headers, body[2]) if second else (body, body)
    if any(embedded.get(name) for name in _EMBEDDED) or about.get("eta"):
        raise InvalidTaskError


def queue_of(message: Any) -> str | None:
    """The queue that a message came from, if it says so."""
    about = message.delivery_info
    name = about.get("routing_key") if isinstance(about, dict) else None
    return name if isinstance(name, str) else None


def _log_unavailable(error: Exception, seconds: float) -> None:
    log.warning("broker.unavailable", error=reason(error), again_in=seconds)


def _beating(callback: Callable[[], Any]) -> Callable[[], None]:
    def beat() -> None:
        HEARTBEAT.beat()
        callback()

    return beat
