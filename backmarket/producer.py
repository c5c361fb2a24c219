"""The producer sends messages to the broker, for host applications and for our own tasks; it is light to import.

A message is only a nudge: the row that it points at is written first, and the dispatcher sends lost nudges again.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import Any

from celery import Celery
from kombu import Queue, serialization
from kombu.exceptions import OperationalError
from kombu.utils.json import dumps
from kombu.utils.uuid import uuid

from backmarket.errors import BrokerUnavailable, SettingsError
from backmarket.messages import NUDGED_TASKS, QUEUES, Nudge, redis_urls

TRANSPORT_OPTIONS = {
    # a task whose worker was killed comes back then; leases in PostgreSQL bring its work back sooner
    "visibility_timeout": 900,
    # one list a queue instead of four: 39% more consumed a second
    "priority_steps": [0],
    # without these a publish can hang forever
    "socket_timeout": 5,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "socket_keepalive_options": redis_urls.KEEPALIVE,
    "health_check_interval": 10,
}
"""Redis as a broker, for producers and workers alike (measured: docs/decisions/0002)."""

BATCH = 500
"""Messages that go to Redis in one command (0.5 MB): all of them arrive, or none."""

PERSISTENT = 2
"""AMQP's delivery mode, which Celery writes into every message."""

RETRY = {"max_retries": 1, "interval_start": 0, "interval_max": 0}
"""One retry, for a connection that Redis has closed; the dispatcher sends what is lost all the same."""

UNACKNOWLEDGED = "unacked"
"""Kombu's hash of the messages that workers have taken and not acknowledged."""

log = logging.getLogger(__name__)


def celery_settings(broker_url: str) -> dict[str, Any]:
    """The settings of every Celery application of ours: JSON, no results, named queues only.

    Raises:
        SettingsError: if the URL is not one of a Redis that can be a broker.
    """
    check_broker(broker_url)
    return {
        "broker_url": broker_url,
        "broker_use_ssl": redis_urls.encryption(broker_url),
        "broker_transport_options": TRANSPORT_OPTIONS,
        "broker_connection_timeout": 5,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_ignore_result": True,
        "result_backend": None,
        # the stand-in for it is made once, not by each thread (3 ms: Celery reads what all packages declare)
        "result_backend_thread_safe": True,
        "task_create_missing_queues": False,
        "task_queues": [Queue(name, routing_key=name) for name in sorted(set(QUEUES.values()))],
        "task_default_queue": "dispatch",
        "task_routes": {task: {"queue": queue, "routing_key": queue} for task, queue in QUEUES.items()},
        "task_publish_retry_policy": RETRY,
        "timezone": "UTC",
    }


def check_broker(url: str) -> None:
    """Refuse a URL that names no broker of ours.

    Raises:
        SettingsError: if it cannot be used; the text says what to write.
    """
    try:
        redis_urls.check(url, redis_urls.BROKER_SCHEMES)
    except ValueError as error:
        raise SettingsError(f"The broker's URL (BACKMARKET_BROKER_URL, or BACKMARKET_REDIS_URL) {error}.") from None


def queue_lengths(redis: Any) -> dict[str, int]:
    """Messages that wait in each queue, and under `unacked` those that workers have taken; one round trip.

    Args:
        redis: a client of redis-py.
    """
    queues = sorted(set(QUEUES.values()))
    with redis.pipeline(transaction=False) as pipeline:
        for queue in queues:
            pipeline.llen(queue)
        pipeline.hlen(UNACKNOWLEDGED)
        return dict(zip([*queues, UNACKNOWLEDGED], pipeline.execute(), strict=True))


def reason(error: Exception) -> str:
    """Why Redis could not be used, in its own or redis-py's words, which name the host and no password."""
    told = isinstance(error, (OperationalError, OSError)) or type(error).__module__ == "redis.exceptions"
    return " ".join(str(error).split()) or type(error).__name__ if told else f"{type(error).__name__}."


