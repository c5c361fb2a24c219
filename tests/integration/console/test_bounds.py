"""A client of the console that sends slowly, nothing, too much, or does not read: it holds nothing for long."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from threading import Event, Thread
from time import monotonic, sleep

import pytest
import uvicorn

from backmarket import BackMarket
from backmarket.console import http_protocol
from backmarket.console.app import create_app
from backmarket.console.server import config_of
from tests.support.console import OPERATOR
from tests.support.settings import fresh_settings
from tests.support.waiting import PATIENCE_SECONDS, wait_until

QUICK = 0.3
"""Seconds here, where the real bounds are 5 to 75."""
HEAD = b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-www-form-urlencoded\r\n"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[uvicorn.Server]:
    for name in ("REQUEST_SECONDS", "LINGER_SECONDS", "IDLE_SECONDS"):
        monkeypatch.setattr(http_protocol, name, QUICK)
    monkeypatch.setattr(http_protocol, "MAX_CONNECTIONS", 20)
    settings = fresh_settings(database_url="postgresql://nobody@127.0.0.1:1/none", console_users=(OPERATOR,))
    with BackMarket(settings) as bm, socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        server = uvicorn.Server(config_of(create_app(bm, settings)))
        thread = Thread(target=server.run, args=([listener],))
        thread.start()
        wait_until(lambda: server.started, "the console serves")
        yield server
        server.should_exit = True
        thread.join()


def connect(server: uvicorn.Server) -> socket.socket:
    at = server.servers[0].sockets[0].getsockname()
    return socket.create_connection(at, timeout=PATIENCE_SECONDS)


def rest(client: socket.socket) -> bytes:
    """Everything that comes until the console ends the connection."""
    try:
        return b"".join(iter(lambda: client.recv(65536), b""))
    except ConnectionError:
        return b""


def drip(client: socket.socket) -> None:
    """A byte now and then, for as long as the console takes them."""
    until = monotonic() + PATIENCE_SECONDS
    with suppress(ConnectionError):
        while monotonic() < until:
            client.sendall(b"a")
            sleep(QUICK / 20)
    assert monotonic() < until, "the console took every byte"


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n",
        HEAD % b"/login" + b"Content-Length: 9000\r\n\r\nname=",
        HEAD % b"/login" + b"Transfer-Encoding: chunked\r\n\r\n5\r\nname=\r\n",
    ],
    ids=["nothing", "half a head", "half a form", "half a chunk"],
)
def test_a_client_that_falls_silent_is_left(server: uvicorn.Server, beginning: bytes) -> None:
    with connect(server) as client:
        client.sendall(beginning)
        rest(client)
    wait_until(lambda: not server.server_state.connections, "the console forgot the connection")


@pytest.mark.parametrize(
    "beginning",
    [
        b"GET /health HTTP/1.1\r\nX-Long: ",
        HEAD % b"/login" + b"Content-Length: 9000\r\n\r\nname=",
        HEAD % b"/nowhere" + b"Content-Length: 999999999\r\n\r\nname=",
        HEAD % b"/logout" + b"Transfer-Encoding: chunked\r\n\r\nfffffff\r\n",
    ],
    ids=["head", "form", "a body that nobody reads", "a chunk"],
)
def test_a_client_that_drips_is_left(server: uvicorn.Server, beginning: bytes) -> None:
    with connect(server) as client:
        client.sendall(beginning)
        drip(client)
    wait_until(lambda: not server.server_state.connections, "the console forgot the connection")


@pytest.mark.parametrize("path", [b"/login", b"/logout"])
@pytest.mark.parametrize("length", [b"Content-Length: 00000000000999999999", b"Content-Length: 99999", b"X-None: 1"])
def test_a_form_without_a_length_or_with_a_large_one_is_not_read(
    server: uvicorn.Server, path: bytes, length: bytes
) -> None:
    with connect(server) as client:
        client.sendall(HEAD % path + length + b"\r\nTransfer-Encoding: chunked\r\n\r\n" * (length == b"X-None: 1"))
        client.sendall(b"\r\n\r\n" * (length != b"X-None: 1"))
        assert client.recv(100).startswith((b"HTTP/1.1 413 ", b"HTTP/1.1 400 "))


def test_a_large_head_is_refused(server: uvicorn.Server) -> None:
    with connect(server) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nX-Long: " + b"a" * (2 * http_protocol.MAX_HEAD_BYTES))
        assert client.recv(100).startswith(b"HTTP/1.1 400 ")


def test_a_client_that_does_not_read_is_left(server: uvicorn.Server) -> None:
    asked = b"GET /static/htmx.min.js HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: %s\r\n\r\n" % (b"a" * 9000)
    with connect(server) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(QUICK)
        with suppress(OSError):  # the console ends the connection, or stops to read
            for _ in range(100_000):
                client.sendall(asked)
        wait_until(lambda: not server.server_state.connections, "the console forgot the connection")


def test_strangers_who_hold_every_connection_keep_nobody_out(
    server: uvicorn.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol, "REQUEST_SECONDS", 4e15)  # in floats of this size all their deadlines are equal
    in_one_burst = Event()
    server.servers[0].get_loop().call_soon_threadsafe(in_one_burst.wait, PATIENCE_SECONDS)
    with ExitStack() as stack:
        for _ in range(50):
            stack.enter_context(connect(server))
        clients = [stack.enter_context(connect(server)) for _ in range(10)]
        for client in clients:
            client.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        in_one_burst.set()
        for client in clients:
            assert client.recv(100).startswith(b"HTTP/1.1 200 ")
        assert len(server.server_state.connections) <= 20


def test_a_slow_upload_that_goes_on_is_read(server: uvicorn.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "MIN_BODY_BYTES_A_SECOND", 1000)
    with connect(server) as client:
        client.sendall(HEAD % b"/login" + b"Content-Length: 10000\r\n\r\nname=")
        for _ in range(10):
            sleep(QUICK / 3)
            client.sendall(b"a" * 999)
        client.sendall(b"a" * 5)
        assert client.recv(100).startswith(b"HTTP/1.1 403 ")  # without the token of a page
