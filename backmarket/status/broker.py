"""The broker as an operator sees it: is it there, what is in its queues, may it forget. It sends no message.

By kombu, which takes the same URLs as the workers do.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from kombu import Connection
from kombu.exceptions import KombuError, OperationalError

from backmarket.errors import BrokerUnavailable
from backmarket.messages import QUEUES
from backmarket.producer import TRANSPORT_OPTIONS

TIMEOUT = 3.0
"""Seconds to reach the broker, and that it may take to answer."""

UNACKNOWLEDGED = "unacked"
"""Kombu's hash of the messages that workers have taken and not acknowledged."""


class Broker:
    """Asks the broker. Safe to share between threads; one asks at a time.

    Args:
        url: of the broker's Redis.
    """

    def __init__(self, url: str) -> None:
        options = TRANSPORT_OPTIONS | {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT}
        self._connection = Connection(url, transport_options=options)
        self._channel: Any = None
        self._lock = threading.Lock()

    def ping(self) -> None:
        """Ask whether it is there.

        Raises:
            BrokerUnavailable: it is not; the text says why.
        """
        with self._client() as redis:
            redis.ping()

    def lengths(self) -> dict[str, int]:
        """How many messages wait in each queue; under `unacked`, how many workers have taken and not finished.

        Raises:
            BrokerUnavailable: it can't be asked.
        """
        queues = sorted(set(QUEUES.values()))
        with self._client() as redis, redis.pipeline(transaction=False) as pipeline:
            for queue in queues:
                pipeline.llen(queue)
            pipeline.hlen(UNACKNOWLEDGED)
            return dict(zip([*queues, UNACKNOWLEDGED], pipeline.execute(), strict=True))

    def info(self) -> Mapping[str, Any]:
        """What the server says of itself, as `INFO` names it.

        Raises:
            BrokerUnavailable: it can't be asked.
        """
        with self._client() as redis:
            return dict(redis.info())

    def close(self) -> None:
        """Close the connection; the next question opens one."""
        with self._lock:
            self._forget()

    @contextmanager
    def _client(self) -> Iterator[Any]:
        errors = (*self._connection.connection_errors, *self._connection.channel_errors, KombuError)
        with self._lock:
            try:
                if self._channel is None:
                    self._connection.ensure_connection(max_retries=0)
                    self._channel = self._connection.channel()
                yield self._channel.client
            except errors as error:
                self._forget()
                raise BrokerUnavailable(f"The broker can't be used: {_why(error)}") from None

    def _forget(self) -> None:
        self._channel = None
        with suppress(Exception):  # what is broken can't be closed properly
            self._connection.close()


def _why(error: Exception) -> str:
    """In redis-py's words, which name the host and no password; of anything else only the class."""
    told = isinstance(error, (OperationalError, OSError)) or type(error).__module__ == "redis.exceptions"
    return " ".join(str(error).split()) or type(error).__name__ if told else f"{type(error).__name__}."
