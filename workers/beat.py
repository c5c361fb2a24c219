"""Beat without a file: the timetable is code, and what is due is a row, so there is no state to keep."""

from __future__ import annotations

from celery.beat import Scheduler


class MemoryScheduler(Scheduler):  # type: ignore[misc]
    """Celery's own scheduler, which keeps its state in memory; the default one writes a file."""
