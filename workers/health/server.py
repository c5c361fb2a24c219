"""The endpoint of a process: `/livez`, `/readyz` and `/metrics`, each answered in a thread of its own.

/livez      200: the main loop turns; 503: it has not turned for more than `HEALTH_STALL_SECONDS`
/readyz     200: what the process needs can be reached; 503: the body says what cannot
/metrics    the figures of this process, as Prometheus reads them
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic
from typing import Any

from prometheus_client import REGISTRY
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from backmarket.settings import Settings
from workers.health.heartbeat import HEARTBEAT, Heartbeat
from workers.health.probes import Probes

CONNECTION_SECONDS = 10.0
"""Maximum seconds of a connection, however slowly its client sends or reads; Prometheus gives up after 10 s, too."""
MAX_CONNECTIONS = 24
"""Number of connections above which the oldest one is closed, and half of the number above which none is taken."""


class HealthServer(ThreadingHTTPServer):
    """Answers as long as the process lives, even while it drains.

    Args:
        settings: `health_*`; port 0: any free one.
        probes: the checks of the services it needs.
        heartbeat: the heartbeat of its main loop.
    """

    daemon_threads = True

    def __init__(self, settings: Settings, probes: Probes, heartbeat: Heartbeat = HEARTBEAT) -> None:
        self.address_family = socket.AF_INET6 if ":" in settings.health_host else socket.AF_INET
        self.stall_seconds = settings.health_stall_seconds
        self.probes = probes
        self.heartbeat = heartbeat
        self._since: dict[socket.socket, float] = {}
        super().__init__((settings.health_host, settings.health_port), _Handler)

    def start(self) -> None:
        """Answer, in a thread that ends with the process."""
        threading.Thread(target=self.serve_forever, name="health", daemon=True).start()

    def liveness(self) -> tuple[bool, dict[str, Any]]:
        """Whether the main loop turns, and if not, since when."""
        age = self.heartbeat.age
        alive = self.heartbeat.ending or age <= self.stall_seconds
        return alive, {"alive": alive, "ending": self.heartbeat.ending, "seconds_since_turn": round(age, 1)}

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Whether the process can work, and if not, what is missing."""
        faults = self.probes.faults()
        ready = not self.heartbeat.ending and not any(faults.values())
        checks = {name: fault or "ok" for name, fault in faults.items()}
        return ready, {"ready": ready, "ending": self.heartbeat.ending, "checks": checks}

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a connection in a thread; of too many connections, close the oldest one instead of waiting for it."""
        opened = sorted(self._since.items(), key=lambda each: each[1])
        for oldest, _ in opened[: max(0, len(opened) - MAX_CONNECTIONS + 1)]:
            _cut(oldest)
        if len(opened) >= 2 * MAX_CONNECTIONS:  # their threads have not ended
            super().shutdown_request(request)
            return
        self._since[request] = monotonic()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget a connection that has ended."""
        self._since.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """End the connections whose time is over; called twice a second."""
        for request, since in list(self._since.items()):
            if since + CONNECTION_SECONDS < monotonic():
                _cut(request)

    def handle_error(self, *_: Any) -> None:
        """Ignore a client that disconnected."""


class _Handler(BaseHTTPRequestHandler):
    server: HealthServer
    timeout = CONNECTION_SECONDS

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/livez":
            self._tell(*self.server.liveness())
        elif path == "/readyz":
            self._tell(*self.server.readiness())
        elif path == "/metrics":
            self._send(200, CONTENT_TYPE_LATEST, generate_latest(REGISTRY))
        else:
            self._send(404, "text/plain", b"There are /livez, /readyz and /metrics.\n")

    def log_message(self, *_: Any) -> None:
        """Log no requests: probes come every few seconds."""

    def _tell(self, good: bool, document: dict[str, Any]) -> None:
        self._send(200 if good else 503, "application/json", f"{json.dumps(document)}\n".encode())

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _cut(connection: socket.socket) -> None:
    """End a connection; the thread that serves it notices."""
    with suppress(OSError):  # the client was faster
        connection.shutdown(socket.SHUT_RDWR)


def serve(settings: Settings, probes: Probes) -> None:
    """Serve the health of this process at the address in the settings.

    Ends the process, with a message, if it cannot listen there: unwatched, it would look dead.
    """
    try:
        HealthServer(settings, probes).start()
    except OSError as error:
        sys.exit(
            f"Can't listen on BACKMARKET_HEALTH_HOST {settings.health_host}, BACKMARKET_HEALTH_PORT"
            f" {settings.health_port}: {error.strerror}. Each process of a host needs a port of its own."
        )
