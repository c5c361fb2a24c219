"""Redis as a broker: data that is not a message is skipped, before `consumer.py` rejects unreadable messages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import StringIO
from time import monotonic
from typing import Any

import structlog
from kombu.transport import TRANSPORT_ALIASES, redis, virtual
from kombu.utils.json import dumps
from redis.exceptions import ResponseError

from backmarket.observability.logs import error_location

log = structlog.get_logger(__name__)


class QoS(redis.QoS):  # type: ignore[misc]
    """Messages that were taken and not finished, dated by Redis's clock; at the end they are returned to their queues.

    Kombu dates them by the worker's own clock (`append`) and compares that with another worker's (`restore_visible`):
    one worker two hours ahead put all that the others were working on back into the queues, every 10 seconds.

    Kombu's `restore_unacked_once` writes to standard error as it is, between the log's lines of JSON.
    """

    _server_clock: tuple[float, float] | None = None
    """Redis's time, and the monotonic clock when it was read."""

    def append(self, message: Any, delivery_tag: str) -> None:
        """Remember a message that was taken."""
        about = message.delivery_info
        taken = dumps([message._raw, about["exchange"], about["routing_key"]])
        with self.pipe_or_acquire() as pipeline:
            pipeline.zadd(self.unacked_index_key, {delivery_tag: self._server_time()})
            pipeline.hset(self.unacked_key, delivery_tag, taken)
            pipeline.execute()
        virtual.QoS.append(self, message, delivery_tag)

    def restore_visible(self, start: int = 0, num: int | None = 10, interval: int = 10) -> None:
        """Put messages whose worker was killed back into their queues, each 10 s; kombu does so at each 10th call."""
        self._server_clock = None
        with self.channel.conn_or_acquire() as client, suppress(redis.MutexHeld):
            before = self._server_time() - self.visibility_timeout
            with redis.Mutex(client, self.unacked_mutex_key, self.unacked_mutex_expire):
                part = {"start": start, "num": num} if num else {}  # kombu asks for all at the start
                for tag in client.zrangebyscore(self.unacked_index_key, 0, before, **part):
                    self.restore_by_tag(tag, client)

    def _server_time(self) -> float:
        """Redis's time, read at each `restore_visible` and extrapolated in between."""
        if self._server_clock is None:
            with self.channel.conn_or_acquire() as client:
                seconds, micros = client.time()
            self._server_clock = seconds + micros / 1e6, monotonic()
        theirs, read_at = self._server_clock
        return theirs + monotonic() - read_at

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Return the message to its queue, for another worker."""
        count = len(self._delivered)
        super().restore_unacked_once(stderr or StringIO())
        if count and not self._delivered:
            log.info("messages.given_back", count=count)


class Channel(redis.Channel):  # type: ignore[misc]
    """A channel that skips data that is not even the JSON of a message.

    Kombu's `Channel._brpop_read` raises, which ends the worker (celery/celery#7975).
    """

    QoS = QoS
    _shared: Any = None

    @contextmanager
    def conn_or_acquire(self, client: Any = None) -> Iterator[Any]:
        """One client of the channel's connections; kombu makes one for each command, with a table of all commands."""
        if client is None and getattr(self._shared, "connection_pool", None) is not self.pool:
            self._shared = self._create_client()
        yield client or self._shared

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)
        except (ValueError, RecursionError) as error:
            log.error("message.refused", queue=None, **error_location(error))
            return True


class Transport(redis.Transport):  # type: ignore[misc]
    """Redis as a broker, which skips a message without a message's parts.

    Kombu's `Transport._deliver` raises, which ends the worker (celery/celery#7975).
    """

    Channel = Channel

    def _deliver(self, message: Any, queue: Any) -> None:
        try:
            super()._deliver(message, queue)
        except (*self.connection_errors, ResponseError):
            raise  # Redis could not note it as taken, its memory is full perhaps: the message is not at fault
        except Exception as error:  # noqa: BLE001 - anything can be in a queue
            log.error("message.refused", queue=queue, **error_location(error))


def connect() -> None:
    """Use this transport for the workers' connections to Redis; harmless to repeat."""
    TRANSPORT_ALIASES.update(dict.fromkeys(("redis", "rediss"), f"{__name__}:{Transport.__name__}"))


def restore_nothing() -> None:
    """Let this process put no message back into its queue: Flower takes none, and its user on Redis may not."""
    QoS.restore_visible = lambda *_, **__: None  # type: ignore[method-assign]
