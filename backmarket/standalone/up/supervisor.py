"""Whatever dies is reported and started again, at growing intervals."""

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
"""Maximum pause between two starts of a process that keeps dying; the first pause is one second."""
STEADY_SECONDS = 60.0
"""What has lived so long begins with a short pause again."""


@dataclass(frozen=True, slots=True)
class Ward:
    """A process to look after.

    Attributes:
        name: for people.
        alive: whether it runs.
        last_words: a sentence on its end, for people.
        revive: starts it again.
    """

    name: str
    alive: Callable[[], bool]
    last_words: Callable[[], str]
    revive: Callable[[], object]


@dataclass(slots=True)
class _Case:
    ward: Ward
    since: float
    pause: float = 1.0
    again_at: float | None = None


class Supervisor:
    """Looks after processes.

    Args:
        wards: which.
        say: tells a person.
        clock: seconds that only grow.
    """

    def __init__(
        self, wards: Iterable[Ward], say: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._say = say
        self._cases = [_Case(ward, clock()) for ward in wards]

    def look(self) -> None:
        """Report what has died since the last look, and start again what is due."""
        for case in self._cases:
            if case.again_at is not None:
                if self._clock() >= case.again_at:
                    self._revive(case)
            elif not case.ward.alive():
                self._report(case, case.ward.last_words())

    def _report(self, case: _Case, why: str) -> None:
        now = self._clock()
        if now - case.since > STEADY_SECONDS:
            case.pause = 1.0
        case.again_at = now + case.pause
        self._say(f"\n{_short(why)}\n{case.ward.name} is started again in {case.pause:g} s.")
        case.pause = min(2 * case.pause, MAX_RESTART_PAUSE_SECONDS)

    def _revive(self, case: _Case) -> None:
        case.again_at, case.since = None, self._clock()
        try:
            case.ward.revive()
        except BackMarketError as error:
            self._report(case, error.message)
        else:
            self._say(f"{case.ward.name} was started again.")


def _short(text: str) -> str:
    """The first line and the last five."""
    first, *others = text.strip().splitlines()
    return "\n".join([first, *others[-5:]])


def members_of(fleet: Fleet) -> list[Ward]:
    """The processes of a fleet."""
    return [_member(fleet, name) for name in fleet.pids]


def servers_of(stack: Stack) -> list[Ward]:
    """The servers of a stack that are its own."""
    found: list[Server] = []
    for name in ("postgres", "valkey", "s3"):
        with suppress(StackError):
            found.append(getattr(stack, name))
    return [_server(server) for server in found]


def _member(fleet: Fleet, name: str) -> Ward:
    return Ward(name, lambda: name not in fleet.died, lambda: fleet.obituary(name), lambda: fleet.restart(name))


def _server(server: Server) -> Ward:
    title = server.title[0].upper() + server.title[1:]
    return Ward(
        title,
        lambda: server.pid is not None,
        lambda: f"{title} ended. The end of {server.log}:\n{server.log_tail()}",
        server.start,
    )
