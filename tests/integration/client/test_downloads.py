"""Files under strict origin rules: servers on loopback that say what they were told, under names of the test's own."""

import gzip
import hashlib
import socket
import ssl
import traceback
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Event, Thread
from time import monotonic
from typing import BinaryIO, TypeVar, cast

import pytest

from backmarket.client import Credentials, Origins, pinned_dns
from backmarket.client.downloads import Downloaded, Downloads
from backmarket.errors import (
    BackMarketError,
    BrokenAnswer,
    FirewallBlocked,
    HostRefused,
    NetworkError,
    NotAPdf,
    NotAvailable,
    NotFound,
    OriginRefused,
    RateLimited,
    RequestRefused,
    ServerError,
    TooLarge,
    Unauthorized,
)
from tests.support.certificates import Authority
from tests.support.waiting import PATIENCE_SECONDS

AGENT = "BM-Test-Files;dev@test.example"
Failure = TypeVar("Failure", bound=BackMarketError)

KEY = "token-that-nobody-may-see"
SIGNATURE = "X-Signature=that-nobody-may-see"
PDF = b"%PDF-1.4\n1 0 obj<<>>endobj\ntrailer<<>>\n%%EOF\n"
DEADLINE = 1.0
SLACK = 60.0
"""Seconds that a busy machine may add; what is not stopped never ends."""


def answer(body: bytes = PDF, *headers: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]).encode() + body


def redirect(location: str, status: str = "302 Found") -> bytes:
    return answer(b"moved", f"Location: {location}", "Set-Cookie: session=of-another-seller; Path=/", status=status)


class Host(ThreadingTCPServer):
    """Answers each path with bytes, or as a function does; keeps the head of each request."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: str = "127.0.0.1", tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        super().__init__((address, port), Wire)
        self.tls = tls
        self.says: dict[str, bytes | Callable[[Wire], object]] = {}
        self.heads: list[str] = []
        self.connections = 0
        self.over = Event()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def asked(self) -> list[str]:
        return [head.split(" ")[1] for head in self.heads]

    def header(self, name: str) -> list[str | None]:
        """What each request said."""
        found = []
        for head in self.heads:
            pairs = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
            found.append(pairs.get(name))
        return found


class Wire(StreamRequestHandler):
    server: Host

    def setup(self) -> None:
        self.server.connections += 1
        if self.server.tls:
            self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        super().setup()

    def handle(self) -> None:
        while head := b"".join(iter(self._line, b"")).decode():
            self.server.heads.append(head)
            says = self.server.says.get(head.split(" ")[1].partition("?")[0], answer(b"", status="404 Not Found"))
            if callable(says):
                says(self)
            else:
                self.write(says)

    def finish(self) -> None:
        super().finish()
        self.request.close()  # the server closes only what TLS was put around

    def _line(self) -> bytes:
        try:
            line = self.rfile.readline()
        except OSError:
            return b""
        return line if line != b"\r\n" else b""

    def write(self, bytes_: bytes) -> None:
        self.wfile.write(bytes_)

    def cut(self) -> None:
        self.connection.shutdown(socket.SHUT_RDWR)

    def wait(self, seconds: float | None = None) -> bool:
        """Until the test is over, or so long; whether it is over."""
        return self.server.over.wait(seconds)

    def drip(self, beginning: bytes) -> None:
        self.write(beginning)
        while not self.wait(0.01):
            self.write(b"a")

    def fall_silent(self) -> None:
        self.wait()


class QuietHost(Host):
    """One whose connections fail as a test wants."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that does not trust us is what is tested."""


Serve = Callable[..., Host]


