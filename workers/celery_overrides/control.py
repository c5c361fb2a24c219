"""Remote control, reduced to reading: any client that reaches the broker can send commands, without authentication."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import structlog
from celery.worker import control

ALLOWED = frozenset(
    {
        "ping",
        "active",
        "active_queues",
        "clock",
        "conf",
        "query_task",
        "registered",
        "reserved",
        "revoked",
        "scheduled",
        "stats",
        "disable_events",
        "enable_events",
    }
)
"""Commands that a worker obeys: those that `celery inspect` and Flower read with, and Flower's switch of events."""

log = structlog.get_logger(__name__)


class AllowedCommands(dict[str, Callable[..., Any]]):
    """The commands of `ALLOWED`; any other is refused with one line of the log."""

    def __missing__(self, name: object) -> Callable[..., dict[str, str]]:
        return _refuse


def _refuse(*_: Any, **__: Any) -> dict[str, str]:
    log.warning("control.refused")
    return {"error": "This worker takes no such command."}


def allowed(commands: Mapping[str, Callable[..., Any]]) -> AllowedCommands:
    """The commands that a worker obeys, of those that Celery has."""
    return AllowedCommands({name: run for name, run in commands.items() if name in ALLOWED})


def connect() -> None:
    """Limit this process's worker to these commands; harmless to repeat.

    Celery can only switch remote control off as a whole, and Flower shows nothing then.
    """
    control.Panel.data = allowed(control.Panel.data)
