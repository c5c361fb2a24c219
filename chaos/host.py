"""The host application of a round: a webhook and a Celery task, which remember each event that they get."""

from __future__ import annotations

import json
from base64 import b64decode
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from threading import Event, Thread
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Final

import redis
from standardwebhooks import Webhook

from backmarket import BackMarket

TASK: Final = "shop.on_change"
QUEUE: Final = "shop"

BUSY: Final = 0.05
"""Share of the calls that are answered 503."""

SETTLE_SECONDS: Final = 120.0
"""Seconds that the messages of a round may take at most."""

TASK_SECONDS: Final = 30.0
"""Seconds until a worker has made the task's endpoint."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """A worker that was killed hung up."""


class Host:
    """Answers and takes messages while its `with` block lasts.

    Args:
        redis_url: of its own broker, which no fault strikes: what an emptied broker had is lost for its application.
    """

    def __init__(self, redis_url: str) -> None:
        self.redis_url = redis_url
        self.begin_after = ""
        """Events after this cursor are to come."""
        self.got: dict[str, dict[str, None]] = {"webhook": {}, "task": {}}
        """Cursors of the events, in the order of their first arrival; a webhook that was answered 503 arrived, too."""
        self.calls = 0
        self._secret = ""
        self._dice = Random("host")
        self._silent = Event()
        self._ended = Event()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._threads = (
            Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True),
            Thread(target=self._take_messages, daemon=True),
        )

    @property
    def origin(self) -> str:
        """Where the webhook is."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def begin(self, market: BackMarket) -> None:
        """Have a webhook and the task get each event from now on; the task those of first walks, too.

        Raises:
            RuntimeError: no worker has made the task's endpoint.
        """
        until = monotonic() + TASK_SECONDS
        while not (found := market.get_event_endpoints()):
            if monotonic() > until:
                raise RuntimeError("no worker has made the endpoint of the host's task")
            sleep(0.1)
        market.update_event_endpoint(found[0].id, initial=True)
        self._secret = market.create_webhook(f"{self.origin}/hook").secret
        self.begin_after = market.changes_cursor()
        self.got = {"webhook": {}, "task": {}}
        self.calls = 0

    def settle(self) -> None:
        """Wait until no message has come for a second: what was sent is taken one by one.

        Raises:
            RuntimeError: messages come on and on.
        """
        self._silent.clear()
        if not self._silent.wait(SETTLE_SECONDS):
            raise RuntimeError("the host's task gets messages without an end")

    def __enter__(self) -> Host:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        for thread in self._threads:
            thread.join()

    def _arrived(self, by: str, event: dict[str, Any]) -> None:
        self.got[by].setdefault(event["cursor"])

    def _take_messages(self) -> None:
        with redis.Redis.from_url(self.redis_url) as client:
            while not self._ended.is_set():
                taken = client.brpop([QUEUE], timeout=1)
                if taken is None:
                    self._silent.set()
                else:
                    message = json.loads(taken[1])
                    self._arrived("task", json.loads(b64decode(message["body"]))[0][0])

    def _receive(self, headers: dict[str, str], body: bytes) -> int:
        with suppress(Exception):  # of another round, or not ours
            event = Webhook(self._secret).verify(body, headers)["data"]
            self.calls += 1
            self._arrived("webhook", event)
            return 503 if self._dice.random() < BUSY else 204
        return 401

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        host = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                """Remember, and answer."""
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(host._receive(dict(self.headers), body))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name it has there
                """The round reports."""

        return Handler