@pytest.fixture
def serve() -> Iterator[Serve]:
    running: list[tuple[Host, Thread]] = []

    def start(address: str = "127.0.0.1", tls: ssl.SSLContext | None = None, port: int = 0) -> Host:
        host = QuietHost(address, tls, port)
        thread = Thread(target=host.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        running.append((host, thread))
        return host

    yield start
    for host, thread in running:
        host.over.set()
        host.shutdown()
        thread.join()
        host.server_close()


class Book:
    """The names of a test, and how often they were asked for."""

    def __init__(self) -> None:
        self.names: dict[str, list[str]] = {}
        self.asked: list[str] = []

    def resolve(self, name: str) -> list[str]:
        self.asked.append(name)
        if name not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return self.names[name]


class Site:
    """A connection's own host and a foreign one, and what fetches from them.

    The names `api.example` and `cdn.example` stand for loopback, which the operator allowed.
    """

    def __init__(self, serve: Serve) -> None:
        self.own, self.cdn = serve(), serve()
        self.book = Book()
        self.book.names = {"api.example": ["127.0.0.1"], "cdn.example": ["127.0.0.1"]}
        self.near = Downloads(user_agent=AGENT, resolver=self.book.resolve)
        self.api_url = f"http://api.example:{self.own.port}"
        self.cdn_url = f"http://cdn.example:{self.cdn.port}"
        self.credentials = Credentials(self.api_url, KEY, "account", "fr-fr")
        self.allowed = {self.cdn_url}
        self.private = {self.api_url, self.cdn_url}
        self.into = BytesIO()

    def impatient(self) -> None:
        self.near = Downloads(user_agent=AGENT, resolver=self.book.resolve, deadline=DEADLINE)

    @property
    def origins(self) -> Origins:
        return Origins("label", "BACKMARKET_LABEL_ORIGINS", frozenset(self.allowed), frozenset(self.private))

    def fetch(
        self,
        url: str = "/a.pdf",
        max_bytes: int = 100_000,
        into: BinaryIO | None = None,
        before: Callable[[], object] | None = None,
    ) -> Downloaded:
        self.into = BytesIO()
        return self.near.fetch(
            url,
            into or self.into,
            origins=self.origins,
            max_bytes=max_bytes,
            credentials=self.credentials,
            before=before,
        )

    def failure(self, kind: type[Failure], url: str = "/a.pdf", max_bytes: int = 100_000) -> Failure:
        with pytest.raises(kind) as caught:
            self.fetch(url, max_bytes)
        assert type(caught.value) is kind
        return caught.value


@pytest.fixture
def site(serve: Serve) -> Iterator[Site]:
    made = Site(serve)
    yield made
    made.near.close()


def test_a_request_on_the_wire(site: Site) -> None:
    site.own.says["/static/a.pdf"] = answer(PDF, "Content-Type: Application/PDF; charset=x")
    got = site.fetch("/static/a.pdf?x=1")
    assert got == Downloaded(len(PDF), hashlib.sha256(PDF).hexdigest(), "application/pdf", site.api_url)
    assert site.into.getvalue() == PDF
    lines = site.own.heads[0].split("\r\n")
    assert lines[0] == "GET /static/a.pdf?x=1 HTTP/1.1"
    assert sorted(line for line in lines[1:] if line) == sorted(
        [
            f"Host: api.example:{site.own.port}",
            "Accept: application/pdf, */*;q=0.5",
            "Accept-Encoding: identity",
            f"User-Agent: {AGENT}",
            f"Authorization: Basic {KEY}",
        ]
    )


def test_the_key_goes_to_the_own_origin_only(site: Site) -> None:
    site.own.says["/a.pdf"] = redirect(f"{site.cdn_url}/b.pdf?{SIGNATURE}")
    site.cdn.says["/b.pdf"] = redirect(f"{site.api_url}/c.pdf")
    site.own.says["/c.pdf"] = answer()
    asked: list[int] = []
    assert site.fetch(before=lambda: asked.append(len(site.own.heads))).origin == site.api_url
    assert site.own.asked == ["/a.pdf", "/c.pdf"]
    assert site.own.header("authorization") == [f"basic {KEY}"] * 2
    assert site.cdn.asked == [f"/b.pdf?{SIGNATURE}"]
    assert site.cdn.header("authorization") == [None]
    assert site.own.header("cookie") + site.cdn.header("cookie") == [None] * 3
    assert KEY not in "".join(site.cdn.heads)
    assert asked == [0, 1]


def test_another_port_of_the_own_host_is_another_origin(site: Site) -> None:
    elsewhere = f"http://api.example:{site.cdn.port}"
    site.cdn.says["/a.pdf"] = answer()
    site.failure(OriginRefused, f"{elsewhere}/a.pdf")
    assert site.cdn.connections == 0
    site.allowed.add(elsewhere)
    site.private.add(elsewhere)
    site.fetch(f"{elsewhere}/a.pdf")
    assert site.cdn.header("authorization") == [None]


def test_what_the_caller_asks_first_may_end_it(site: Site) -> None:
    def no_slot() -> None:
        raise RateLimited("No slot.")

    with pytest.raises(RateLimited):
        site.fetch(before=no_slot)
    assert site.own.connections == 0
    site.cdn.says["/a.pdf"] = answer()
    site.fetch(f"{site.cdn_url}/a.pdf", before=no_slot)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_redirects_are_followed(site: Site, status: str) -> None:
    site.own.says["/a.pdf"] = redirect("b/../c.pdf?x=1", status)
    site.own.says["/c.pdf"] = answer()
    site.fetch()
    assert site.own.asked == ["/a.pdf", "/c.pdf?x=1"]
    assert site.own.connections == 1


@pytest.mark.parametrize("status", ["300 Multiple", "304 Not Modified", "302 Without a place"])
def test_a_redirect_to_nowhere_is_refused(site: Site, status: str) -> None:
    site.own.says["/a.pdf"] = answer(b"", status=status)
    site.failure(RequestRefused)


def test_five_redirects_and_no_more(site: Site) -> None:
    for number in range(9):
        site.own.says[f"/{number}"] = redirect(f"/{number + 1}")
    site.own.says["/5"] = answer()
    site.fetch("/0")
    site.own.says["/5"] = redirect("/6")
    site.own.says["/6"] = answer()
    site.own.heads.clear()
    assert "more than 5 times" in site.failure(RequestRefused, "/0").message
    assert site.own.asked == [f"/{number}" for number in range(6)]


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://127.0.0.1:{cdn}/a.pdf",
        "http://cdn.example/a.pdf",
        "https://cdn.example:{cdn}/a.pdf",
        "//evil.example:{cdn}/a.pdf",
        "http://user:password@cdn.example:{cdn}/a.pdf",
        "http://cdn.example:{cdn}\\@evil.example/a.pdf",
        "file:///etc/passwd",
        "ftp://cdn.example:{cdn}/a.pdf",
        "data:application/pdf;base64,JVBERi0=",
    ],
)
def test_a_redirect_is_held_to_the_same_rules(site: Site, location: str) -> None:
    site.own.says["/a.pdf"] = redirect(location.format(cdn=site.cdn.port))
    site.failure(OriginRefused)
    assert site.own.asked == ["/a.pdf"]
    assert site.cdn.connections == 0
    assert site.book.asked == ["api.example"]
    assert site.into.getvalue() == b""


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["10.0.0.1"],
        ["169.254.169.254"],
        ["100.64.0.1"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["fe80::1%1"],
        ["8.8.8.8", "127.0.0.1"],
        ["127.0.0.1", "8.8.8.8"],
    ],
)
def test_an_allowed_name_with_an_address_that_is_not_public(site: Site, addresses: list[str]) -> None:
    site.book.names["cdn.example"] = addresses
    site.private.remove(site.cdn_url)
    site.own.says["/a.pdf"] = redirect(f"{site.cdn_url}/a.pdf?{SIGNATURE}")
    for url in ("/a.pdf", f"{site.cdn_url}/a.pdf"):
        error = site.failure(OriginRefused, url)
        assert f"The label is at {site.cdn_url}, whose address is not a public one" in error.message
        assert SIGNATURE not in error.message
    assert site.cdn.connections == 0


