"""Bulk tasks: the work of `POST /ws/listings`, done after a delay, and its result (`GET /ws/tasks/{taskId}`)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

Report = dict[str, dict[str, Any]]
"""For each SKU: `status` ok or error, and `errors`, a list of texts."""

WAITING: Final = 0
WORKING: Final = 2
FAILED: Final = 8
DONE: Final = 9
"""`action_status`; 3 and 7 exist too, but the document does not explain them."""


@dataclass
class Task:
    """One bulk job. `work` is called once, when it is due."""

    id: int
    submitted: datetime
    due: datetime
    work: Callable[[], Report]
    outcome: int = DONE
    status: int = WAITING
    report: Report | None = None


class TaskList:
    """The tasks of one seller."""

    def __init__(self, ids: Callable[[], int]) -> None:
        self._ids = ids
        self._tasks: dict[int, Task] = {}

    def submit(self, now: datetime, delay: float, work: Callable[[], Report], outcome: int) -> Task:
        """A new task.

        Args:
            now: the time of submission.
            delay: seconds until its work is done.
            work: the function that does the work.
            outcome: DONE; FAILED: the work is not done; any other status is kept for ever.
        """
        task = Task(self._ids(), now, now + timedelta(seconds=delay), work, outcome)
        self._tasks[task.id] = task
        return task

    def finish_due(self, now: datetime) -> None:
        """Finish the tasks that are due, in the order in which they were submitted."""
        for task in self._tasks.values():
            if task.status not in {WAITING, WORKING}:
                continue
            if now < task.due:
                task.status = WAITING if (now - task.submitted) < (task.due - task.submitted) / 2 else WORKING
                continue
            task.status = task.outcome
            if task.outcome == DONE:
                task.report = task.work()

    def get(self, task_id: int) -> Task | None:
        """The task with this id."""
        return self._tasks.get(task_id)


class SkuLedger:
    """Number of SKU lines that a seller sent in the last hour, in bulk files and single updates."""

    def __init__(self) -> None:
        self._entries: deque[tuple[float, int]] = deque()
        self.lines = 0
        self.refused = 0

    def take(self, lines: int, now: float, limit: int, window: float) -> bool:
        """Count some lines, unless the last `window` seconds would then have more than `limit`."""
        while self._entries and self._entries[0][0] <= now - window:
            self._entries.popleft()
        if sum(entry[1] for entry in self._entries) + lines > limit:
            self.refused += 1
            return False
        self._entries.append((now, lines))
        self.lines += lines
        return True
