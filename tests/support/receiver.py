"""The far side of webhooks: a server that verifies each call, remembers it, and answers as it was told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from threading import Event, Lock
from types import TracebackType
from typing import Any

from standardwebhooks import Webhook

from tests.support.gate import Reply, Serving
from tests.support.waiting import PATIENCE_SECONDS


@dataclass(frozen=True, slots=True)
class Call:
    """A verified call."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def event(self) -> dict[str, Any]:
        found: dict[str, Any] = self.body["data"]
        return found


@dataclass
class Receiver:
    """Answers calls while its `with` block lasts.

    Attributes:
        secrets: of each path; a call whose signature fits none of them is not remembered, and answered `unsigned`.
        answer: the status for an event, and headers; by default 204.
        refused: calls that did not verify.
        open: calls are answered once it is set.
        calls: verified calls, in the order of their arrival.
    """

    secrets: dict[str, str] = field(default_factory=dict)
    answer: Callable[[dict[str, Any]], tuple[int, dict[str, str]]] = lambda event: (204, {})
    open: Event = field(default_factory=Event)
    calls: list[Call] = field(default_factory=list)
    refused: int = 0
    connections: int = 0
    unsigned: Reply = field(default_factory=lambda: Reply(401))
    """To what does not verify."""

    def __post_init__(self) -> None:
        self.open.set()
        self._lock = Lock()
        self._serving = Serving(self._handler())
        self.origin = self._serving.origin

    def ids(self) -> list[str]:
        """What the events were about, in the order of their arrival."""
        return [call.event["external_id"] for call in self.calls]

    def __enter__(self) -> Receiver:
        self._serving.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.open.set()
        self._serving.stop()

    def _receive(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str]]:
        self.open.wait(PATIENCE_SECONDS)
        try:
            content = Webhook(self.secrets[path]).verify(body, headers)
        except Exception:  # noqa: BLE001 - whatever does not verify is refused
            with self._lock:
                self.refused += 1
            return self.unsigned.status, dict(self.unsigned.headers)
        with self._lock:
            self.calls.append(Call(path, headers, content))
        return self.answer(content["data"])

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                receiver.connections += 1

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, headers = receiver._receive(self.path, dict(self.headers), body)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name it has there
                pass

        return Handler
