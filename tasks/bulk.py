"""The tasks of bulk files: working on the jobs that are due, and submitting a file from the bucket."""

from __future__ import annotations

from typing import Any

import structlog
from celery import shared_task

from backmarket import messages, services
from backmarket.errors import BackMarketError
from backmarket.observability import telemetry
from tasks.base import BackMarketTask, OnlyMessageTask

log = structlog.get_logger(__name__)


@shared_task(name=messages.RUN_BULK, base=BackMarketTask)
def run_bulk(organization_id: str, nudge: bool = False) -> str | BackMarketError:
    """Work on the bulk jobs of one organization that are due, as far as one slice goes.

    Args:
        organization_id: the organization whose jobs are worked on.
        nudge: work only on what is due; without it, on parts that wait for a retry, too.

    Returns:
        How the slice ended; or why it failed.
    """
    from backmarket.bulk import jobs
    from backmarket.bulk.engine.slice import run_slice

    with structlog.contextvars.bound_contextvars(organization=organization_id):
        current = services.current()
        if not nudge:
            jobs.retry_now(current.database, organization_id)
        result = run_slice(current, organization_id)
        telemetry.emit("slice", work="bulk", end=result.end)
        log.info("bulk.slice", end=result.end, requests=result.requests)
        return result.error or result.end


@shared_task(name=messages.SUBMIT_BULK, base=OnlyMessageTask)
def submit_bulk(organization_id: str, object_key: str, **options: Any) -> None:
    """Submit a file from the bucket; a refused file becomes a failed job.

    While PostgreSQL or the bucket is unavailable, the message waits in its queue.

    Args:
        organization_id: the organization that submits it.
        object_key: key of the file, under `uploads/`.
        **options: options of `submit.submit_object`.
    """
    from backmarket.bulk import submit

    with structlog.contextvars.bound_contextvars(organization=organization_id):
        submit.submit_object(services.current(), organization_id, object_key, **options)
