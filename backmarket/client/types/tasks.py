"""Tasks, as the API writes them."""

from __future__ import annotations

from typing import Any, TypedDict


class Task(TypedDict, total=False):
    """The status of a task."""

    action_status: int
    last_action_error: str | None
    result: Any
    statuscode: int
    task_id: int
