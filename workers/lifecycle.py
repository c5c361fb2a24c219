"""How a process starts and stops: logs, services, running slices that hand on, and a second request to stop."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
import warnings
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import structlog
from celery import signals
from celery.exceptions import CPendingDeprecationWarning, SecurityWarning

from backmarket import services
from backmarket.errors import BackMarketError, SchemaDiffers, SchemaMissing, SettingsError
from backmarket.messages import redis_urls
from backmarket.observability import logs
from backmarket.status.broker import Broker, wrong_mode
from workers.health.heartbeat import HEARTBEAT

READY_FILE = "BACKMARKET_READY_FILE"
"""Variable that names a file, made once the process is ready; a worker removes it when it begins to stop."""

SCHEMA_SECONDS = 1.0
"""Seconds between two checks of the schema, while it is another version's."""

CLOCK_SECONDS = 5.0
"""Seconds of clock error above which a line is logged."""

CLOCK_REPORT_SECONDS = 60.0
"""Seconds between two reports of the difference between this host's clock and PostgreSQL's."""

log = structlog.get_logger(__name__)


def connect() -> None:
    """Attach to Celery's signals; harmless to repeat."""
    # Celery warns root of messages that carry code (pickle); ours are JSON, and nothing else is accepted
    warnings.simplefilter("ignore", SecurityWarning)
    for signal_, receiver in (
        (signals.setup_logging, _setup_logging),
        (signals.worker_init, _name),
        (signals.worker_init, _check_settings),
        (signals.worker_init, _check_redis),
        (signals.worker_init, _trace),
        (signals.worker_init, _serve_health_of_worker),
        (signals.worker_init, _wait_for_schema),
        (signals.worker_ready, _name_events),
        (signals.worker_ready, _ready),
        (signals.worker_ready, _report_clock),
        (signals.beat_init, _check_redis),
        (signals.beat_init, _serve_health_of_beat),
        (signals.beat_init, _ready),
        (signals.worker_shutting_down, _shutting_down),
        (signals.worker_shutdown, _shutdown),
    ):
        signal_.connect(receiver, weak=False, dispatch_uid=f"backmarket.{receiver.__name__}")


def _name(sender: Any, **_: Any) -> None:
    logs.name_process(str(getattr(sender, "hostname", "") or ""))


def _check_settings(**_: Any) -> None:
    """End the process at once if a setting that every task needs is missing."""
    current = services.current()
    try:
        for name in ("database_url", "redis_url", "limiter_key", "user_agent"):
            current.settings.need(name)
        current.key_cipher  # noqa: B018 - made now, to read the keys
    except SettingsError as error:
        sys.exit(error.message)


def _check_redis(**_: Any) -> None:
    """End the process at once if the broker or the limiter is a cluster or a Sentinel; wait if it is unavailable."""
    settings = services.current().settings
    urls = {"BACKMARKET_REDIS_URL": settings.redis_url, "BACKMARKET_BROKER_URL": settings.broker_url}
    for name, url in urls.items():
        if url is None:
            continue
        with suppress(BackMarketError), closing(Broker(redis_urls.for_kombu(url.get_secret_value()))) as asked:
            if wrong := wrong_mode(asked.info()):
                sys.exit(f"{name}: {' '.join(wrong)}")


def _trace(**_: Any) -> None:
    """Load OpenTelemetry only if the settings ask for traces."""
    endpoint = services.current().settings.traces_endpoint
    if not endpoint:
        return
    try:
        from workers import tracing
    except ModuleNotFoundError:
        sys.exit(
            "BACKMARKET_TRACES_ENDPOINT is set, and OpenTelemetry is not installed: install `backmarket[tracing]`."
        )
    provider = tracing.begin(endpoint)
    signals.worker_shutdown.connect(lambda **_: provider.shutdown(), weak=False)


def _wait_for_schema(**_: Any) -> None:
    """Wait until the tables have the worker's version, and log that it waits for `backmarket db migrate`.

    If it ended instead, it would be restarted for ever. If PostgreSQL is unavailable it starts: its tasks report that.
    """
    _setup_logging()  # Celery would do it later
    told = ""
    while fault := _schema_fault():
        if fault != told:
            log.error("schema.differs", error=fault)
        told = fault
        HEARTBEAT.beat()
        time.sleep(SCHEMA_SECONDS)


def _schema_fault() -> str:
    from backmarket.database import schema

    try:
        schema.check(services.current().database)
    except SettingsError as error:
        sys.exit(error.message)
    except (SchemaDiffers, SchemaMissing) as error:
        return error.message
    except BackMarketError:
        return ""
    return ""


def _serve_health_of_worker(**_: Any) -> None:
    _serve_health(beat=False)


def _serve_health_of_beat(**_: Any) -> None:
    _serve_health(beat=True)


def _serve_health(*, beat: bool) -> None:
    """Load metrics and their server only if the settings ask for them."""
    current = services.current()
    if current.settings.health_port:
        from prometheus_client import REGISTRY

        from workers.health import probes
        from workers.health.server import serve
        from workers.metrics.process import count_from_now_on

        count_from_now_on(REGISTRY)
        serve(current.settings, (probes.of_beat if beat else probes.of_worker)(current))


def _setup_logging(**_: Any) -> None:
    logs.configure(services.current().settings)
    logging.getLogger("celery.beat").setLevel(logging.WARNING)  # a line for every tick


def _ready(**_: Any) -> None:
    # at every loss of the broker it warns that a setting's default may change, but we do set it
    warnings.simplefilter("ignore", CPendingDeprecationWarning)
    log.info("process.ready")
    if path := os.environ.get(READY_FILE):
        Path(path).write_text(f"{os.getpid()}\n")


def _report_clock(sender: Any, **_: Any) -> None:
    """Measure this host's clock error, in a thread: the main loop must not wait."""
    name = str(getattr(sender, "hostname", "") or services.current().settings.process_name)
    threading.Thread(target=_keep_reporting_clock, args=(name,), name="clock", daemon=True).start()


def _keep_reporting_clock(name: str) -> None:
    from backmarket.database import clocks

    current, far = services.current(), False
    while True:
        with suppress(BackMarketError):  # PostgreSQL is unavailable: try later
            ahead = clocks.report(current.database, name)
            if abs(ahead) > CLOCK_SECONDS and not far:
                log.warning("clock.differs", ahead_seconds=round(ahead, 1))
            far = abs(ahead) > CLOCK_SECONDS
        if current.stopping.wait(CLOCK_REPORT_SECONDS):
            return


def _name_events(sender: Any, **_: Any) -> None:
    """Name the events: with `-E` alone, all stay on; named ones can be turned off, as Flower does when it ends."""
    dispatcher = sender.event_dispatcher
    if dispatcher is not None and not dispatcher.groups:
        dispatcher.groups = {"worker", "task"}


def _shutting_down(**_: Any) -> None:
    """Let running slices hand on, and pauses end: leases recover what is lost."""
    HEARTBEAT.ending = True
    services.current().stopping.set()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, _end_now)
    if path := os.environ.get(READY_FILE):
        Path(path).unlink(missing_ok=True)


def _end_now(number: int, _: Any) -> None:
    """End the process: Celery's own cold shutdown waits for the threads of its pool."""
    os._exit(128 + number)


def _shutdown(**_: Any) -> None:
    services.current().close()
    log.info("process.stopped")