class Producer:
    """Sends messages to the broker.

    Args:
        broker_url: URL of the broker's Redis.

    Raises:
        SettingsError: if the URL is not one of a Redis that can be a broker.
    """

    def __init__(self, broker_url: str) -> None:
        check_broker(broker_url)
        self._broker_url = broker_url

    def nudge(self, nudges: Iterable[Nudge]) -> int:
        """Send nudges for the syncs and the other work of organizations.

        Args:
            nudges: workers take the first one first.

        Returns:
            How many messages were certainly sent. With fewer than `nudges` the broker was away, which loses nothing:
            the dispatcher sends a nudge again when it no longer counts.
        """
        waiting = iter(nudges)
        sent = 0
        try:
            with self._celery.producer_pool.acquire(block=True, timeout=10) as producer:
                while batch := list(islice(waiting, BATCH)):
                    producer.connection.ensure(producer, self._push, **RETRY)(producer, batch)
                    sent += len(batch)
        except OperationalError as error:
            log.warning("The broker took no message: %s", reason(error))
        return sent

    def lengths(self) -> dict[str, int]:
        """Messages that wait in each queue; under `unacked`, those that workers have taken and not finished.

        Raises:
            BrokerUnavailable: if the broker cannot be asked.
        """
        try:
            with self._celery.producer_pool.acquire(block=True, timeout=10) as producer:
                lengths: dict[str, int] = producer.connection.ensure(producer, _lengths, **RETRY)(producer)
                return lengths
        except OperationalError as error:
            raise BrokerUnavailable(f"The broker cannot be used: {reason(error)}") from None

    def close(self) -> None:
        """Close the connections to the broker."""
        if "_celery" in self.__dict__:
            self._celery.close()
            del self.__dict__["_celery"]

    def send_events(self, task: str, queue: str, events: Sequence[Mapping[str, Any]], *, full: int) -> None:
        """Send a host application's task a message for each event: all of them, or none.

        Args:
            task: its name.
            queue: its queue.
            events: the only argument of each message, in this order.
            full: messages in the queue from which none is sent.

        Raises:
            BrokerUnavailable: if the broker cannot be used, or the queue is full. If the connection was cut, the
                messages may have been sent.
        """
        try:
            with self._celery.producer_pool.acquire(block=True, timeout=10) as producer:
                texts = [self._message(producer.channel, task, (event,), {}, queue) for event in events]
                producer.connection.ensure(producer, _push, **RETRY)(producer, queue, texts, full)
        except OperationalError as error:
            raise BrokerUnavailable(f"The broker cannot be used: {reason(error)}") from None

    def _push(self, producer: Any, batch: Sequence[Nudge]) -> None:
        """Put nudges into their queues in one transaction of Redis; kombu would take a round trip for each."""
        channel = producer.channel
        messages = defaultdict(list)
        for nudge in batch:
            task = NUDGED_TASKS[nudge.name]
            named = {"nudge": True} | ({"market": nudge.market} if nudge.market else {})
            text = self._message(channel, task, (nudge.organization_id,), named, QUEUES[task])
            messages[channel._q_for_pri(QUEUES[task], 0)].append(text)
        with channel.conn_or_acquire() as redis, redis.pipeline() as pipeline:
            for key, texts in messages.items():
                pipeline.lpush(key, *texts)
            pipeline.execute()

    def _message(self, channel: Any, task: str, args: tuple[Any, ...], kwargs: dict[str, Any], queue: str) -> str:
        """The text that Celery's `send_task` would put into the queue, made of the same parts."""
        message = self._celery.amqp.as_task_v2(uuid(), task, args, kwargs, reply_to=self._celery.thread_oid)
        content_type, encoding, body = serialization.dumps(message.body, "json")
        properties = message.properties | {"delivery_mode": PERSISTENT}
        prepared = channel.prepare_message(body, None, content_type, encoding, message.headers, properties)
        channel._inplace_augment_message(prepared, "", queue)
        return str(dumps(prepared))

    @cached_property
    def _celery(self) -> Celery:
        app = _OurCelery("backmarket.producer", set_as_current=False)
        app.conf.update(celery_settings(self._broker_url))
        app.our_broker_url = self._broker_url
        return app


def _push(producer: Any, queue: str, texts: Sequence[str], full: int) -> None:
    """Put messages into a queue in one command, unless it is full."""
    channel = producer.channel
    key = channel._q_for_pri(queue, 0)
    with channel.conn_or_acquire() as redis:
        if redis.llen(key) >= full:
            raise BrokerUnavailable(f"{full} messages wait in the queue: does a worker take them?")
        redis.lpush(key, *texts)


def _lengths(producer: Any) -> dict[str, int]:
    with producer.channel.conn_or_acquire() as redis:
        return queue_lengths(redis)


class _OurCelery(Celery):  # type: ignore[misc]
    """Sends to the broker that it was given.

    Celery prefers a `CELERY_BROKER_URL` in the environment (celery/celery#4284), which is the host application's.
    """

    our_broker_url: str

    def connection_for_write(self, url: str | None = None, *args: Any, **kwargs: Any) -> Any:
        """A connection to our broker."""
        # the first connection is tried as often as a publish is, not for seconds
        kwargs.setdefault("transport_options", RETRY)
        return super().connection_for_write(url or self.our_broker_url, *args, **kwargs)