def test_the_own_origin_is_held_to_it_too(site: Site) -> None:
    site.private.clear()
    site.failure(OriginRefused)
    assert site.own.connections == 0


def test_a_literal_address_that_the_operator_named(site: Site) -> None:
    url = f"http://127.0.0.1:{site.cdn.port}"
    site.cdn.says["/a.pdf"] = answer()
    site.allowed = {url}
    site.near = Downloads(user_agent=AGENT)
    site.failure(OriginRefused, f"{url}/a.pdf")
    site.private.add(url)
    site.fetch(f"{url}/a.pdf")
    assert site.cdn.header("authorization") == [None]


def only_two_is_public(address: str) -> bool:
    return address == "127.0.0.2"


def test_a_name_that_changes_its_meaning_is_not_believed(
    site: Site, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """127.0.0.2 plays the public address, 127.0.0.1, at the same port, what may not be asked."""
    public = serve("127.0.0.2", port=site.cdn.port)
    public.says["/a.pdf"] = answer(PDF, "Connection: close")
    meanings = [["127.0.0.2"], ["127.0.0.1"]]
    asked: list[str] = []

    def rebind(name: str) -> list[str]:
        asked.append(name)
        return meanings[min(len(asked), len(meanings)) - 1]

    monkeypatch.setattr(pinned_dns, "is_public", only_two_is_public)
    site.near = Downloads(user_agent=AGENT, resolver=rebind)
    site.private.clear()
    for _ in range(2):
        site.fetch(f"{site.cdn_url}/a.pdf")
    assert (len(asked), public.connections) == (1, 2)
    monkeypatch.setattr(pinned_dns, "KEEP_NAMES", 0.0)
    site.near = Downloads(user_agent=AGENT, resolver=rebind)
    site.failure(OriginRefused, f"{site.cdn_url}/a.pdf")
    assert (len(asked), site.cdn.connections, public.connections) == (2, 0, 2)


def test_a_connection_that_may_be_private_serves_no_other(site: Site) -> None:
    site.cdn.says["/a.pdf"] = answer()
    site.fetch(f"{site.cdn_url}/a.pdf")
    site.private.remove(site.cdn_url)
    site.failure(OriginRefused, f"{site.cdn_url}/a.pdf")
    assert len(site.cdn.heads) == 1


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def test_tls_is_verified_against_the_name(site: Site, serve: Serve, authority: Authority) -> None:
    secure = serve(tls=authority.sign("cdn.example").serving())
    secure.says["/a.pdf"] = answer()
    good, bad = (f"https://{name}.example:{secure.port}" for name in ("cdn", "other"))
    site.book.names["other.example"] = ["127.0.0.1"]
    site.allowed = site.private = {good, bad}
    trusting = ssl.create_default_context(cafile=str(authority.file))
    site.near = Downloads(user_agent=AGENT, resolver=site.book.resolve, tls=trusting)
    assert site.fetch(f"{good}/a.pdf").origin == good
    # a connection to the same address is open and idle now, and must not serve the other name
    error = site.failure(NetworkError, f"{bad}/a.pdf")
    assert error.message.endswith("its certificate is not valid for it.")
    assert site.fetch(f"{good}/a.pdf").origin == good
    assert len(secure.heads) == 2
    assert secure.header("host") == [f"cdn.example:{secure.port}"] * 2


def test_an_authority_that_is_not_known_is_not_trusted(site: Site, serve: Serve, authority: Authority) -> None:
    secure = serve(tls=authority.sign("api.example").serving())
    secure.says["/a.pdf"] = answer()
    site.api_url = f"https://api.example:{secure.port}"
    site.credentials = Credentials(site.api_url, KEY, "account", "fr-fr")
    site.private = {site.api_url}
    assert site.failure(NetworkError).delivery == "not_sent"
    assert secure.heads == []


def test_a_declared_size_above_the_cap_is_refused_at_once(site: Site) -> None:
    def declare(wire: Wire) -> None:
        wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 200000000\r\n\r\n")
        wire.wait()

    site.own.says["/a.pdf"] = declare
    assert "100000 bytes" in site.failure(TooLarge).message, "not when nothing more came until the deadline"
    assert site.into.getvalue() == b""


def test_an_undeclared_size_is_stopped_at_the_cap(site: Site) -> None:
    def endless(wire: Wire) -> None:
        wire.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n%PDF-1.4\n\r\n")
        while not wire.server.over.is_set():
            wire.write(b"1000\r\n" + b"a" * 4096 + b"\r\n")

    site.own.says["/a.pdf"] = endless
    site.failure(TooLarge)
    assert len(site.into.getvalue()) <= 100_000


def test_exactly_the_largest_size_is_allowed(site: Site) -> None:
    site.own.says["/a.pdf"] = answer()
    assert site.fetch(max_bytes=len(PDF)).size == len(PDF)
    site.failure(TooLarge, max_bytes=len(PDF) - 1)


def test_a_packed_file_is_refused(site: Site) -> None:
    site.own.says["/a.pdf"] = answer(gzip.compress(PDF + b"\0" * 1_000_000), "Content-Encoding: gzip")
    assert "compressed" in site.failure(BrokenAnswer).message
    site.own.says["/a.pdf"] = answer(PDF, "Content-Encoding: identity")
    site.fetch()


def test_a_page_with_status_200_is_refused_at_its_first_bytes(site: Site) -> None:
    def page(wire: Wire) -> None:
        wire.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 9000\r\n\r\n<html>")
        wire.wait()

    site.own.says["/a.pdf"] = page
    assert site.failure(NotAPdf).message == "The file is not a PDF; it came as text/html."


@pytest.mark.parametrize("body", [b"", PDF[:-8]])
def test_an_empty_or_broken_file_is_refused(site: Site, body: bytes) -> None:
    site.own.says["/a.pdf"] = answer(body)
    site.failure(BrokenAnswer)


@pytest.mark.parametrize("status", ["201 Created", "204 No Content", "206 Partial Content"])
def test_only_the_whole_file_counts(site: Site, status: str) -> None:
    site.own.says["/a.pdf"] = site.cdn.says["/a.pdf"] = answer(b"" if status.startswith("204") else PDF, status=status)
    for url in ("/a.pdf", f"{site.cdn_url}/a.pdf"):
        site.failure(BrokenAnswer, url)


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + PDF,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\n" + PDF,
        b"SSH-2.0-OpenSSH\r\n\r\n",
    ],
)
def test_what_ends_too_early_never_counts(site: Site, beginning: bytes) -> None:
    def begin_and_cut(wire: Wire) -> None:
        wire.write(beginning)
        wire.cut()

    site.own.says["/a.pdf"] = begin_and_cut
    assert site.failure(NetworkError).delivery == "finished"
    site.own.says["/a.pdf"] = answer()
    site.fetch()


