"""The only code that sends to Back Market, and the only file that imports httpx.

It uses httpx's transport, below its client: no cookie is kept between organizations, no redirect is
followed, no `.netrc` is read. One transport per thread with a shared TLS context: a single client shared by many
threads gets slow past about 32 of them (docs/decisions/0004).
"""

from __future__ import annotations

import ssl
import threading
import zlib
from collections.abc import Sequence
from typing import Literal
from urllib.parse import urlencode

import httpx

from backmarket.client.answers import Answer
from backmarket.client.credentials import Credentials
from backmarket.client.deadline import Clock, TimedBackend, resolve, timed_pool
from backmarket.client.tls import tls_context
from backmarket.errors import BrokenAnswer, NetworkError, RequestDelivery
from backmarket.observability import telemetry

MAX_BODY_BYTES = 8 * 1024 * 1024
"""Maximum size of a response, decompressed, in bytes; a page of 50 orders has about 100 kB."""
MAX_EXPANSION = 100
"""Maximum decompressed size of a response, as a multiple of its compressed size."""
EXPANSION_FREE_BYTES = 256 * 1024
"""Decompressed size up to which a response may expand by any factor, in bytes."""


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
        request = httpx.Request(
            method,
            f"{credentials.base_url}{path}{query}",
            headers={
                "Authorization": f"Basic {credentials.api_key}",
                "Accept": accept,
                "Accept-Encoding": "gzip, deflate",
                "Accept-Language": credentials.locale,
                "Content-Type": content_type,
                "User-Agent": self._user_agent,
            },
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
                line.close()
            self._lines.clear()
        self._threads = threading.local()

    def _send(self, request: httpx.Request) -> Answer:
        line = self._line()
        line.clock.start(self._deadline)
        try:
            response = line.handle_request(request)
            try:
                body = self._read(response)
            finally:
                response.close()
        except zlib.error:
            raise BrokenAnswer("The API's answer cannot be decompressed.") from None
        except httpx.TransportError as error:
            # the text of httpx's error can name the URL; its class says enough
            raise NetworkError(f"The API did not answer: {type(error).__name__}.", delivery=_delivery(error)) from None
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status_code, headers, body)

    @staticmethod
    def _read(response: httpx.Response) -> bytes:
        """Read the body and decompress it here: size and expansion are checked for every piece."""
        packed = response.headers.get("content-encoding") in {"gzip", "deflate"}
        inflate = zlib.decompressobj(wbits=47) if packed else None  # 47: gzip or zlib
        pieces: list[bytes] = []
        received = size = 0
        for raw in response.iter_raw():
            received += len(raw)
            allowed = min(MAX_BODY_BYTES, max(EXPANSION_FREE_BYTES, MAX_EXPANSION * received))
            piece = inflate.decompress(raw, allowed + 1 - size) if inflate else raw
            pieces.append(piece)
            size += len(piece)
            if size > (allowed if inflate else MAX_BODY_BYTES):
                raise BrokenAnswer("The API's answer is too large.", status=response.status_code)
        if inflate and not inflate.eof:
            raise NetworkError("The API's answer was cut.", delivery="finished")
        return b"".join(pieces)

    def _line(self) -> _Line:
        line: _Line | None = getattr(self._threads, "line", None)
        if line is None:
            line = _Line(self._tls)
            with self._lock:
                self._lines.append(line)
            self._threads.line = line
        return line


class _Line(httpx.HTTPTransport):
    """The connections of one thread; each wait ends at the clock's deadline.

    httpx takes no network backend, only its private pool does: so httpx is held below 0.29, and if the pool moves,
    `test_dripping_headers_are_stopped_at_the_deadline` fails.
    """

    def __init__(self, tls: ssl.SSLContext) -> None:
        super().__init__(verify=tls, trust_env=False)
        self.clock = Clock()
        self._pool = timed_pool(tls, TimedBackend(resolve, self.clock))


def _delivery(error: httpx.TransportError) -> RequestDelivery:
    """Whether a request with this error can still count against the limit."""
    match error:
        case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.PoolTimeout() | httpx.UnsupportedProtocol():
            return "not_sent"
        case httpx.TimeoutException():
            return "in_doubt"
        case _:
            return "finished"
