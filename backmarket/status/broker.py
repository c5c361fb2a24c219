"""The broker as an operator sees it: is it reachable, what is queued, may it lose data. It sends no message.

Uses kombu, which takes the same URLs as the workers.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from kombu import Connection
from kombu.exceptions import KombuError
from redis.exceptions import NoPermissionError

from backmarket.documents import document
from backmarket.errors import BrokerUnavailable
from backmarket.messages import redis_urls
from backmarket.producer import TRANSPORT_OPTIONS, check_broker, queue_lengths, reason

TIMEOUT = 3.0
"""Seconds to connect to the broker, and to wait for its answer."""

_NO_BROKER = {
    "cluster": (
        "This Redis is a cluster, and workers need all queues on one node.",
        "Use a Redis or Valkey without cluster mode, with a replica if it must survive its host.",
    ),
    "sentinel": (
        "This is a Sentinel, which carries no messages.",
        f"Name the address of a Redis, or one that follows the primary ({document('docs/deployment.md')}).",
    ),
}
"""The modes of a Redis that can be neither broker nor limiter."""


def wrong_mode(info: Mapping[str, Any]) -> tuple[str, str] | None:
    """What is wrong with a Redis in this mode, and what to do; None: nothing.

    Args:
        info: its `INFO`.
    """
    return _NO_BROKER.get(str(info.get("redis_mode")))


class Broker:
    """Queries the broker. Safe to share between threads; one queries at a time.

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
        """Check whether it answers.

        Raises:
            BrokerUnavailable: if it does not; the text says why.
        """
        with self._client() as redis:
            redis.ping()

    def lengths(self) -> dict[str, int]:
        """Number of messages in each queue; under `unacked`, of those that workers have taken and not finished.

        Raises:
            BrokerUnavailable: if the broker does not answer.
        """
        with self._client() as redis:
            return queue_lengths(redis)

    def info(self) -> Mapping[str, Any]:
        """The server's `INFO`, in Redis's words; if this user may not read it, `redis_mode` and `role` alone.

        Raises:
            BrokerUnavailable: if the broker does not answer.
        """
        with self._client() as redis:
            try:
                info = dict(redis.info())
                return info | {"redis_mode": info.get("redis_mode", info.get("server_mode"))}  # Valkey 9 has the latter
            except NoPermissionError:
                return _greeting(redis)

    def close(self) -> None:
        """Close the connection; the next query opens one."""
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
                raise BrokerUnavailable(f"The broker cannot be used: {reason(error)}") from None

    def _forget(self) -> None:
        self._channel = None
        with suppress(Exception):  # a broken connection cannot be closed properly
            self._connection.close()


def _greeting(redis: Any) -> Mapping[str, Any]:
    """What a server says of itself to everyone, in the words of `INFO`."""
    told = redis.execute_command("HELLO")
    pairs = told.items() if isinstance(told, Mapping) else zip(told[::2], told[1::2], strict=True)  # RESP2: a list
    said = {_text(name): _text(value) for name, value in pairs}
    return {"redis_mode": said.get("mode"), "role": "slave" if said.get("role") == "replica" else said.get("role")}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
