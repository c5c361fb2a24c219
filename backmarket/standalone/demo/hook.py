"""The receiver of the demo's webhook, as a host application has one."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from time import monotonic, sleep
from types import TracebackType
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

from backmarket.facade import BackMarket
from backmarket.standalone.demo.checks import WAIT, expect


class Hook:
    """Receives events for as long as the `with` block lasts."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        """Verified ones, in the order of their arrival."""
        self._secret = ""
        self._cursor = ""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def origin(self) -> str:
        """Its own."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def register(self, market: BackMarket) -> None:
        """Have it called from now on."""
        self._cursor = market.changes_cursor()
        self._secret = market.create_webhook(f"{self.origin}/hook", after=self._cursor).secret

    def check(self, market: BackMarket) -> None:
        """It was called once for each event since then, in the order of the feed."""
        expected = [change.cursor for change in market.changes(self._cursor)]
        until = monotonic() + WAIT
        while len(self.events) < len(expected) and monotonic() < until:
            sleep(0.05)
        expect("events at the webhook", [event["cursor"] for event in self.events], expected)

    def __enter__(self) -> Hook:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                """Verify, then answer."""
                body = self.rfile.read(int(self.headers["Content-Length"]))
                try:
                    hook.events.append(Webhook(hook._secret).verify(body, dict(self.headers))["data"])
                except WebhookVerificationError:
                    self.send_response(401)
                else:
                    self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name it has there
                """The demo reports for it."""

        return Handler
