"""Send webhooks: one POST to a checked address, within a deadline; redirects are not followed (docs/decisions/0020).

Like downloads, it connects to exactly the address that was checked, and uses no cookie, proxy or `.netrc`.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from time import monotonic

import httpcore

from backmarket.client.deadline import Resolver, resolve
from backmarket.client.http_calls import LOST, reason, url_of
from backmarket.client.origins import Place
from backmarket.client.pinned_dns import AddressRefused
from backmarket.client.pinned_pools import Line, Lines
from backmarket.client.webhook_calls import WebhookAnswer, not_public, webhook_place
from backmarket.errors import OriginRefused
from backmarket.observability import telemetry

MAX_ANSWER_BYTES = 65536
"""Maximum bytes read of an answer, so that its connection can be used again; they are discarded."""

MAX_RETRY_AFTER_SECONDS = 3600.0
"""Maximum pause, in seconds, that a receiver may ask for."""


class Webhooks:
    """Sends webhooks; one for each process, safe to share between threads. Does not retry.

    Args:
        private_origins: origins that may have an address that is not public, and http.
        connect_timeout: seconds to open a connection.
        deadline: maximum seconds for a call.
        resolver: finds the addresses of a name.
        tls: verifies the hosts; None: by the system's authorities.
    """

    def __init__(
        self,
        *,
        private_origins: tuple[str, ...] = (),
        connect_timeout: float = 5.0,
        deadline: float = 15.0,
        resolver: Resolver = resolve,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._private = frozenset(private_origins)
        self._deadline = deadline
        self._timeouts = {"connect": connect_timeout, "pool": connect_timeout}
        self._lines = Lines(resolver, tls)

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> WebhookAnswer:
        """Call a receiver; no error of the network or of the receiver is raised."""
        began = monotonic()
        with telemetry.span("webhook") as span, self._lines.lend() as line:
            status, code, text, after = self._post(line, url, headers, body)
            span.attributes["outcome"] = code or "delivered"
        return WebhookAnswer(status, code, text, monotonic() - began, after)

    def close(self) -> None:
        """Close idle connections."""
        self._lines.close()

    def _post(
        self, line: Line, url: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int | None, str | None, str | None, float | None]:
        try:
            place = webhook_place(url, self._private)
        except OriginRefused as error:
            return None, error.code, error.message, None
        line.clock.start(self._deadline)
        try:
            status, after = self._ask(line, place, headers, body)
        except AddressRefused:
            return None, OriginRefused.code, not_public(place), None
        except LOST as error:
            return None, "network", f"No answer: {reason(error)}.", None
        if 200 <= status < 300:
            return status, None, None, None
        return status, "refused", f"The receiver answered {status}.", after

    def _ask(self, line: Line, place: Place, headers: Mapping[str, str], body: bytes) -> tuple[int, float | None]:
        sent = [
            (b"Host", place.authority.encode()),
            (b"Content-Type", b"application/json"),
            (b"Content-Length", str(len(body)).encode()),
            (b"User-Agent", b"backmarket-webhooks"),
            *((name.encode(), value.encode()) for name, value in headers.items()),
        ]
        pool = line.private if place.origin in self._private else line.public
        extensions = {"timeout": self._timeouts}
        with pool.stream("POST", url_of(place), headers=sent, content=body, extensions=extensions) as answer:
            received = 0
            for piece in answer.iter_stream():
                received += len(piece)
                if received > MAX_ANSWER_BYTES:
                    break
            return answer.status, _retry_after(answer)


def _retry_after(answer: httpcore.Response) -> float | None:
    """The seconds of `Retry-After`, if the receiver is busy and says so; a date is ignored."""
    if answer.status not in {429, 503}:
        return None
    value = next((value for name, value in answer.headers if name.lower() == b"retry-after"), b"")
    return min(float(value), MAX_RETRY_AFTER_SECONDS) if value.isdigit() else None
