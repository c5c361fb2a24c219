"""The task that probes refused keys."""

from __future__ import annotations

import structlog
from celery import shared_task

from backmarket import messages, services
from tasks.base import TickTask

log = structlog.get_logger(__name__)


@shared_task(name=messages.PROBE_KEYS, base=TickTask)
def probe_keys() -> None:
    """Probe the refused keys that are due."""
    from backmarket.organizations.probes import probe_due

    current = services.current()
    if probed := probe_due(current, seconds=current.settings.task_budget_seconds / 2):
        log.info("probes.done", accounts=probed)
