"""What workers refuse: tasks of Celery's own, embedded calls, messages that wait, and commands that change a worker."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from celery.exceptions import InvalidTaskError
from celery.worker import control as celery_control
from kombu.pidbox import Mailbox

from workers.celery_overrides import consumer, control
from workers.celery_overrides.control import ALLOWED


@pytest.fixture(autouse=True)
def _connected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Mailbox, "node_cls", Mailbox.node_cls)
    monkeypatch.setattr(celery_control.Panel, "data", celery_control.Panel.data)
    control.connect()


def sent(*, protocol: int = 2, **parts: Any) -> Any:
    embedded = {"callbacks": None, "errbacks": None, "chain": None, "chord": None} | parts
    if protocol == 1:
        return SimpleNamespace(headers={}, body=b"", payload={"task": "x", "args": [], "kwargs": {}, **embedded})
    return SimpleNamespace(body=b"", headers={"task": "x", "eta": parts.get("eta")}, payload=[[], {}, embedded])


@pytest.mark.parametrize("protocol", [1, 2])
def test_a_message_of_ours_passes(protocol: int) -> None:
    consumer._check(sent(protocol=protocol))


@pytest.mark.parametrize("protocol", [1, 2])
@pytest.mark.parametrize("name", ["callbacks", "errbacks", "chain", "chord", "eta"])
def test_calls_of_other_tasks_and_waiting_are_refused(protocol: int, name: str) -> None:
    with pytest.raises(InvalidTaskError):
        consumer._check(sent(protocol=protocol, **{name: [{"task": "y"}]}))


def test_of_remote_control_only_looking_and_events_are_left() -> None:
    commands = celery_control.Panel.data
    assert set(commands) == ALLOWED
    with structlog.testing.capture_logs() as told:
        for name in ("shutdown", "cancel_consumer", "rate_limit", "pool_shrink", "revoke", "no such command"):
            assert "error" in commands[name](None, anything=1)
    assert [line["event"] for line in told] == ["control.refused"] * 6


def test_a_large_message_is_refused_before_it_is_read() -> None:
    large = SimpleNamespace(headers={"task": "x"}, body=b"[" * (consumer.MAX_BODY_BYTES + 1))
    with pytest.raises(InvalidTaskError):
        consumer._check(large)


def command(**parts: Any) -> dict[str, Any]:
    return {"method": "ping", "arguments": {}, "destination": None, "ticket": "x"} | parts


@pytest.mark.parametrize(
    ("body", "clock"),
    [
        (None, 0), ([], 0), ("ping", 0), ({}, 0), ({"method": 5}, 0), (command(arguments=[1]), 0),
        (command(ticket={}), 0),
        (command(destination=5), 0), (command(reply_to="orders"), 0), (command(), "soon"), (command(more=1), 0),
        (command(pattern="(s+)+$", matcher="pcre"), 0), (command(pattern="*", matcher=[]), 0),
    ],
)  # fmt: skip
def test_a_command_of_another_shape_costs_one_line(body: Any, clock: Any) -> None:
    obeyed: list[str] = []
    node = Mailbox("celery").Node("s" * 60, handlers={"ping": lambda *_: obeyed.append("ping")}, state=None)
    with structlog.testing.capture_logs() as told:
        node.handle_message(body, SimpleNamespace(headers={"clock": clock}))
    assert (obeyed, [line["event"] for line in told]) == ([], ["control.refused"])


def test_a_command_of_celerys_is_obeyed() -> None:
    obeyed: list[str] = []
    node = Mailbox("celery").Node("here", handlers={"ping": lambda *_: obeyed.append("ping")}, state=None)
    for destination in (None, ["here"], ["there"]):
        node.handle_message(command(destination=destination), SimpleNamespace(headers={"clock": 3}))
    assert len(obeyed) == 2
