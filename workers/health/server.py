"""The endpoint of a process: `/livez`, `/readyz` and `/metrics`, each answered in a thread of its own.

/livez      200: the main loop turns; 503: it has stood still for more than `HEALTH_STALL_SECONDS`
/readyz     200: what the process needs can be reached; 503: the body says what can't
/metrics    the figures of this process, as Prometheus reads them
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import REGISTRY
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from backmarket.settings import Settings
from workers.health.heartbeat import HEARTBEAT, Heartbeat
from workers.health.probes import Probes

REQUEST_SECONDS = 5.0
"""Seconds after which a connection without a request is closed."""


class HealthServer(ThreadingHTTPServer):
    """Answers for as long as the process lives, while it drains, too.

    Args:
        settings: `health_*`; 0 as the port here: any.
        probes: what the process needs.
        heartbeat: of its main loop.
    """

    daemon_threads = True

    def __init__(self, settings: Settings, probes: Probes, heartbeat: Heartbeat = HEARTBEAT) -> None:
        self.address_family = socket.AF_INET6 if ":" in settings.health_host else socket.AF_INET
        self.stall_seconds = settings.health_stall_seconds
        self.probes = probes
        self.heartbeat = heartbeat
        super().__init__((settings.health_host, settings.health_port), _Handler)

    def start(self) -> None:
        """Answer, in a thread that ends with the process."""
        threading.Thread(target=self.serve_forever, name="health", daemon=True).start()

    def liveness(self) -> tuple[bool, dict[str, Any]]:
        """Whether the main loop turns, and since when it does not."""
        age = self.heartbeat.age
        alive = self.heartbeat.ending or age <= self.stall_seconds
        return alive, {"alive": alive, "ending": self.heartbeat.ending, "seconds_since_turn": round(age, 1)}

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Whether the process can work, and what it lacks."""
        faults = self.probes.faults()
        ready = not self.heartbeat.ending and not any(faults.values())
        checks = {name: fault or "ok" for name, fault in faults.items()}
        return ready, {"ready": ready, "ending": self.heartbeat.ending, "checks": checks}

    def handle_error(self, *_: Any) -> None:
        """The client went away."""


class _Handler(BaseHTTPRequestHandler):
    server: HealthServer
    timeout = REQUEST_SECONDS

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
        """A probe every few seconds is no news."""

    def _tell(self, good: bool, document: dict[str, Any]) -> None:
        self._send(200 if good else 503, "application/json", f"{json.dumps(document)}\n".encode())

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def serve(settings: Settings, probes: Probes) -> None:
    """Serve the health of this process where the settings say.

    Ends the process, with a sentence, where it can't listen there: unwatched it would look like a dead one.
    """
    try:
        HealthServer(settings, probes).start()
    except OSError as error:
        sys.exit(
            f"Can't listen on BACKMARKET_HEALTH_HOST {settings.health_host}, BACKMARKET_HEALTH_PORT"
            f" {settings.health_port}: {error.strerror}. Each process of a host needs a port of its own."
        )
