"""The task that delivers events to webhooks and to the host application's task."""

from __future__ import annotations

from dataclasses import asdict

import structlog
from celery import shared_task

from backmarket import messages, services
from backmarket.events.engine import run_slice
from backmarket.observability import telemetry
from tasks.base import TickTask

log = structlog.get_logger(__name__)


@shared_task(name=messages.DELIVER_EVENTS, base=TickTask)
def deliver_events() -> None:
    """Deliver the events that are due, as far as one slice goes."""
    result = run_slice(services.current())
    if result.delivered or result.failed:
        telemetry.emit("slice", work="events", end="done")
        log.info("events.slice", **asdict(result))
