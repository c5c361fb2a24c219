"""Clients of the health port and of Flower that send slowly or nothing hold no thread, and keep no probe out."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from time import monotonic, sleep

import flower.app
import pytest
from tornado.web import Application

from backmarket.settings import Settings
from tests.support.waiting import PATIENCE_SECONDS, wait_until
from workers.celery_overrides import flower_server
from workers.health import server as health
from workers.health.probes import Probes

ASKED = b"GET /livez HTTP/1.0\r\n\r\n"


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(health, "CONNECTION_SECONDS", 0.3)
    with health.HealthServer(Settings(), Probes({})) as server:
        server.start()
        yield server.server_address[1]
        server.shutdown()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)


def drip(client: socket.socket) -> None:
    until = monotonic() + PATIENCE_SECONDS
    with suppress(ConnectionError):
        while monotonic() < until:
            client.sendall(b"a")
            sleep(0.01)
    assert monotonic() < until, "it took every byte"


def handlers() -> int:
    return sum("process_request_thread" in each.name for each in threading.enumerate())


def test_connections_without_a_request_end_however_slowly_they_send(port: int) -> None:
    with connect(port) as silent, connect(port) as slow:
        slow.sendall(b"GET /livez HTTP/1.0\r\nX-Long: ")
        drip(slow)
        assert silent.recv(1) == b""
    wait_until(lambda: handlers() == 0, "their threads have ended")


@pytest.mark.slow
def test_many_silent_connections_take_few_threads_and_keep_no_probe_out(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "CONNECTION_SECONDS", PATIENCE_SECONDS)
    with ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(connect(port))
        client = stack.enter_context(connect(port))
        client.sendall(ASKED)
        assert client.recv(100).startswith(b"HTTP/1.0 ")
        assert handlers() <= 2 * health.MAX_CONNECTIONS


def test_flower_waits_for_no_request_and_takes_no_large_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flower.app, "HTTPServer", flower.app.HTTPServer)
    monkeypatch.setattr(flower_server, "REQUEST_SECONDS", 0.2)
    flower_server.connect()

    async def answers() -> list[bytes]:
        server = flower.app.HTTPServer(Application(), ssl_options=None, xheaders=False)  # as Flower makes it
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            server.add_socket(listener)
            found = []
            for asked in (b"", b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\na",
                          b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 90000000\r\n\r\na",
                          b"GET / HTTP/1.1\r\nX-Long: " + b"a" * 99_000):  # fmt: skip
                reader, writer = await asyncio.open_connection(*listener.getsockname())
                writer.write(asked)
                with suppress(ConnectionResetError):
                    found.append(await asyncio.wait_for(reader.read(), PATIENCE_SECONDS))
                writer.close()
            server.stop()
            return found

    assert {each.partition(b"\r\n")[0] for each in asyncio.run(answers())} <= {b"", b"HTTP/1.1 400 Bad Request"}
