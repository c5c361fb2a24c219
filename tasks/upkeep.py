"""Tasks that beat ticks beside the dispatcher: telling of changes and of the inbox, and the upkeep."""

from __future__ import annotations

from dataclasses import asdict

import structlog
from celery import shared_task

from backmarket import messages, services
from tasks.base import TickTask

SECONDS = 2.0
"""Budget of one upkeep, in seconds: the dispatcher waits behind it. The next tick continues."""

log = structlog.get_logger(__name__)


@shared_task(name=messages.ANNOUNCE_CHANGES, base=TickTask)
def announce_changes() -> None:
    """Notify listeners of the change feed if there are new events."""
    from backmarket import changes

    changes.announce(services.current().database)


@shared_task(name=messages.RECORD_INBOX, base=TickTask)
def record_inbox() -> None:
    """Write an event for each entry of the inbox that has come or gone."""
    from backmarket.status import inbox_events

    if events := inbox_events.record_inbox(services.current().database):
        log.info("inbox.recorded", events=events)


@shared_task(name=messages.UPKEEP, base=TickTask)
def upkeep() -> None:
    """Do the upkeep if it is due."""
    from backmarket.upkeep import hourly as upkeeping

    current = services.current()
    if upkeeping.claim(current.database):
        done = upkeeping.run(current.database, current.settings, seconds=SECONDS)
        if done.more:
            upkeeping.ask_again(current.database)
        log.info("upkeep.done", **asdict(done))
