"""Redis as a broker: what is no message is passed over, before `consumer.py` rejects what can't be read."""

from __future__ import annotations

from io import StringIO
from typing import Any

import structlog
from kombu.transport import TRANSPORT_ALIASES, redis

from backmarket.observability.logs import error_location

log = structlog.get_logger(__name__)


class QoS(redis.QoS):  # type: ignore[misc]
    """What was taken and not finished; at the end it is given back, and the log says so.

    Kombu's `QoS.restore_unacked_once` writes that to standard error as it is, between the log's lines of JSON.
    """

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Give it back, for another worker."""
        count = len(self._delivered)
        super().restore_unacked_once(stderr or StringIO())
        if count and not self._delivered:
            log.info("messages.given_back", count=count)


class Channel(redis.Channel):  # type: ignore[misc]
    """A channel that passes over what is not even the JSON of a message.

    Kombu's `Channel._brpop_read` raises, which ends the worker (celery/celery#7975).
    """

    QoS = QoS

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)
        except (ValueError, RecursionError) as error:
            log.error("message.refused", queue=None, **error_location(error))
            return True


class Transport(redis.Transport):  # type: ignore[misc]
    """Redis as a broker, where a message without the parts of one is passed over.

    Kombu's `Transport._deliver` raises, which ends the worker (celery/celery#7975).
    """

    Channel = Channel

    def _deliver(self, message: Any, queue: Any) -> None:
        try:
            super()._deliver(message, queue)
        except self.connection_errors:
            raise
        except Exception as error:  # noqa: BLE001 - anything can be in a queue
            log.error("message.refused", queue=queue, **error_location(error))


def connect() -> None:
    """Let the workers' connections to Redis be of this kind; harmless to repeat."""
    TRANSPORT_ALIASES.update(dict.fromkeys(("redis", "rediss"), f"{__name__}:{Transport.__name__}"))
