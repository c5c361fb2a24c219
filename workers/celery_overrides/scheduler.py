"""Beat without a file: the timetable is code, and what is due is a row, so there is no state to keep."""

from __future__ import annotations

from typing import Any

import structlog
from celery.beat import Scheduler, SchedulingError

from workers.health.heartbeat import HEARTBEAT

log = structlog.get_logger(__name__)


class MemoryScheduler(Scheduler):  # type: ignore[misc]
    """Celery's own scheduler, which keeps its state in memory.

    Celery's default writes a file, which keeps beat from starting once it is broken (celery/celery#8008).

    Each tick is a heartbeat of the process, whether its message could be sent or not, and so does each second of
    waiting for the broker at the start.
    """

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Send what is due; the seconds until the next tick."""
        seconds = float(super().tick(*args, **kwargs))
        HEARTBEAT.beat()
        return seconds

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """Send one message. One that can't be sent is not kept: the next tick sends the same."""
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except SchedulingError as error:
            log.warning("beat.not_sent", task=entry.task, error=str(error))

    def _ensure_connected(self) -> Any:
        return self.connection.ensure_connection(_tell, callback=HEARTBEAT.beat)


def _tell(error: Exception, seconds: float) -> None:
    log.warning("beat.broker_unavailable", error=str(error), again_in=seconds)
