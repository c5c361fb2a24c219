"""Faults of our own processes."""

from __future__ import annotations

import signal

from backmarket.standalone.fleet import FleetError
from chaos.faults.fault import Fault
from chaos.grounds import WORKERS

HOUR = 3600
SECOND_BEAT = "second-beat"


class _OfAWorker(Fault):
    """Strikes the worker that holds what the fault waits for, if it is to be told; else any."""

    name = ""

    def choose(self, pids: set[int]) -> None:
        """Choose the worker.

        Args:
            pids: processes that hold a lease of the kind that the fault waits for.
        """
        running = self.grounds.fleet.pids
        names = [pool.name for pool in WORKERS if pool.name in running]
        holding = [name for name in names if running[name] in pids]
        self.name = self.dice.choice(holding or names) if names else ""

    @property
    def pid(self) -> int | None:
        """The worker's."""
        return self.grounds.fleet.pids.get(self.name)


class KillWorker(_OfAWorker):
    """SIGKILL; another one starts in its place."""

    def begin(self) -> None:
        """Kill it."""
        if self.name:
            self.grounds.fleet.kill(self.name, signal.SIGKILL)

    def end(self) -> None:
        """Start it again."""
        if self.name:
            self.grounds.fleet.restart(self.name)


class FreezeWorker(_OfAWorker):
    """SIGSTOP until its leases have run out, then SIGCONT."""

    def begin(self) -> None:
        """Stop it in its tracks."""
        if self.name:
            self.grounds.fleet.kill(self.name, signal.SIGSTOP)

    def end(self) -> None:
        """Let it go on, unaware."""
        if self.name and self.name in self.grounds.fleet.pids:
            self.grounds.fleet.kill(self.name, signal.SIGCONT)


class TerminateWorker(_OfAWorker):
    """SIGTERM in the middle of work; another one starts in its place."""

    def begin(self) -> None:
        """Ask it to end."""
        if self.name:
            self.grounds.fleet.kill(self.name, signal.SIGTERM)

    def end(self) -> None:
        """Start it again, once it has ended."""
        if self.name:
            try:
                self.grounds.fleet.wait_exit(self.name, timeout=10)
            except FleetError:  # a deployment kills what does not end in its grace period
                self.grounds.fleet.kill(self.name, signal.SIGKILL)
            self.grounds.fleet.restart(self.name)


class KillBeat(Fault):
    """SIGKILL of the beat."""

    @property
    def pid(self) -> int | None:
        """The beat's."""
        return self.grounds.fleet.pids.get("beat")

    def begin(self) -> None:
        """Kill it."""
        self.grounds.fleet.kill("beat", signal.SIGKILL)

    def end(self) -> None:
        """Start it again."""
        self.grounds.fleet.restart("beat")


class SecondBeat(Fault):
    """Another beat runs beside the first."""

    def begin(self) -> None:
        """Start it."""
        if SECOND_BEAT not in self.grounds.fleet.pids:
            self.grounds.fleet.start_beat(SECOND_BEAT)

    def end(self) -> None:
        """End it."""
        if SECOND_BEAT in self.grounds.fleet.pids:
            self.grounds.fleet.kill(SECOND_BEAT, signal.SIGKILL)


class ClockJump(Fault):
    """The wall clock of one worker is an hour off, to either side."""

    @property
    def pid(self) -> int | None:
        """The worker's whose clock can be set."""
        return self.grounds.fleet.pids.get(WORKERS[1].name)

    def begin(self) -> None:
        """Set it."""
        self.grounds.clock.set(self.dice.choice((HOUR, -HOUR)))

    def end(self) -> None:
        """Set it right."""
        self.grounds.clock.set(0)
