"""The only code that calls the API of Back Market.

It uses httpcore, below httpx: no cookie is kept between organizations, no redirect is followed, no proxy or `.netrc`
is used. One connection pool per thread with a shared TLS context: a single client shared by many threads gets slow
past about 32 of them (docs/decisions/0004).
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import urlencode

import httpcore

from backmarket.client.answers import Answer
from backmarket.client.credentials import Credentials
from backmarket.client.deadline import Clock, TimedBackend, resolve, timed_pool
from backmarket.client.http_calls import LOST, delivery, reason, url_of
from backmarket.client.origins import own_place
from backmarket.client.tls import tls_context
from backmarket.errors import BrokenAnswer, NetworkError
from backmarket.observability import telemetry

MAX_BODY_BYTES = 8 * 1024 * 1024
"""Maximum size of a response, decompressed, in bytes; a page of 50 orders has about 100 kB."""
MAX_EXPANSION = 100
"""Maximum decompressed size of a response, as a multiple of its compressed size."""
EXPANSION_FREE_BYTES = 256 * 1024
"""Decompressed size up to which a response may expand by any factor, in bytes."""

_WITH_BODY = {"POST", "PATCH", "PUT"}
"""Methods that always say how long their body is (RFC 9110, section 8.6)."""


class Transport:
    """Sends single requests; neither limits nor retries.

    Args:
        user_agent: `BM-{Company}-{Integration};contact`.
        connect_timeout: seconds to open a connection.
        deadline: maximum seconds of a request, from resolving its host to the last byte of its answer, however
            slow; a third of them without a byte ends it. Nothing is sent after the deadline. The system's name
            resolution alone cannot be interrupted.
    """

    def __init__(self, *, user_agent: str, connect_timeout: float = 5.0, deadline: float = 30.0) -> None:
        self._user_agent = user_agent
        self._deadline = deadline
        read = deadline / 3
        self._timeouts = {"connect": connect_timeout, "read": read, "write": read, "pool": connect_timeout}
        self._tls = tls_context()
        self._threads = threading.local()
        self._lines: list[_Line] = []
        self._lock = threading.Lock()

    def get(self, credentials: Credentials, path: str, parameters: Sequence[tuple[str, str]] = ()) -> Answer:
        """Send a GET request; see `send`."""
        return self.send(credentials, "GET", path, parameters)

    def send(
        self,
        credentials: Credentials,
        method: Literal["GET", "POST", "PATCH", "PUT", "DELETE"],
        path: str,
        parameters: Sequence[tuple[str, str]] = (),
        *,
        body: bytes | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Answer:
        """Send one request.

        Args:
            credentials: key and base URL.
            method: of HTTP.
            path: such as `/ws/orders`; parts that come from outside are percent-encoded by the caller.
            parameters: of the query.
            body: to send; None: no body.
            content_type: of the body.
            accept: media types of the answer.

        Raises:
            NetworkError: if no whole answer arrived before the deadline. A read may be retried; whether a write took
                effect is not known, unless its `delivery` is `not_sent`.
            BrokenAnswer: if the answer is larger than `MAX_BODY_BYTES`, expands too much, or cannot be decompressed.
        """
        query = f"?{urlencode(parameters)}" if parameters else ""
        place = replace(own_place(credentials.base_url), target=f"{path}{query}")
        headers = [
            ("Host", place.authority),
            ("Authorization", f"Basic {credentials.api_key}"),
            ("Accept", accept),
            ("Accept-Encoding", "gzip, deflate"),
            ("Accept-Language", credentials.locale),
            ("Content-Type", content_type),
            ("User-Agent", self._user_agent),
        ]
        if body is not None or method in _WITH_BODY:
            headers.append(("Content-Length", str(len(body or b""))))
        request = httpcore.Request(
            method,
            url_of(place),
            headers=[(name.encode(), value.encode()) for name, value in headers],
            content=body,
            extensions={"timeout": self._timeouts},
        )
        with telemetry.span("api_request", method=method) as span:
            answer = self._send(request)
            span.attributes["status"] = answer.status
            return answer

    def close(self) -> None:
        """Close the connections of every thread."""
        with self._lock:
            for line in self._lines:
                line.pool.close()
            self._lines.clear()
        self._threads = threading.local()

    def _send(self, request: httpcore.Request) -> Answer:
        line = self._line()
        line.clock.start(self._deadline)
        try:
            response = line.pool.handle_request(request)
            headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
            try:
                body = self._read(response, headers)
            finally:
                response.close()
        except zlib.error:
            raise BrokenAnswer("The API's answer cannot be decompressed.") from None
        except LOST as error:
            raise NetworkError(f"The API did not answer: {reason(error)}.", delivery=delivery(error)) from None
        return Answer(response.status, headers, body)

    @staticmethod
    def _read(response: httpcore.Response, headers: Mapping[str, str]) -> bytes:
        """Read the body and decompress it here: size and expansion are checked for every piece."""
        packed = headers.get("content-encoding") in {"gzip", "deflate"}
        inflate = zlib.decompressobj(wbits=47) if packed else None  # 47: gzip or zlib
        pieces: list[bytes] = []
        received = size = 0
        for raw in response.iter_stream():
            received += len(raw)
            allowed = min(MAX_BODY_BYTES, max(EXPANSION_FREE_BYTES, MAX_EXPANSION * received))
            piece = inflate.decompress(raw, allowed + 1 - size) if inflate else raw
            pieces.append(piece)
            size += len(piece)
            if size > (allowed if inflate else MAX_BODY_BYTES):
                raise BrokenAnswer("The API's answer is too large.", status=response.status)
        if inflate and not inflate.eof:
            raise NetworkError("The API's answer was cut.", delivery="finished")
        return b"".join(pieces)

    def _line(self) -> _Line:
        line: _Line | None = getattr(self._threads, "line", None)
        if line is None:
            clock = Clock()
            line = _Line(clock, timed_pool(self._tls, TimedBackend(resolve, clock)))
            with self._lock:
                self._lines.append(line)
            self._threads.line = line
        return line


@dataclass(frozen=True, slots=True)
class _Line:
    """The connections of one thread; each wait ends at the clock's deadline."""

    clock: Clock
    pool: httpcore.ConnectionPool
