"""Sandbox processes that tests take turns with: a new process takes a second, starting over a millisecond."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx

from backmarket.sandbox.server import SandboxServer

START = datetime(2026, 1, 1, tzinfo=UTC)
"""End of the times that the tests' sandboxes invent: what a test counts is the same on any day."""

_idle: list[SandboxServer] = []


@contextmanager
def fresh_sandbox(**settings: Any) -> Iterator[SandboxServer]:
    """A sandbox without sellers, faults or counters, for as long as the `with` block.

    Args:
        **settings: fields of the sandbox's `Settings`, such as `limit=100_000`.
    """
    server = _take()
    if settings:
        server.control.settings(**settings)
    yield server
    _idle.append(server)  # one whose test failed is not used again: whatever it was left doing disturbs no other


def stop_all() -> None:
    """End those that nobody uses."""
    while _idle:
        _idle.pop().stop()


def _take() -> SandboxServer:
    while _idle:
        server = _idle.pop(0)  # the one that has rested longest: a straggler's request of its last test is over
        try:
            server.control.start_over()
        except httpx.HTTPError:  # a test ended it
            server.stop()
        else:
            return server
    return SandboxServer(start=START).__enter__()
