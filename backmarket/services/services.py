"""The services of one process: each opened at its first use, all closed together.

Safe to share between threads: each service is opened once. A forked child opens its own: parent and child cannot
share a connection. What a service needs (redis, httpcore, minio, Celery) is imported at its first use, too: a process
that only reads tables loads none of it.
"""

from __future__ import annotations

import os
import threading
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, cast
from weakref import WeakSet

from backmarket.services.admission import AdmissionControl
from backmarket.services.circuit_breaker import CircuitBreaker
from backmarket.services.request_threads import RequestThreads

if TYPE_CHECKING:
    from backmarket.bucket.client import Bucket
    from backmarket.client.downloads import Downloads
    from backmarket.client.transport import Transport
    from backmarket.client.webhooks import Webhooks
    from backmarket.database import Database
    from backmarket.database.encryption import KeyCipher
    from backmarket.limits import Limiter
    from backmarket.producer import Producer
    from backmarket.settings import Settings

T = TypeVar("T")


class locked_cached_property(cached_property[T]):  # noqa: N801 - used as a decorator
    """A `cached_property` computed once even with several threads; since Python 3.12 the original is not."""

    def __get__(self, services: Services | None, owner: type[Any] | None = None) -> T:  # type: ignore[override]
        if services is None:
            return cast(T, self)
        with services._lock:
            return super().__get__(services, owner)


class Services:
    """The database, the limiter, the client and the producer of one process.

    Args:
        settings: their addresses and options.
        patience: seconds to wait for a connection to PostgreSQL.
    """

    def __init__(self, settings: Settings, *, patience: float = 10.0) -> None:
        self.settings = settings
        self._patience = patience
        self._begin()
        _all.add(self)

    @locked_cached_property
    def database(self) -> Database:
        """PostgreSQL."""
        from backmarket.database import Database

        url, size = self.settings.need("database_url"), self.settings.database_pool_size
        return Database(url, size=size, timeout=self._patience)

    @locked_cached_property
    def key_cipher(self) -> KeyCipher:
        """Decrypts API keys."""
        from backmarket.database.encryption import KeyCipher

        return KeyCipher.from_settings(self.settings)

    @locked_cached_property
    def limiter(self) -> Limiter:
        """The limiter that all processes share."""
        from backmarket.limits.first_request import begin_requests
        from backmarket.limits.shared import shared_limiter

        return shared_limiter(self.settings, lambda: begin_requests(self.database))

    @locked_cached_property
    def transport(self) -> Transport:
        """Sends requests to Back Market."""
        from backmarket.client.transport import Transport

        return Transport(
            user_agent=self.settings.need("user_agent"),
            connect_timeout=self.settings.connect_timeout,
            deadline=self.settings.request_deadline,
        )

    @locked_cached_property
    def downloads(self) -> Downloads:
        """Fetches files."""
        from backmarket.client.downloads import Downloads

        return Downloads(
            user_agent=self.settings.need("user_agent"),
            connect_timeout=self.settings.connect_timeout,
            deadline=self.settings.request_deadline,
        )

    @locked_cached_property
    def webhooks(self) -> Webhooks:
        """Calls webhooks."""
        from backmarket.client.webhooks import Webhooks

        return Webhooks(
            private_origins=self.settings.event_private_origins,
            connect_timeout=self.settings.connect_timeout,
            deadline=self.settings.event_deadline,
        )

    @locked_cached_property
    def event_threads(self) -> RequestThreads:
        """Threads that call webhooks, shared by all slices of this process."""
        return RequestThreads(self.settings.event_threads)

    @locked_cached_property
    def event_producer(self) -> Producer:
        """Sends messages to the host application's task."""
        from backmarket.producer import Producer

        return Producer(self.settings.event_broker)

    @locked_cached_property
    def bucket(self) -> Bucket:
        """The bucket for labels and files."""
        from backmarket.bucket.client import Bucket

        return Bucket(self.settings)

    @locked_cached_property
    def producer(self) -> Producer:
        """Sends messages."""
        from backmarket.producer import Producer

        return Producer(self.settings.broker)

    def need_broker(self) -> None:
        """Check that a message can be sent, before a row is stored: what raises must not have been queued.

        Raises:
            SettingsError: if the settings name no broker.
        """
        _ = self.producer

    @locked_cached_property
    def request_threads(self) -> RequestThreads:
        """Threads that send requests, shared by all slices of this process."""
        return RequestThreads(self.settings.fetch_threads)

    def close(self) -> None:
        """Close all open services; the next use opens them again."""
        with self._lock:
            opened = [self.__dict__.pop(name) for name in _CLOSED if name in self.__dict__]
        for each in opened:
            each.close()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self.stopping = threading.Event()
        """Set when the process must end: slices store their results and hand on."""
        self.admission = AdmissionControl(self.settings.max_long_syncs)
        """Limits the long syncs."""
        self.bucket_breaker = CircuitBreaker()
        """Stops fetching labels while the S3 server does not answer."""

    def _begin_after_fork(self) -> None:
        """Keep the parent's open services: never use or close them, or let the garbage collector close them."""
        _of_the_parent.extend(self.__dict__.pop(name) for name in _CLOSED if name in self.__dict__)
        self._begin()


_CLOSED = (
    *("request_threads", "event_threads", "transport", "downloads", "webhooks", "bucket", "producer", "event_producer"),
    *("limiter", "database"),
)
"""Services with connections or threads, in the order in which they are closed."""

_all: WeakSet[Services] = WeakSet()
_of_the_parent: list[Any] = []
_current: Services | None = None
_lock = threading.Lock()


def current() -> Services:
    """The services of this process, from its environment; created once.

    Raises:
        SettingsError: if a setting is invalid.
    """
    from backmarket.settings import load_settings

    global _current  # noqa: PLW0603 - one for each process is the point
    with _lock:
        if _current is None:
            _current = Services(load_settings())
        return _current


def _begin_after_fork() -> None:
    global _lock  # noqa: PLW0603 - a thread that is not here may have held it
    _lock = threading.Lock()
    for services in list(_all):
        services._begin_after_fork()


os.register_at_fork(after_in_child=_begin_after_fork)
