"""The task that sends writes to Back Market."""

from __future__ import annotations

import structlog
from celery import shared_task

from backmarket import messages, services
from backmarket.errors import BackMarketError
from backmarket.observability import telemetry
from tasks.base import BackMarketTask

log = structlog.get_logger(__name__)


@shared_task(name=messages.SEND_WRITES, base=BackMarketTask)
def send_writes(organization_id: str, nudge: bool = False) -> str | BackMarketError:
    """Send the writes of one organization that are due, as far as one slice goes.

    Args:
        organization_id: the organization whose writes are sent.
        nudge: send only writes that are due; without it, writes that wait for a retry, too.

    Returns:
        How the slice ended; or why it failed.
    """
    from backmarket.writes.engine.slice import run_slice, send_now

    with structlog.contextvars.bound_contextvars(organization=organization_id):
        current = services.current()
        if not nudge:
            send_now(current.database, organization_id)
        result = run_slice(current, organization_id)
        telemetry.emit("slice", work="writes", end=result.end)
        log.info(
            "writes.slice",
            end=result.end,
            succeeded=result.succeeded,
            refused=result.refused,
            unknown=result.unknown,
            requests=result.requests,
        )
        return result.error or result.end
