"""Remote control, reduced to reading: any client that reaches the broker can send commands, without authentication."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import structlog
from celery.worker import control
from kombu import pidbox

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
        "heartbeat",
    }
)
"""Commands that a worker obeys: those that `celery inspect` and Flower read with, Flower's switch of events, and the
heartbeat that a listener for events asks all workers for when it begins."""

log = structlog.get_logger(__name__)


_PARTS = {"method", "arguments", "destination", "pattern", "matcher", "ticket", "reply_to"}


class StrictNode(pidbox.Node):  # type: ignore[misc]
    """A worker's mailbox, which takes commands of one shape and refuses anything else with one line of the log.

    Kombu's `handle_message` raises over another shape, and Celery then opens the mailbox again. It also matches the
    worker's name with any regular expression that a command brings; one with nested repetitions holds the main loop.
    """

    def handle_message(self, body: Any, message: Any = None) -> Any:
        """Obey a command."""
        if not _is_command(body, message):
            _refuse()
            return None
        return super().handle_message(body, message)

    dispatch_from_message = handle_message


def _is_command(body: Any, message: Any) -> bool:
    if not (isinstance(body, dict) and body.keys() <= _PARTS and isinstance(body.get("method"), str)):
        return False
    clock = (message and message.headers.get("clock")) or 0
    if body.get("pattern") or body.get("matcher") or not isinstance(clock, int):
        return False
    reply_to = body.get("reply_to")
    if reply_to is not None and not (isinstance(reply_to, dict) and {"exchange", "routing_key"} <= reply_to.keys()):
        return False
    kinds = {"arguments": dict, "destination": list, "ticket": str}
    return all(isinstance(body[name], kind) for name, kind in kinds.items() if body.get(name) is not None)


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
    pidbox.Mailbox.node_cls = StrictNode
