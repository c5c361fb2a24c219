"""What comes out of the queues: a message that can't be read is refused for good, and the next one is taken.

A queue is open to whoever reaches the broker. Celery and kombu end the worker over most messages that are not as they
make them, and put the message back before; so one of them would end every worker that takes it, for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from typing import Any

import structlog
from kombu.transport import TRANSPORT_ALIASES, redis

from backmarket.observability.logs import place
from workers.consumer import BeatingConsumer

log = structlog.get_logger(__name__)


class RefusingConsumer(BeatingConsumer):
    """The workers' consumer, which logs nothing of what it refuses but where that was noticed, and goes on."""

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """What is done with each message."""
        receive = super().create_task_handler(*args, **kwargs)

        def handle(message: Any) -> None:
            try:
                receive(message)
            except self.connection_errors:
                raise
            except Exception as error:  # noqa: BLE001 - anything can be in a message
                self._refuse(message, error)

        return handle

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """It names no task."""
        self._refuse(message, KeyError())

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """It names a task that is not ours."""
        self._refuse(message, exc)

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Its arguments have another form than a task's."""
        self._refuse(message, exc)

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Its body can't be decoded."""
        self._refuse(message, exc)

    def _refuse(self, message: Any, error: Exception) -> None:
        log.error("message.refused", queue=queue_of(message), **place(error))
        if not message.acknowledged:
            message.reject_log_error(log, self.connection_errors)


class QoS(redis.QoS):  # type: ignore[misc]
    """What was taken and not finished; at the end it is given back, and the log says so.

    Kombu writes that to standard error as it is, between the log's lines of JSON.
    """

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Give it back, for another worker."""
        count = len(self._delivered)
        super().restore_unacked_once(stderr or StringIO())
        if count and not self._delivered:
            log.info("messages.given_back", count=count)


class Channel(redis.Channel):  # type: ignore[misc]
    """A channel that passes over what is not even the JSON of a message."""

    QoS = QoS

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)
        except (ValueError, RecursionError) as error:
            log.error("message.refused", queue=None, **place(error))
            return True


class Transport(redis.Transport):  # type: ignore[misc]
    """Redis as a broker, where a message without the parts of one is passed over."""

    Channel = Channel

    def _deliver(self, message: Any, queue: Any) -> None:
        try:
            super()._deliver(message, queue)
        except self.connection_errors:
            raise
        except Exception as error:  # noqa: BLE001 - anything can be in a queue
            log.error("message.refused", queue=queue, **place(error))


def queue_of(message: Any) -> str | None:
    """The queue that a message came from, as far as it says so."""
    about = message.delivery_info
    name = about.get("routing_key") if isinstance(about, dict) else None
    return name if isinstance(name, str) else None


def connect() -> None:
    """Let the workers' connections to Redis be of this kind; harmless to repeat."""
    TRANSPORT_ALIASES.update(dict.fromkeys(("redis", "rediss"), f"{__name__}:{Transport.__name__}"))
