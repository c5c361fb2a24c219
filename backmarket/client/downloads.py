"""Fetch files (labels, invoices) from Back Market and from origins that the operator allows (docs/decisions/0011).

It uses httpcore, below httpx: it connects to exactly the address that was checked, sends exactly the parsed URL, and
uses no cookie, proxy or `.netrc`.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO

import httpcore

from backmarket.client.answers import Answer, check
from backmarket.client.credentials import Credentials
from backmarket.client.deadline import Resolver, resolve
from backmarket.client.http_calls import LOST, delivery, reason, url_of
from backmarket.client.origins import Origins, Place, own_place
from backmarket.client.pdf import PdfWriter, known_type, too_large
from backmarket.client.pinned_dns import AddressRefused
from backmarket.client.pinned_pools import Line, Lines
from backmarket.errors import (
    BackMarketError,
    BrokenAnswer,
    HostRefused,
    NetworkError,
    NotAvailable,
    NotFound,
    RequestDelivery,
    RequestRefused,
    ServerError,
)
from backmarket.observability import telemetry

REDIRECTS = 5
"""Maximum redirects followed for one file."""
MAX_ERROR_BODY_BYTES = 65536
"""Maximum bytes read of a response that is not the file: an error, a redirect."""

_REDIRECTS = {301, 302, 303, 307, 308}


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A completely fetched file.

    Attributes:
        size: in bytes.
        sha256: hexadecimal.
        content_type: as its host sent it, without parameters; None if that is missing or malformed.
        origin: from which it came after redirects.
    """

    size: int
    sha256: str
    content_type: str | None
    origin: str


