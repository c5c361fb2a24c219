"""The broker as an operator sees it: is it there, what is in its queues, may it forget. It sends no message.

By kombu, which takes the same URLs as the workers do.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from kombu import Connection
from kombu.exceptions import KombuError
from redis.exceptions import NoPermissionError

from backmarket.errors import BrokerUnavailable
from backmarket.messages import redis_urls
from backmarket.producer import TRANSPORT_OPTIONS, check_broker, queue_lengths, reason

TIMEOUT = 3.0
"""Seconds to reach the broker, and that it may take to answer."""


class Broker:
    """Asks the broker. Safe to share between threads; one asks at a time.

    Args:
        url: URL of the broker's Redis.

    Raises:
        SettingsError: if the URL is not one of a Redis that can be a broker.
    """

    def __init__(self, url: str) -> None:
        check_broker(url)
        options = TRANSPORT_OPTIONS | {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT}
        self._connection = Connection(url, ssl=redis_urls.encryption(url), transport_options=options)
        self._channel: Any = None
        self._lock = threading.Lock()

    def ping(self) -> None:
        """Ask whether it is there.

        Raises:
            BrokerUnavailable: if it is not; the text says why.
        """
        with self._client() as redis:
            redis.ping()

    def lengths(self) -> dict[str, int]:
        """How many messages wait in each queue; under `unacked`, how many workers have taken and not finished.

        Raises:
            BrokerUnavailable: if the broker can't be asked.
        """
        with self._client() as redis:
            return queue_lengths(redis)

    def info(self) -> Mapping[str, Any]:
        """What the server says of itself, as `INFO` names it; empty if this user may not ask.

        Raises:
            BrokerUnavailable: if the broker can't be asked.
        """
        with self._client() as redis:
            try:
                return dict(redis.info())
            except NoPermissionError:
                redis.ping()
                return {}

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
                raise BrokerUnavailable(f"The broker can't be used: {reason(error)}") from None

    def _forget(self) -> None:
        self._channel = None
        with suppress(Exception):  # what is broken can't be closed properly
            self._connection.close()
