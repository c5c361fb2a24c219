"""The task that fetches labels into the bucket."""

from __future__ import annotations

import structlog
from celery import shared_task

from backmarket import messages, services
from backmarket.errors import BackMarketError
from backmarket.observability import telemetry
from tasks.base import BackMarketTask

log = structlog.get_logger(__name__)


@shared_task(name=messages.FETCH_LABELS, base=BackMarketTask)
def fetch_labels(organization_id: str, nudge: bool = False) -> str | BackMarketError:
    """Fetch the labels of one organization that are due, as far as one slice goes.

    Args:
        organization_id: the organization whose labels are fetched.
        nudge: fetch only labels that are due; without it, labels that wait for a retry or were given up, too.

    Returns:
        How the slice ended; or why it failed.
    """
    from backmarket.labels.engine import run_slice
    from backmarket.labels.requests import queue_all

    with structlog.contextvars.bound_contextvars(organization=organization_id):
        current = services.current()
        if not nudge:
            queue_all(current.database, organization_id)
        result = run_slice(current, organization_id)
        telemetry.emit("slice", work="labels", end=result.end)
        log.info("labels.slice", end=result.end, stored=result.stored, failed=result.failed)
        return result.error or result.end
