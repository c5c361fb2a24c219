"""`python -m workers.metrics`: serves the metrics of the whole deployment until SIGTERM or Ctrl-C.

One is enough for a deployment; two do no harm. It listens on `HEALTH_PORT` and reports its own health there, as
workers do.
"""

from __future__ import annotations

import signal
import sys
import threading
from functools import partial

import structlog
from prometheus_client import REGISTRY

from backmarket import services
from backmarket.database import Database
from backmarket.errors import SettingsError
from backmarket.observability import logs
from backmarket.status.broker import Broker
from backmarket.status.deployment_metrics import measure
from workers.health import probes
from workers.health.heartbeat import HEARTBEAT
from workers.health.server import serve
from workers.metrics.deployment import DeploymentCollector
from workers.metrics.process import count_from_now_on

SCRAPE_SECONDS = 60.0
"""Seconds that one statement for the figures may take: Prometheus has given up the scrape by then."""

log = structlog.get_logger(__name__)


def main() -> int:
    """Serve until told to end; returns the exit code."""
    try:
        current = services.current()
        settings = current.settings
        if not settings.health_port:
            raise SettingsError("Set BACKMARKET_HEALTH_PORT: where Prometheus is to find the metrics.")
        logs.configure(settings)
        database = Database(
            settings.need("database_url"), size=1, timeout=probes.ANSWER_SECONDS, statement_timeout=SCRAPE_SECONDS
        )
        REGISTRY.register(DeploymentCollector(partial(measure, database, Broker(settings.broker))))
        count_from_now_on(REGISTRY)
        serve(settings, probes.of_exporter(current))
    except SettingsError as error:
        sys.exit(error.message)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    log.info("process.ready")
    while not ended.wait(1.0):
        HEARTBEAT.beat()
    log.info("process.stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