@pytest.mark.parametrize(
    "silence",
    [
        Wire.fall_silent,
        lambda wire: wire.drip(b"HTTP/1.1 200 OK\r\nX-Long: "),
        lambda wire: wire.drip(b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n%PDF-"),
        lambda wire: wire.drip(b"HTTP/1.1 500 Oh\r\nContent-Length: 90000\r\n\r\n"),
    ],
)
def test_the_deadline_is_for_the_whole(site: Site, silence: Callable[[Wire], None]) -> None:
    site.impatient()
    site.own.says["/a.pdf"] = silence
    began = monotonic()
    assert site.failure(NetworkError).delivery == "in_doubt"
    assert DEADLINE * 0.9 <= monotonic() - began < DEADLINE + SLACK


def test_the_deadline_is_for_all_redirects_together(site: Site) -> None:
    def slowly(wire: Wire) -> None:
        wire.wait(DEADLINE * 0.6)
        wire.write(redirect("/a.pdf"))

    site.impatient()
    site.own.says["/a.pdf"] = slowly
    site.failure(NetworkError)
    assert 1 <= len(site.own.heads) <= 2


def test_what_is_known_of_the_request_to_the_own_origin(site: Site) -> None:
    site.impatient()
    site.cdn.says["/silent"] = Wire.fall_silent
    site.own.says["/a.pdf"] = redirect(f"{site.cdn_url}/silent")
    assert site.failure(NetworkError).delivery == "finished"
    assert site.failure(NetworkError, f"{site.cdn_url}/silent").delivery == "not_sent"
    site.own.says["/a.pdf"] = redirect("http://gone.example/a.pdf")
    site.allowed.add("http://gone.example")
    assert site.failure(NetworkError).delivery == "finished"
    assert site.failure(NetworkError, "http://gone.example/a.pdf").delivery == "not_sent"


def test_the_next_address_is_tried(site: Site) -> None:
    site.book.names["api.example"] = ["127.0.0.9", "127.0.0.1"]
    site.own.says["/a.pdf"] = answer()
    site.fetch()
    site.book.names["cdn.example"] = ["127.0.0.8", "127.0.0.9"]
    site.failure(NetworkError, f"{site.cdn_url}/a.pdf")


HTML = b"<html><title>Attention Required! | Cloudflare</title></html>"


@pytest.mark.parametrize(
    ("status", "body", "own", "foreign"),
    [
        (401, b"", Unauthorized, HostRefused),
        (403, b'{"error": {"message": "no"}}', NotAvailable, NotAvailable),
        (403, HTML, FirewallBlocked, NotAvailable),
        (404, b"", NotFound, NotFound),
        (410, b"", RequestRefused, NotFound),
        (418, b"", RequestRefused, HostRefused),
        (429, b"", RateLimited, ServerError),
        (500, b"", ServerError, ServerError),
        (503, HTML, ServerError, ServerError),
    ],
)
def test_what_a_status_means(
    site: Site, status: int, body: bytes, own: type[BackMarketError], foreign: type[BackMarketError]
) -> None:
    site.own.says["/a.pdf"] = answer(body, "Retry-After: 7", "CF-RAY: 8c1d2e3f4a5b6c7d-CDG", status=f"{status} So")
    site.cdn.says["/a.pdf"] = answer(body, status=f"{status} So")
    assert site.failure(own).status == status
    error = site.failure(foreign, f"{site.cdn_url}/a.pdf?{SIGNATURE}")
    assert error.status == status
    assert site.cdn_url in error.message
    assert "key" not in error.message


def test_a_long_error_is_not_read_to_its_end(site: Site) -> None:
    def endless(wire: Wire) -> None:
        wire.write(b"HTTP/1.1 500 Oh\r\nContent-Length: 900000000000\r\n\r\n")
        while not wire.server.over.is_set():
            wire.write(b"a" * 4096)

    site.own.says["/a.pdf"] = endless
    site.failure(ServerError)


def test_connections_are_kept_and_shared_by_threads_in_turn(site: Site) -> None:
    site.own.says["/a.pdf"] = redirect(f"{site.cdn_url}/a.pdf")
    site.cdn.says["/a.pdf"] = answer()

    def fetch(_: int) -> int:
        into = BytesIO()
        return site.fetch(into=into).size * (into.getvalue() == PDF)

    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(fetch, range(200))) == [len(PDF)] * 200
    with ThreadPoolExecutor(4) as others:
        assert list(others.map(fetch, range(20))) == [len(PDF)] * 20
    assert len(site.own.heads) == len(site.cdn.heads) == 220
    assert site.own.connections <= 16
    assert site.cdn.connections <= 16