class Downloads:
    """Fetches PDF files; one for each process, safe to share between threads. Neither limits nor retries.

    Args:
        user_agent: `BM-{Company}-{Integration};contact`.
        connect_timeout: seconds to open a connection.
        deadline: maximum seconds for a file, from resolving its host to its last byte; if no name server answers,
            the system's resolution may take longer.
        resolver: finds the addresses of a name.
        tls: verifies the hosts; None: by the system's authorities.
    """

    def __init__(
        self,
        *,
        user_agent: str,
        connect_timeout: float = 5.0,
        deadline: float = 30.0,
        resolver: Resolver = resolve,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._user_agent = user_agent.encode()
        self._deadline = deadline
        self._timeouts = {"connect": connect_timeout, "pool": connect_timeout}
        self._lines = Lines(resolver, tls)

    def fetch(
        self,
        url: str,
        into: BinaryIO,
        *,
        origins: Origins,
        max_bytes: int,
        credentials: Credentials | None = None,
        deadline: float | None = None,
        before: Callable[[], object] | None = None,
    ) -> Downloaded:
        """Fetch a PDF, following at most `REDIRECTS` redirects.

        Args:
            url: absolute, or a path on the connection's own origin.
            into: receives the bytes; after an error, its content is worthless.
            origins: allowed ones, beside the connection's own.
            max_bytes: maximum size.
            credentials: the connection's; the key is sent to its own origin only. None: no connection.
            deadline: maximum seconds; None: as given to the constructor.
            before: called before each request to the connection's own origin, for instance to take a slot of the
                limiter; what it raises ends the fetch.

        Raises:
            OriginRefused: if the URL, or one that it leads to, is not allowed; nothing was sent there.
            NetworkError: if no whole file arrived; `delivery` is of the last request to the connection's own origin.
            NotAPdf: if it is something else, such as an error page.
            BrokenAnswer: if it is empty, truncated, compressed, or only a part.
            TooLarge: if it is larger than `max_bytes`.
            HostRefused: if another host than the connection's own refused; that says nothing about the key.
            BackMarketError: if the connection's own origin answered with an error status; see `check`.
        """
        trip = _Trip(origins, credentials, before)
        with telemetry.span("download"), self._lines.lend() as line:
            line.clock.start(self._deadline if deadline is None else deadline)
            place = trip.begin(url)
            for _ in range(REDIRECTS + 1):
                with trip.errors(place), self._ask(line, place, trip) as response:
                    headers = {
                        name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers
                    }
                    if response.status == 200:
                        return _store(response, headers, into, max_bytes, place)
                    answer = Answer(response.status, headers, _remark(response))
                place = trip.follow(place, answer)
        raise RequestRefused(f"The {origins.kind}'s address redirects more than {REDIRECTS} times.")

    def close(self) -> None:
        """Close idle connections; those in use are closed when they are returned."""
        self._lines.close()

    @contextmanager
    def _ask(self, line: Line, place: Place, trip: _Trip) -> Iterator[httpcore.Response]:
        headers = [
            (b"Host", place.authority.encode()),
            (b"Accept", b"application/pdf, */*;q=0.5"),
            (b"Accept-Encoding", b"identity"),
            (b"User-Agent", self._user_agent),
            *trip.permission(place),
        ]
        pool = line.private if place.origin in trip.origins.private else line.public
        with pool.stream("GET", url_of(place), headers=headers, extensions={"timeout": self._timeouts}) as response:
            yield response


@dataclass
class _Trip:
    """The requests for one file: which places are allowed, and which of them are the connection's own."""

    origins: Origins
    credentials: Credentials | None
    before: Callable[[], object] | None
    home: Place | None = field(init=False)
    _own_asked: bool = False

    def __post_init__(self) -> None:
        self.home = own_place(self.credentials.base_url) if self.credentials else None

    def begin(self, url: str) -> Place:
        return self.origins.admit(url, own=self._own, base=self.home)

    def follow(self, place: Place, answer: Answer) -> Place:
        """The place to which an answer redirects; raises the error that any other answer means."""
        location = answer.headers.get("location")
        if answer.status in _REDIRECTS and location:
            return self.origins.admit(location, own=self._own, base=place)
        if not self._is_own(place):
            raise _foreign_error(place, answer.status)
        check(answer)
        raise BrokenAnswer("The API answered without the whole file.", status=answer.status)

    def permission(self, place: Place) -> list[tuple[bytes, bytes]]:
        """The header with the key, for the connection's own origin only."""
        if not self.credentials or not self._is_own(place):
            return []
        if self.before:
            self.before()
        self._own_asked = True
        return [(b"Authorization", f"Basic {self.credentials.api_key}".encode())]

    @contextmanager
    def errors(self, place: Place) -> Iterator[None]:
        """Raise httpcore's errors as our own; its texts could contain the URL."""
        try:
            yield
        except AddressRefused:
            raise self.origins.refuse_address(place) from None
        except LOST as error:
            raise NetworkError(
                f"{place.origin} did not answer with the whole file: {reason(error)}.",
                delivery=self._delivery(place, error),
            ) from None

    @property
    def _own(self) -> str | None:
        return self.home.origin if self.home else None

    def _is_own(self, place: Place) -> bool:
        return place.origin == self._own

    def _delivery(self, place: Place, error: Exception) -> RequestDelivery:
        """The delivery of the last request to the connection's own origin; one answered with a redirect is finished."""
        if not self._is_own(place):
            return "finished" if self._own_asked else "not_sent"
        return delivery(error)


def _store(
    response: httpcore.Response, headers: dict[str, str], into: BinaryIO, max_bytes: int, place: Place
) -> Downloaded:
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise BrokenAnswer(f"{place.origin} compressed the file, although it was told not to.")
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length) > max_bytes:
        raise too_large(max_bytes)
    content_type = known_type(headers.get("content-type"))
    pdf = PdfWriter(into, max_bytes=max_bytes, content_type=content_type)
    for piece in response.iter_stream():
        pdf.write(piece)
    written = pdf.end()
    return Downloaded(written.size, written.sha256, content_type, place.origin)


def _remark(response: httpcore.Response) -> bytes:
    """Read the beginning of an answer that is not the file; a short one completely, so that the connection is kept."""
    pieces: list[bytes] = []
    for piece in response.iter_stream():
        pieces.append(piece)
        if sum(map(len, pieces)) > MAX_ERROR_BODY_BYTES:
            break
    return b"".join(pieces)


def _foreign_error(place: Place, status: int) -> BackMarketError:
    """The error for a status of another origin, which knows neither the key nor the account's limit."""
    if status in {404, 410}:
        return NotFound(f"{place.origin} does not have the file.", status=status)
    if status == 403:
        return NotAvailable(
            f"{place.origin} refuses to serve the file. A signed address may have expired.", status=status
        )
    if status >= 500 or status in {408, 425, 429}:
        return ServerError(f"{place.origin} cannot answer now.", status=status)
    if 200 <= status < 300:
        return BrokenAnswer(f"{place.origin} answered without the whole file.", status=status)
    return HostRefused(f"{place.origin} refused the request.", status=status)
