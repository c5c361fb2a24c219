"""Processes that die are reported and restarted, at growing intervals."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from backmarket.errors import BackMarketError
from backmarket.standalone.embedded import Stack, StackError
from backmarket.standalone.embedded.processes import Server
from backmarket.standalone.fleet import Fleet

MAX_RESTART_PAUSE_SECONDS = 60.0
"""Maximum seconds between two starts of a process that keeps dying; the first pause is one second."""
STEADY_SECONDS = 60.0
"""Seconds after which a running process is considered stable: its next pause is short again."""


@dataclass(frozen=True, slots=True)
class Supervised:
    """A process that is watched and restarted.

    Attributes:
        name: its name in messages.
        alive: whether it runs.
        exit_report: a sentence on how it ended.
        restart: restarts it.
    """

    name: str
    alive: Callable[[], bool]
    exit_report: Callable[[], str]
    restart: Callable[[], object]


@dataclass(slots=True)
class _Case:
    supervised: Supervised
    since: float
    pause: float = 1.0
    again_at: float | None = None


class Supervisor:
    """Watches processes, and restarts those that have died.

    Args:
        processes: the processes to watch.
        say: prints a message.
        clock: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        processes: Iterable[Supervised],
        say: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._say = say
        self._cases = [_Case(supervised, clock()) for supervised in processes]

    def check(self) -> None:
        """Report processes that died since the last check, and restart those that are due."""
        for case in self._cases:
            if case.again_at is not None:
                if self._clock() >= case.again_at:
                    self._restart(case)
            elif not case.supervised.alive():
                self._report(case, case.supervised.exit_report())

    def _report(self, case: _Case, why: str) -> None:
        now = self._clock()
        if now - case.since > STEADY_SECONDS:
            case.pause = 1.0
        case.again_at = now + case.pause
        self._say(f"\n{_short(why)}\n{case.supervised.name} is started again in {case.pause:g} s.")
        case.pause = min(2 * case.pause, MAX_RESTART_PAUSE_SECONDS)

    def _restart(self, case: _Case) -> None:
        case.again_at, case.since = None, self._clock()
        try:
            case.supervised.restart()
        except BackMarketError as error:
            self._report(case, error.message)
        else:
            self._say(f"{case.supervised.name} was started again.")


def _short(text: str) -> str:
    """The first line and the last five."""
    first, *others = text.strip().splitlines()
    return "\n".join([first, *others[-5:]])


def members_of(fleet: Fleet) -> list[Supervised]:
    """The processes of a fleet."""
    return [_member(fleet, name) for name in fleet.pids]


def servers_of(stack: Stack) -> list[Supervised]:
    """The servers of a stack that are its own."""
    found: list[Server] = []
    for name in ("postgres", "valkey", "s3"):
        with suppress(StackError):
            found.append(getattr(stack, name))
    return [_server(server) for server in found]


def _member(fleet: Fleet, name: str) -> Supervised:
    return Supervised(
        name, lambda: name not in fleet.died, lambda: fleet.exit_report(name), lambda: fleet.restart(name)
    )


def _server(server: Server) -> Supervised:
    title = server.title[0].upper() + server.title[1:]
    return Supervised(
        title,
        lambda: server.pid is not None,
        lambda: f"{title} ended. {server.end_of_log()}",
        server.start,
    )
