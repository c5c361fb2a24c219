"""Tasks, as the API writes them."""

from __future__ import annotations

from typing import Any, TypedDict


class Task(TypedDict, total=False):
    """What became of a file of listings."""

    action_status: int
    last_action_error: str | None
    result: Any
    statuscode: int
    task_id: int
