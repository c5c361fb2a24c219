"""The task that sends writes to Back Market."""

from __future__ import annotations

import structlog
from celery import shared_task

from backmarket import messages, services
from backmarket.observability import telemetry
from backmarket.writes.engine.slice import send_now, take_turn
from tasks.base import BackMarketTask

log = structlog.get_logger(__name__)


@shared_task(name=messages.SEND_WRITES, base=BackMarketTask)
def send_writes(organization_id: str, nudge: bool = False) -> None:
    """Send the writes of one organization that are due, as far as one turn goes.

    Args:
        organization_id: whose.
        nudge: only what is due; without it also what waits for its next try.
    """
    with structlog.contextvars.bound_contextvars(organization=organization_id):
        current = services.current()
        if not nudge:
            send_now(current.database, organization_id)
        turn = take_turn(current, organization_id)
        telemetry.emit("turn", work="writes", end=turn.end)
        log.info(
            "writes.turn",
            end=turn.end,
            succeeded=turn.succeeded,
            refused=turn.refused,
            unknown=turn.unknown,
            requests=turn.requests,
        )
