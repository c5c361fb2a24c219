"""The task that fetches labels into the bucket."""

from __future__ import annotations

import structlog
from celery import shared_task

from backmarket import messages, services
from backmarket.labels.engine import take_turn
from backmarket.labels.requests import want_all
from backmarket.observability import telemetry
from tasks.base import BackMarketTask

log = structlog.get_logger(__name__)


@shared_task(name=messages.FETCH_LABELS, base=BackMarketTask)
def fetch_labels(organization_id: str, nudge: bool = False) -> None:
    """Fetch the labels of one organization that are due, as far as one turn goes.

    Args:
        organization_id: whose.
        nudge: only what is due; without it also what waits for its next try, and what was given up.
    """
    with structlog.contextvars.bound_contextvars(organization=organization_id):
        current = services.current()
        if not nudge:
            want_all(current.database, organization_id)
        turn = take_turn(current, organization_id)
        telemetry.emit("turn", work="labels", end=turn.end)
        log.info("labels.turn", end=turn.end, stored=turn.stored, failed=turn.failed)
