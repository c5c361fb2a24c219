"""The task of the bucket's upkeep: queued deletions and the daily sweep."""

from __future__ import annotations

from dataclasses import asdict

import structlog
from celery import shared_task

from backmarket import messages, services
from tasks.base import TickTask

log = structlog.get_logger(__name__)


@shared_task(name=messages.SWEEP_BUCKET, base=TickTask)
def sweep_bucket() -> None:
    """Delete the objects that are due, and sweep the bucket if the sweep is due."""
    from backmarket.upkeep import bucket_deletions, bucket_sweep

    current = services.current()
    seconds = current.settings.task_budget_seconds / 2
    deleted = bucket_deletions.work_off(current, seconds=seconds)
    if deleted.objects:
        log.info("deletions.done", **asdict(deleted))
    if swept := bucket_sweep.sweep_if_due(current, seconds=seconds):
        log.info("sweep.done", **asdict(swept))
