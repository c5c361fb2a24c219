"""The far side of a socket: a server that lets each request wait until the test says so, and answers as it was told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Event, Thread
from types import TracebackType
from typing import Any

from tests.support.waiting import PATIENCE_SECONDS


class QuietServer(ThreadingHTTPServer):
    """Says nothing of clients that hang up: ours end their connections with a reset (docs/decisions/0004)."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        """Said by the client's side of the test, if it matters."""


class Serving:
    """A server in a thread of its own, on a free port.

    Args:
        handler: answers requests.
    """

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        self._server = QuietServer(("127.0.0.1", 0), handler)
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def origin(self) -> str:
        """Its own."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Close it, and wait for its thread."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@dataclass(frozen=True)
class Reply:
    """What every request is answered."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def listed(*orders: dict[str, Any]) -> Reply:
    """The only page of a list of orders."""
    answer = {"count": len(orders), "next": None, "previous": None, "results": orders}
    return Reply(body=json.dumps(answer).encode())


class Gate:
    """Answers requests while its `with` block lasts, none before `open` is set.

    Args:
        reply: to every request.
    """

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.open = Event()
        self.keys: list[str | None] = []
        """The `Authorization` header of each request."""
        self.paths: list[str] = []
        """What each asked for."""
        self._arrived = Condition()
        self._serving = Serving(self._handler())
        self.url = self._serving.origin

    def wait(self, requests: int = 1) -> None:
        """Return when so many requests have come, since the beginning."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.paths) >= requests, PATIENCE_SECONDS)

    def __enter__(self) -> Gate:
        self._serving.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.open.set()
        self._serving.stop()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        gate = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with gate._arrived:
                    gate.keys.append(self.headers.get("Authorization"))
                    gate.paths.append(self.path)
                    gate._arrived.notify_all()
                gate.open.wait(PATIENCE_SECONDS)
                reply = gate.reply
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name it has there
                pass

        return Handler
