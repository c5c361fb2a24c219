"""Connections whose every wait ends at a deadline: connect, TLS handshake, write, read.

httpcore applies a timeout to each wait, so a server that sends or reads byte by byte can hold a request
forever. Here each wait gets the remaining time.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable, Iterable, Sequence
from time import monotonic

import httpcore

Resolver = Callable[[str], Sequence[str]]
"""Returns the IP addresses of a name; raises `OSError` if there are none."""

_DISCARD = (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
"""Discard unsent data when a connection ends, even if its process dies."""


def resolve(name: str) -> Sequence[str]:
    """Resolve a name with the system, in its order of preference."""
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Clock:
    """Deadline of the current request; one clock for each pool."""

    def __init__(self) -> None:
        self._until = 0.0

    def start(self, seconds: float) -> None:
        """Start the time of a request."""
        self._until = monotonic() + seconds

    def clip(self, timeout: float | None) -> float:
        """The timeout, or the remaining seconds if fewer.

        Raises:
            TimeoutError: if no time is left.
        """
        left = self._until - monotonic()
        if left <= 0:
            raise TimeoutError("the deadline passed")
        return left if timeout is None else min(timeout, left)


class TimedBackend(httpcore.NetworkBackend):
    """Opens connections.

    Args:
        resolver: finds the addresses of a name; the clock cannot interrupt it, but nothing is sent after it
            if the deadline has passed.
        clock: limits every wait.
    """

    def __init__(self, resolver: Resolver, clock: Clock) -> None:
        self._resolver = resolver
        self._clock = clock
        self._tcp = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address of a name that accepts.

        Raises:
            httpcore.ConnectError: if the name has no address, or none accepts.
            httpcore.ConnectTimeout: if none answers in time.
        """
        failure: Exception = httpcore.ConnectError("the name has no address")
        for address in self._addresses(host):
            try:
                seconds = self._clock.clip(timeout)
                stream = self._tcp.connect_tcp(address, port, seconds, local_address, socket_options)
                return _Timed(stream, self._clock)
            except TimeoutError:
                raise httpcore.ConnectTimeout from None
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    def _addresses(self, host: str) -> Sequence[str]:
        try:
            return self._resolver(host)
        except (OSError, UnicodeError):
            return ()


class _Timed(httpcore.NetworkStream):
    """A connection."""

    def __init__(self, stream: httpcore.NetworkStream, clock: Clock) -> None:
        self._stream = stream
        self._socket: socket.socket = stream.get_extra_info("socket")
        self._clock = clock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            self._socket.settimeout(self._clock.clip(timeout))
            return self._socket.recv(max_bytes)
        except TimeoutError:
            raise httpcore.ReadTimeout from None
        except OSError as error:
            raise httpcore.ReadError from error

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write piece by piece: httpcore would give each piece the full timeout."""
        left = memoryview(buffer)
        try:
            while left:
                self._socket.settimeout(self._clock.clip(timeout))
                left = left[self._socket.send(left) :]
        except TimeoutError:
            raise httpcore.WriteTimeout from None
        except OSError as error:
            raise httpcore.WriteError from error

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        try:
            seconds = self._clock.clip(timeout)
        except TimeoutError:
            self.close()
            raise httpcore.ConnectTimeout from None
        return _Timed(self._stream.start_tls(ssl_context, server_hostname, seconds), self._clock)

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)


def timed_pool(tls: ssl.SSLContext, backend: TimedBackend) -> httpcore.ConnectionPool:
    """A pool for one request at a time.

    Args:
        tls: verifies the hosts.
        backend: opens the connections; the caller starts its clock before each request.
    """
    return httpcore.ConnectionPool(
        ssl_context=tls,
        max_connections=4,
        keepalive_expiry=30.0,
        network_backend=backend,
        socket_options=[_DISCARD],
    )