def test_after_a_close_it_connects_anew(site: Site) -> None:
    site.own.says["/a.pdf"] = answer()
    for _ in range(2):
        site.fetch()
        site.near.close()
    assert site.own.connections == 2


@pytest.mark.filterwarnings("error::ResourceWarning")
def test_a_close_while_a_file_comes_leaves_nothing_open(site: Site) -> None:
    closed = Event()

    def slowly(wire: Wire) -> None:
        site.near.close()
        wire.write(answer())
        assert wire._line() == b""
        closed.set()

    site.own.says["/a.pdf"] = slowly
    site.fetch()
    assert closed.wait(PATIENCE_SECONDS)


def test_the_environment_changes_nothing(site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        for each in (name, name.lower()):
            monkeypatch.setenv(each, f"http://127.0.0.1:{site.cdn.port}")
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine api.example login other password other\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    site.near = Downloads(user_agent=AGENT, resolver=site.book.resolve)
    site.own.says["/a.pdf"] = answer()
    site.fetch()
    assert site.own.header("authorization") == [f"basic {KEY}"]
    assert site.cdn.connections == 0


def test_no_error_tells_the_key_or_the_query(site: Site) -> None:
    site.impatient()
    site.own.says["/silent"] = Wire.fall_silent
    site.own.says["/cut"] = Wire.cut
    site.own.says["/page"] = answer(b"<html>")
    site.own.says["/away"] = redirect(f"http://evil.example/{KEY}?{SIGNATURE}")
    site.own.says["/gone"] = redirect(f"{site.cdn_url}/{KEY}?{SIGNATURE}")
    for path in ("/silent", "/cut", "/page", "/away", "/gone", "/missing"):
        with pytest.raises(BackMarketError) as caught:
            site.fetch(f"{path}?{SIGNATURE}")
        shown = "".join(traceback.format_exception(caught.value)) + str(caught.value) + repr(caught.value)
        assert KEY not in shown
        assert SIGNATURE not in shown


class Nowhere:
    """Takes all bytes and keeps none."""

    def write(self, piece: bytes) -> int:
        return len(piece)


def test_memory_stays_flat(site: Site) -> None:
    size = 20 * 1024 * 1024

    def long(wire: Wire) -> None:
        wire.write(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n%PDF-".encode())
        piece = b"a" * 65536
        for _ in range(size // len(piece) - 1):
            wire.write(piece)
        wire.write(b"a" * (len(piece) - 11) + b"\n%%EOF")

    site.own.says["/a.pdf"] = long
    tracemalloc.start()
    try:
        assert site.fetch(max_bytes=size, into=cast(BinaryIO, Nowhere())).size == size
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * 1024 * 1024


def test_a_full_disk_is_the_caller_s_to_hear_of(site: Site) -> None:
    class Full:
        def write(self, piece: bytes) -> int:
            raise OSError(28, "No space left on device")

    site.own.says["/a.pdf"] = answer()
    with pytest.raises(OSError, match="No space"):
        site.fetch(into=cast(BinaryIO, Full()))
    site.fetch()
