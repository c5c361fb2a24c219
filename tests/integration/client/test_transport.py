"""What leaves on the wire and what is made of it: a server on loopback that writes the very bytes it was told."""

import gzip
import socket
import sys
import traceback
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from subprocess import Popen
from threading import Event, Thread
from time import monotonic

import pytest

from backmarket.client import Credentials, check, transport
from backmarket.client.transport import Transport
from backmarket.errors import BrokenAnswer, NetworkError, RequestRefused
from tests.support.certificates import Authority
from tests.support.waiting import PATIENCE_SECONDS, wait_until

DEADLINE = 1.0
SLACK = 60.0
"""Seconds that a busy machine may add; what is not stopped takes minutes."""

KEY = "token-that-nobody-may-see"


def answer(body: bytes = b"{}", *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


class Far(ThreadingTCPServer):
    """Answers every request with `bytes_`, or as `act` does; keeps each request's head, as it came.

    `meet`, if set, has each connection to itself, from before its first byte.
    """

    daemon_threads = True
    request_queue_size = 16

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Wire)
        self.bytes_ = answer()
        self.act: Callable[[Wire], None] = lambda wire: wire.write(self.bytes_)
        self.meet: Callable[[Wire], None] | None = None
        self.heads: list[bytes] = []
        self.connections = 0
        self.over = Event()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hung up, which the tests here are about."""

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def header(self, name: str, request: int = -1) -> list[str]:
        lines = self.heads[request].decode().split("\r\n")[1:]
        pairs = [line.split(": ", 1) for line in lines if line]
        return [value for key, value in pairs if key.lower() == name]


class Wire(StreamRequestHandler):
    server: Far

    def handle(self) -> None:
        self.server.connections += 1
        if self.server.meet:
            self.server.meet(self)
            return
        while head := b"".join(iter(self._line, b"")):
            self.server.heads.append(head)
            self.server.act(self)

    def _line(self) -> bytes:
        try:
            line = self.rfile.readline()
        except OSError:
            return b""
        return line if line != b"\r\n" else b""

    def write(self, bytes_: bytes) -> None:
        self.wfile.write(bytes_)

    def drip(self, bytes_: bytes) -> None:
        """Byte by byte: none keeps its reader waiting, all together do for minutes."""
        for byte in bytes_:
            if self.wait(0.01):
                return
            self.write(bytes([byte]))

    def cut(self) -> None:
        self.connection.shutdown(socket.SHUT_RDWR)

    def wait(self, seconds: float | None = None) -> bool:
        """Until the test is over, or so long; whether it is over."""
        return self.server.over.wait(seconds)


@pytest.fixture
def far() -> Iterator[Far]:
    with Far() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def near() -> Iterator[Transport]:
    made = Transport(user_agent="BM-Test-Wire;dev@test.example", connect_timeout=PATIENCE_SECONDS, deadline=DEADLINE)
    yield made
    made.close()


@pytest.fixture
def patient() -> Iterator[Transport]:
    """For tests of what comes, which no busy machine may disturb."""
    made = Transport(user_agent="BM-Test-Wire;dev@test.example")
    yield made
    made.close()


def credentials(port: int) -> Credentials:
    return Credentials(f"http://127.0.0.1:{port}", KEY, "account", "fr-fr")


def failure(near: Transport, port: int) -> NetworkError:
    with pytest.raises(NetworkError) as caught:
        near.get(credentials(port), "/ws/orders")
    return caught.value


def test_a_request_on_the_wire(far: Far, patient: Transport) -> None:
    patient.get(
        credentials(far.port), "/ws/orders", [("page", "2"), ("date_modification", "2026-01-01T00:00:00+00:00")]
    )
    lines = far.heads[0].decode().split("\r\n")
    assert lines[0] == "GET /ws/orders?page=2&date_modification=2026-01-01T00%3A00%3A00%2B00%3A00 HTTP/1.1"
    assert sorted(line.lower() for line in lines[1:] if line) == sorted(
        [
            f"host: 127.0.0.1:{far.port}",
            f"authorization: basic {KEY}",
            "accept: application/json",
            "accept-encoding: gzip, deflate",
            "accept-language: fr-fr",
            "content-type: application/json",
            "user-agent: bm-test-wire;dev@test.example",
        ]
    )
    assert far.header("authorization") == [f"Basic {KEY}"]


def test_the_answer_is_handed_over_whole(far: Far, patient: Transport) -> None:
    far.bytes_ = answer(b'{"count": 1}', "CF-Ray: 8c1d-CDG", "Date: Wed, 21 Oct 2026 07:28:00 GMT", status="418 Teapot")
    got = patient.get(credentials(far.port), "/ws/orders")
    assert (got.status, got.body, got.headers["cf-ray"]) == (418, b'{"count": 1}', "8c1d-CDG")
    assert got.date is not None
    assert got.date.isoformat() == "2026-10-21T07:28:00+00:00"


def test_a_thread_keeps_its_connection_and_shares_it_with_none(far: Far, patient: Transport) -> None:
    def ask_twice() -> None:
        for _ in range(2):
            patient.get(credentials(far.port), "/ws/orders")

    ask_twice()
    assert far.connections == 1
    other = Thread(target=ask_twice)
    other.start()
    other.join()
    assert (far.connections, len(far.heads)) == (2, 4)


def test_after_a_close_it_connects_anew(far: Far, patient: Transport) -> None:
    for _ in range(2):
        patient.get(credentials(far.port), "/ws/orders")
        patient.close()
    assert far.connections == 2


def test_no_cookie_is_kept(far: Far, patient: Transport) -> None:
    far.bytes_ = answer(b"{}", "Set-Cookie: session=of-another-seller; Path=/")
    for _ in range(2):
        patient.get(credentials(far.port), "/ws/orders")
    assert far.header("cookie") == []


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_no_redirect_is_followed(far: Far, patient: Transport, status: str) -> None:
    far.bytes_ = answer(b"", f"Location: http://127.0.0.1:{far.port}/elsewhere", status=status)
    with pytest.raises(RequestRefused):
        check(patient.get(credentials(far.port), "/ws/orders"))
    assert len(far.heads) == 1


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_packed_body_is_unpacked(far: Far, patient: Transport, encoding: str, pack: Callable[[bytes], bytes]) -> None:
    far.bytes_ = answer(pack(b'{"results": []}'), f"Content-Encoding: {encoding}")
    assert patient.get(credentials(far.port), "/ws/orders").body == b'{"results": []}'


def test_a_body_that_is_not_packed_as_it_says_is_a_broken_answer(far: Far, patient: Transport) -> None:
    far.bytes_ = answer(b"not packed at all", "Content-Encoding: gzip")
    with pytest.raises(BrokenAnswer):
        patient.get(credentials(far.port), "/ws/orders")


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
        b"SSH-2.0-OpenSSH\r\n\r\n",
    ],
)
def test_a_cut_answer_is_past(far: Far, patient: Transport, beginning: bytes) -> None:
    def begin_and_cut(wire: Wire) -> None:
        wire.write(beginning)
        wire.cut()

    far.act = begin_and_cut
    assert failure(patient, far.port).delivery == "finished"


def test_after_a_cut_the_next_request_is_answered(far: Far, patient: Transport) -> None:
    far.act = Wire.cut
    failure(patient, far.port)
    far.act = lambda wire: wire.write(answer())
    assert patient.get(credentials(far.port), "/ws/orders").status == 200


def test_a_refused_connection_never_sent(near: Transport, closed_port: int) -> None:
    assert failure(near, closed_port).delivery == "not_sent"


@pytest.mark.parametrize("beginning", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"])
def test_a_server_that_falls_silent_leaves_it_open(far: Far, near: Transport, beginning: bytes) -> None:
    def begin_and_wait(wire: Wire) -> None:
        wire.write(beginning)
        wire.wait()

    far.act = begin_and_wait
    began = monotonic()
    assert failure(near, far.port).delivery == "in_doubt"
    assert monotonic() - began < DEADLINE + SLACK


@contextmanager
def in_time() -> Iterator[None]:
    began = monotonic()
    yield
    assert monotonic() - began < DEADLINE + SLACK


def test_a_dripping_body_is_stopped_at_the_deadline(far: Far, near: Transport) -> None:
    def drip(wire: Wire) -> None:
        wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 30000\r\n\r\n")
        wire.drip(b" " * 30_000)

    far.act = drip
    with in_time():
        assert failure(near, far.port).delivery == "in_doubt"


@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 3])
def test_dripping_headers_are_stopped_at_the_deadline(far: Far, near: Transport, before: bytes) -> None:
    far.act = lambda wire: wire.drip(before + answer(b"{}", "X-Long: " + "x" * 30_000))
    with in_time():
        assert failure(near, far.port).delivery == "in_doubt"


def test_a_deadline_holds_on_a_connection_that_was_kept(far: Far) -> None:
    near = Transport(user_agent="BM-Test-Wire;dev@test.example", deadline=DEADLINE)
    assert near.get(credentials(far.port), "/ws/orders").status == 200
    far.act = lambda wire: wire.drip(answer(b"{}", "X-Long: " + "x" * 30_000))
    with in_time():
        assert failure(near, far.port).delivery == "in_doubt"
    far.act = lambda wire: wire.write(answer())
    assert near.get(credentials(far.port), "/ws/orders").status == 200, "the deadline begins anew"
    assert (far.connections, len(far.heads)) == (2, 3), "the connection that was late is not used again"
    near.close()


def test_a_dripping_tls_handshake_is_stopped_at_the_deadline(far: Far) -> None:
    far.meet = lambda wire: wire.drip(b"\x16\x03\x03\x40\x00" + b"\x02" * 16_000)  # the head of a record of 16 kB
    near = Transport(user_agent="BM-Test-Wire;dev@test.example", connect_timeout=PATIENCE_SECONDS, deadline=DEADLINE)
    secure = Credentials(f"https://127.0.0.1:{far.port}", KEY, "account", "fr-fr")
    with in_time(), pytest.raises(NetworkError) as caught:
        near.send(secure, "POST", "/ws/listings", body=b"{}")
    assert caught.value.delivery == "not_sent"
    near.close()


def test_a_certificate_that_nobody_vouches_for_is_named_as_the_reason(
    far: Far, patient: Transport, tmp_path: Path
) -> None:
    serving = Authority(tmp_path).sign("127.0.0.1").serving()

    def meet(wire: Wire) -> None:
        with suppress(OSError):  # the client hangs up
            serving.wrap_socket(wire.connection, server_side=True).close()

    far.meet = meet
    with pytest.raises(NetworkError) as caught:
        patient.get(Credentials(f"https://127.0.0.1:{far.port}", KEY, "account", "fr-fr"), "/ws/orders")
    assert caught.value.message == "The API did not answer: its certificate is not valid for it."
    assert caught.value.delivery == "not_sent"


class Late:
    """A far side that begins to read when the near one is over; then tells how much came, and how it ended."""

    def __init__(self, far: Far) -> None:
        far.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        far.meet = self._meet
        self.begun, self.over = Event(), Event()
        self.taken = 0
        self.ends: list[str] = []

    def read(self) -> tuple[int, str]:
        self.over.set()
        wait_until(lambda: bool(self.ends), "the far side reads what there is")
        return self.taken, self.ends[0]

    def _meet(self, wire: Wire) -> None:
        wire.connection.recv(1, socket.MSG_PEEK)
        self.begun.set()
        self.over.wait(PATIENCE_SECONDS)
        try:
            while piece := wire.connection.recv(65536):
                self.taken += len(piece)
            self.ends.append("all that was sent")
        except ConnectionResetError:
            self.ends.append("cut")


@pytest.mark.parametrize("size", [1_000_000, 16_000_000])
def test_a_body_that_no_server_reads_is_stopped_and_never_arrives(far: Far, near: Transport, size: int) -> None:
    """The system takes a megabyte of it at once, to send when the far side reads: not after the deadline."""
    late = Late(far)
    with in_time(), pytest.raises(NetworkError) as caught:
        near.send(credentials(far.port), "POST", "/ws/listings", body=b"x" * size)
    assert caught.value.delivery == "in_doubt"
    taken, end = late.read()
    assert end == "cut"
    assert taken < size / 2


SENDER = """
import sys
from backmarket.client import Credentials
from backmarket.client.transport import Transport
near = Transport(user_agent="BM-Test-Wire;dev@test.example")
near.send(Credentials(sys.argv[1], "key", "account", "fr-fr"), "POST", "/ws/listings", body=b"x" * 1_000_000)
"""


def test_what_a_killed_process_had_not_sent_never_arrives(far: Far) -> None:
    late = Late(far)
    with Popen([sys.executable, "-c", SENDER, f"http://127.0.0.1:{far.port}"]) as sender:
        assert late.begun.wait(PATIENCE_SECONDS)
        sender.kill()
    taken, end = late.read()
    assert end == "cut"
    assert taken < 500_000


def test_a_body_that_is_taken_slowly_is_stopped_at_the_deadline(far: Far, near: Transport) -> None:
    taken = [0]

    def sip(wire: Wire) -> None:
        while not wire.wait(0.01) and (piece := wire.connection.recv(65536)):
            taken[0] += len(piece)

    far.meet = sip
    with pytest.raises(NetworkError) as caught:
        near.send(credentials(far.port), "POST", "/ws/listings", body=b"x" * 64_000_000)
    assert caught.value.delivery == "in_doubt"
    assert 0 < taken[0] < 32_000_000, "ten seconds would be needed for all of it"


def test_every_address_of_a_name_has_what_is_left(
    near: Transport, monkeypatch: pytest.MonkeyPatch, silent_port: int
) -> None:
    """None of four answers, and each alone would be given minutes."""
    monkeypatch.setattr(transport, "resolve", lambda _: [f"127.0.0.{last}" for last in range(1, 5)])
    named = Credentials(f"http://api.example:{silent_port}", KEY, "account", "fr-fr")
    with in_time(), pytest.raises(NetworkError) as caught:
        near.get(named, "/ws/orders")
    assert caught.value.delivery == "not_sent"


def test_the_next_address_of_a_name_is_tried(far: Far, patient: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "resolve", lambda _: ["127.0.0.2", "127.0.0.1"])
    named = Credentials(f"http://api.example:{far.port}", KEY, "account", "fr-fr")
    assert patient.get(named, "/ws/orders").status == 200
    assert far.header("host") == [f"api.example:{far.port}"]


def test_a_name_without_an_address_never_sent(patient: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: str) -> list[str]:
        raise socket.gaierror

    monkeypatch.setattr(transport, "resolve", unknown)
    with pytest.raises(NetworkError) as caught:
        patient.get(Credentials("http://nobody.invalid", KEY, "account", "fr-fr"), "/ws/orders")
    assert caught.value.delivery == "not_sent"


@pytest.mark.parametrize(("encoding", "pack"), [("identity", bytes), ("gzip", gzip.compress)])
def test_a_body_has_a_largest_size(
    far: Far, patient: Transport, monkeypatch: pytest.MonkeyPatch, encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr(transport, "MAX_BODY_BYTES", 1000)
    far.bytes_ = answer(pack(b"1" * 1000), f"Content-Encoding: {encoding}")
    assert len(patient.get(credentials(far.port), "/ws/orders").body) == 1000
    far.bytes_ = answer(pack(b"1" * 1001), f"Content-Encoding: {encoding}")
    with pytest.raises(BrokenAnswer):
        patient.get(credentials(far.port), "/ws/orders")


def test_a_largest_size_counts_every_chunk(far: Far, patient: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MAX_BODY_BYTES", 15)
    far.bytes_ = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"8\r\n12345678\r\n" * 2 + b"0\r\n\r\n"
    with pytest.raises(BrokenAnswer):
        patient.get(credentials(far.port), "/ws/orders")


def test_an_answer_expands_only_so_far(far: Far, patient: Transport) -> None:
    far.bytes_ = answer(gzip.compress(bytes(transport.EXPANSION_FREE_BYTES)), "Content-Encoding: gzip")
    assert len(patient.get(credentials(far.port), "/ws/orders").body) == transport.EXPANSION_FREE_BYTES
    for bomb in (gzip.compress(bytes(1_000_000)), gzip.compress(bytes(63_000_000)), gzip.compress(b"[1, 23]" * 9**7)):
        assert len(bomb) < 70_000
        far.bytes_ = answer(bomb, "Content-Encoding: gzip")
        with pytest.raises(BrokenAnswer, match="too large"):
            patient.get(credentials(far.port), "/ws/orders")


def test_the_environment_changes_nothing(
    far: Far, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, closed_port: int
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        for each in (name, name.lower()):
            monkeypatch.setenv(each, f"http://127.0.0.1:{closed_port}")
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login other password other\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    made = Transport(user_agent="BM-Test-Wire;dev@test.example")
    assert made.get(credentials(far.port), "/ws/orders").status == 200
    assert far.header("authorization") == [f"Basic {KEY}"]
    made.close()


def test_no_error_tells_the_key_or_the_address(near: Transport, closed_port: int) -> None:
    secretive = Credentials(f"http://127.0.0.1:{closed_port}", KEY, "account", "fr-fr")
    with pytest.raises(NetworkError) as caught:
        near.get(secretive, f"/ws/{KEY}", [("q", KEY)])
    shown = "".join(traceback.format_exception(caught.value))
    assert KEY not in shown + str(caught.value) + repr(caught.value)
    assert "127.0.0.1" not in shown


def test_credentials_show_no_key() -> None:
    assert KEY not in repr(credentials(1))


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Of a server whose queue is full: Linux lets further connections wait."""
    with socket.socket() as server, ExitStack() as queue:
        server.bind(("0.0.0.0", 0))
        server.listen(0)
        port = int(server.getsockname()[1])
        for _ in range(4):
            waiting = queue.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        yield port
