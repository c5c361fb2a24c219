"""Beat without a file: the timetable is code, and due times are rows, so beat has no state to keep."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

import structlog
from celery.beat import ScheduleEntry, Scheduler, SchedulingError

from backmarket.messages import QUEUES, tick_limit
from workers.health.heartbeat import HEARTBEAT

FULL_SECONDS = 60.0
"""Seconds that a queue is full before beat reports it: at a start, workers may come later than beat."""

log = structlog.get_logger(__name__)


def steady_now() -> datetime:
    """A time that only goes forward, whatever happens to the host's clock."""
    return datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=monotonic())


class SteadyEntry(ScheduleEntry):  # type: ignore[misc]
    """An entry whose interval is measured by the monotonic clock.

    Celery compares the time of the last tick with the host's clock: set back by two hours, beat ticked not once for two
    hours.
    """

    def __init__(self, *args: Any, last_run_at: datetime | None = None, **kwargs: Any) -> None:
        super().__init__(*args, last_run_at=last_run_at, **kwargs)
        self.schedule.nowfun = steady_now
        self.last_run_at = last_run_at or self.default_now()


class MemoryScheduler(Scheduler):  # type: ignore[misc]
    """Celery's own scheduler, which keeps its state in memory and bounds what it puts into a queue.

    Celery's default writes a file, which keeps beat from starting once it is broken (celery/celery#8008).

    Each tick is a heartbeat of the process, whether its message could be sent or not, and so does each second of
    waiting for the broker at the start.
    """

    Entry = SteadyEntry

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._full_since: dict[str, float] = {}
        self._told: set[str] = set()
        super().__init__(*args, **kwargs)

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Send what is due.

        Returns:
            Seconds until the next tick.
        """
        seconds = float(super().tick(*args, **kwargs))
        HEARTBEAT.beat()
        return seconds

    def schedules_equal(self, *_: Any) -> bool:
        """Whether the timetable is as it was at the last tick. It is code: comparing took a fifth of beat's CPU."""
        return True

    def adjust(self, n: float, drift: float = 0.0) -> float:
        """Wake when an entry is due. Celery wakes 10 ms before and then asks without a pause: most of beat's CPU."""
        return n + drift

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """Send one message, unless its queue holds enough that no worker has taken.

        A message that cannot be sent is not kept: the next tick sends the same.
        """
        if self._is_full(QUEUES[entry.task]):
            return
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except SchedulingError as error:
            log.warning("beat.not_sent", task=entry.task, error=str(error))

    def _is_full(self, queue: str) -> bool:
        """Whether a queue is too full for a tick; False too if the broker cannot be asked: sending then reports why.

        Sending also reopens a lost connection; until then the channel of the producer is closed.
        """
        if not self.connection.connected:
            return False
        try:
            with self.connection.default_channel.conn_or_acquire() as redis:
                waiting = redis.llen(queue)
        except (*self.connection.connection_errors, *self.connection.channel_errors):
            return False
        if waiting < tick_limit(queue):
            self._full_since.pop(queue, None)
            self._told.discard(queue)
            return False
        since = self._full_since.setdefault(queue, monotonic())
        if monotonic() - since > FULL_SECONDS and queue not in self._told:
            self._told.add(queue)
            log.warning("beat.queue_full", queue=queue, waiting=waiting)
        return True

    def _ensure_connected(self) -> Any:
        return self.connection.ensure_connection(_log_unavailable, callback=HEARTBEAT.beat)


def _log_unavailable(error: Exception, seconds: float) -> None:
    log.warning("beat.broker_unavailable", error=str(error), again_in=seconds)
