"""Bulk tasks at the API: the outcome of a file of listings (operation `GET /ws/tasks/{taskId}`)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Literal

from backmarket.queries.pagination import enum_or_value
from backmarket.resources import Column, Resource
from backmarket.services import Services
from backmarket.sync.fetch_one import FetchScope, ask


class ActionStatus(IntEnum):
    """A task's progress (field `action_status`); 3 and 7 exist, too, but the document does not explain them."""

    TO_DO = 0
    IN_PROGRESS = 2
    FAILED = 8
    SUCCESS = 9


TaskState = Literal["running", "failed", "success", "unexplained"]


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """The API's answer about a task.

    Attributes:
        action_status: its progress.
        last_action_error: why it failed, in the API's words.
        result: a report for each SKU, whose shape differs by action.
        statuscode: the API's own.
    """

    task_id: int
    action_status: ActionStatus | int | None
    last_action_error: str | None = field(repr=False)
    result: Any = field(repr=False)
    statuscode: int | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "action_status", enum_or_value(ActionStatus, self.action_status))

    @property
    def state(self) -> TaskState:
        """One word; `unexplained`: a status that the API's document does not explain."""
        match self.action_status:
            case ActionStatus.TO_DO | ActionStatus.IN_PROGRESS:
                return "running"
            case ActionStatus.FAILED:
                return "failed"
            case ActionStatus.SUCCESS:
                return "success"
            case _:
                return "unexplained"


def get_task_status(services: Services, scope: FetchScope, task_id: int) -> TaskStatus:
    """Fetch a task's status; see `BackMarket.get_task_status`."""
    row = ask(services, _TASKS, scope, task_id).row
    number, status, error, code = row.values
    return TaskStatus(number, status, error, json.loads(row.raw).get("result"), code)


_TASKS = Resource(
    name="tasks",
    table="",
    path="/ws/tasks",
    field="",
    key=Column("task_id", "bigint"),
    columns=(
        Column("action_status", "integer"),
        Column("last_action_error", "text"),
        Column("statuscode", "integer"),
    ),
)
