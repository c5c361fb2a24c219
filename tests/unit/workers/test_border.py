"""What workers refuse: tasks of Celery's own, embedded calls, messages that wait, and commands that change a worker."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from celery.exceptions import InvalidTaskError
from celery.worker import control as celery_control

from workers.celery_overrides import consumer
from workers.celery_overrides.control import ALLOWED, allowed


def sent(*, protocol: int = 2, **parts: Any) -> Any:
    embedded = {"callbacks": None, "errbacks": None, "chain": None, "chord": None} | parts
    if protocol == 1:
        return SimpleNamespace(headers={}, payload={"task": "x", "args": [], "kwargs": {}, **embedded})
    return SimpleNamespace(headers={"task": "x", "eta": parts.get("eta")}, payload=[[], {}, embedded])


@pytest.mark.parametrize("protocol", [1, 2])
def test_a_message_of_ours_passes(protocol: int) -> None:
    consumer._check(sent(protocol=protocol))


@pytest.mark.parametrize("protocol", [1, 2])
@pytest.mark.parametrize("name", ["callbacks", "errbacks", "chain", "chord", "eta"])
def test_calls_of_other_tasks_and_waiting_are_refused(protocol: int, name: str) -> None:
    with pytest.raises(InvalidTaskError):
        consumer._check(sent(protocol=protocol, **{name: [{"task": "y"}]}))


def test_of_remote_control_only_looking_and_events_are_left() -> None:
    commands = allowed(celery_control.Panel.data)
    assert set(commands) == ALLOWED
    with structlog.testing.capture_logs() as told:
        for name in ("shutdown", "cancel_consumer", "rate_limit", "pool_shrink", "revoke", "no such command"):
            assert "error" in commands[name](None, anything=1)
    assert [line["event"] for line in told] == ["control.refused"] * 6
