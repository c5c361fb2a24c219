"""Connection pools to checked addresses, lent to one request at a time; what fetches files and sends webhooks uses."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from backmarket.client.deadline import Clock, Resolver, timed_pool
from backmarket.client.pinned_dns import Names, Pinned
from backmarket.client.tls import tls_context


class Line:
    """Connections for one request at a time. Those to addresses that may be private are never used for others."""

    def __init__(self, names: Names, tls: ssl.SSLContext) -> None:
        self.clock = Clock()
        self.public, self.private = (
            timed_pool(tls, Pinned(names, self.clock, public=public)) for public in (True, False)
        )

    def close(self) -> None:
        """Close the connections."""
        self.public.close()
        self.private.close()


class Lines:
    """The lines of a process; safe to share between threads.

    Args:
        resolver: finds the addresses of a name.
        tls: verifies the hosts; None: by the system's authorities.
    """

    def __init__(self, resolver: Resolver, tls: ssl.SSLContext | None = None) -> None:
        self._names = Names(resolver)
        self._tls = tls or tls_context()
        self._lock = Lock()
        self._idle: list[Line] = []

    @contextmanager
    def lend(self) -> Iterator[Line]:
        """The line used last, as its connections are the likeliest to be still open; else a new one."""
        with self._lock:
            home = self._idle
            line = home.pop() if home else None
        line = line or Line(self._names, self._tls)
        try:
            yield line
        finally:
            with self._lock:
                kept = home is self._idle
                if kept:
                    home.append(line)
            if not kept:
                line.close()

    def close(self) -> None:
        """Close idle lines; those in use are closed when they are returned."""
        with self._lock:
            idle, self._idle = self._idle, []
        for line in idle:
            line.close()
