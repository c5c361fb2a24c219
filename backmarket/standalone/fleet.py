"""Workers, beat and Flower as real processes: started, watched and ended together.

They share a process group that dies with its owner (`process_group.py`); it is not the terminal's group.
"""

from __future__ import annotations

import http.client
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from backmarket.errors import ENV_PREFIX, UsageError
from backmarket.standalone import programs
from backmarket.standalone.pools import FLEET, Pool
from backmarket.standalone.process import end_of_log, inherited
from backmarket.standalone.process_group import ProcessGroup

READY_FILE = f"{ENV_PREFIX}READY_FILE"
"""Variable that names the file that a worker or beat makes once it is ready; see `workers.lifecycle`."""
READY_SECONDS = 180.0
"""Seconds that a start may take; on an idle machine it takes 2 to 3."""
STOP_SECONDS = 60.0
"""Seconds that a warm shutdown may take; a slice hands on within a request's deadline, mostly within a second."""

_ENDING = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})
_ALONE = ("--without-gossip", "--without-mingle")
"""Options that switch off messages between workers: they need none, and asking takes a second at the start."""


class FleetError(UsageError):
    """A process of the fleet did not start, or died; the text says which, with the end of its log."""

    code = "fleet"


@dataclass
class _Member:
    arguments: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    marker: Path
    flower_port: int | None = None
    process: subprocess.Popen[bytes] | None = None
    log_start: int = 0
    stop_requested: bool = field(default=False)
    """Whether it was told to stop."""

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def ready(self) -> bool:
        if self.flower_port is None:
            return self.marker.exists()
        return _answers(self.flower_port, self.environment.get("FLOWER_URL_PREFIX", ""))


class Fleet:
    """Worker, beat and Flower processes, for as long as the `with` block and never longer than this process.

    Args:
        environment: the `BACKMARKET_*` settings of the processes, and `FLOWER_BASIC_AUTH` (`user:password`) and
            other `FLOWER_*` options for Flower; this process's own environment is not passed on.
        directory: the directory of the logs, one file a process; made if missing.
        workers: the worker processes to start.
        beat: whether to start beat.
        flower_port: the loopback port of Flower; None: no Flower. Workers send events only for Flower.

    Raises:
        UsageError: if this installation has no workers.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        directory: Path,
        workers: Iterable[Pool] = FLEET,
        beat: bool = True,
        flower_port: int | None = None,
    ) -> None:
        self._programs = programs.directory()
        self._environment = inherited() | dict(environment)
        self._directory = directory.absolute()
        self._pools = tuple(workers)
        self._beat = beat
        self._flower_port = flower_port
        self._members: dict[str, _Member] = {}
        self._group = ProcessGroup("backmarket-fleet")

    def __enter__(self) -> Fleet:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pids(self) -> dict[str, int]:
        """The processes that run, by name: the workers', `beat` and `flower`."""
        return {name: one.process.pid for name, one in self._members.items() if one.process and one.running}

    @property
    def died(self) -> list[str]:
        """The processes that ended without being told to."""
        return [name for name, one in self._members.items() if not one.running and not one.stop_requested]

    def start(self) -> None:
        """Start everything, without waiting for it; see `wait_ready`.

        Raises:
            FleetError: if a process cannot be started.
        """
        try:
            for pool in self._pools:
                self.start_worker(pool.queues, pool.name, pool.concurrency)
            if self._beat:
                self.start_beat()
            if self._flower_port is not None:
                self._start_flower(self._flower_port)
        except BaseException:  # Ctrl-C too: what was started is stopped
            self.stop(0.0)
            raise

    def start_worker(
        self,
        queues: Iterable[str],
        name: str,
        concurrency: int = 16,
        *,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start one more worker.

        Args:
            queues: the queues it takes messages from.
            name: Celery's node name, before the `@`.
            concurrency: tasks at a time.
            environment: settings of this worker alone.
        """
        arguments = ["worker", *_ALONE, "-Q", ",".join(queues), "-n", f"{name}@%h", "-c", str(concurrency)]
        if self._flower_port is not None:
            arguments.append("-E")  # Flower would turn events on, too, but only after 5 s
        self._add(name, arguments, environment=environment)

    def start_beat(self, name: str = "beat", *, environment: Mapping[str, str] | None = None) -> None:
        """Start beat; a second one, under another name, does no harm.

        Args:
            name: the name of its process.
            environment: settings of this beat alone.
        """
        self._add(name, ["beat"], environment=environment)

    def restart(self, name: str) -> None:
        """Restart a process that has ended; its log continues."""
        member = self._members[name]
        if not member.running:
            self._launch(member)

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to one process; SIGKILL also waits until it is gone.

        Args:
            name: the process's name.
            number: the signal; a process that it tells to end is not reported as dead.
        """
        member = self._members[name]
        if member.process is None:
            return
        member.stop_requested = member.stop_requested or number in _ENDING
        member.process.send_signal(number)
        if number == signal.SIGKILL:
            member.process.wait()

    def wait_exit(self, name: str, timeout: float = STOP_SECONDS) -> int:
        """Wait for the end of a process that was told to end.

        Returns:
            Its exit code; negative: the signal that ended it.

        Raises:
            FleetError: if it still runs.
        """
        member = self._members[name]
        if member.process is None:
            return 0
        try:
            return member.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise FleetError(f"{name} still runs after {timeout:g} s. {self._log_of(name)}") from None

    def wait_ready(self, timeout: float = READY_SECONDS) -> None:
        """Wait until every worker takes messages, beat ticks and Flower answers.

        Raises:
            FleetError: if one died or is not ready in time.
        """
        deadline = time.monotonic() + timeout
        while waiting := [name for name, one in self._members.items() if not one.stop_requested and not one.ready()]:
            self.check()
            if time.monotonic() > deadline:
                raise FleetError(f"{waiting[0]} is not ready after {timeout:g} s. {self._log_of(waiting[0])}")
            time.sleep(0.02)
        self.check()

    def check(self) -> None:
        """Check that no process has died.

        Raises:
            FleetError: if a process ended without being told to.
        """
        for name in self.died:
            raise FleetError(self.exit_report(name))

    def exit_report(self, name: str) -> str:
        """Exit code of a process that ended, and the end of its log."""
        process = self._members[name].process
        return f"{name} ended with code {process.returncode if process else None}. {self._log_of(name)}"

    def stop(self, timeout: float = STOP_SECONDS) -> list[str]:
        """End all processes: beat first, so that nothing new is sent, then the rest, in an orderly way.

        Args:
            timeout: seconds after which processes that still run are killed.

        Returns:
            The processes that had to be killed.
        """
        deadline = time.monotonic() + timeout
        try:
            for end in (self._is_beat, lambda name: not self._is_beat(name)):
                names = [name for name in self.pids if end(name)]
                for name in names:
                    self.kill(name, signal.SIGTERM)
                    self.kill(name, signal.SIGCONT)  # a stopped process handles signals only once it continues
                self._wait_gone(names, deadline)
            return list(self.pids)
        finally:
            self._kill_group()
            self._members.clear()

    def _wait_gone(self, names: Iterable[str], deadline: float) -> None:
        while not self.pids.keys().isdisjoint(names) and time.monotonic() < deadline:
            time.sleep(0.02)

    def _is_beat(self, name: str) -> bool:
        return "beat" in self._members[name].arguments[:1]

    def _start_flower(self, port: int) -> None:
        own = {"FLOWER_PORT": str(port), "FLOWER_ADDRESS": "127.0.0.1"}
        self._add("flower", ["flower"], environment=own, flower_port=port)

    def _add(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        flower_port: int | None = None,
    ) -> None:
        known = self._members.get(name)
        if known and known.running:
            raise FleetError(f"There is a process called {name} already.")
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        marker = self._directory / f"{name}.ready"
        own = self._environment | {READY_FILE: str(marker)} | dict(environment or {})
        member = _Member(arguments, own, self._directory / f"{name}.log", marker, flower_port)
        self._launch(member)
        self._members[name] = member

    def _launch(self, member: _Member) -> None:
        group = self._group.id()
        member.marker.unlink(missing_ok=True)
        with member.log.open("ab") as log:
            member.log.chmod(0o600)
            member.log_start = member.log.stat().st_size
            try:
                member.process = subprocess.Popen(  # noqa: S603
                    [sys.executable, "-m", "workers", *member.arguments],
                    cwd=self._programs,
                    env=member.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,  # Celery's remarks for a terminal; logs go to standard error
                    stderr=log,
                    process_group=group,
                    umask=0o077,
                )
            except OSError as error:
                raise FleetError(f"{member.arguments[0]} cannot be started: {error}") from error
        member.stop_requested = False

    def _kill_group(self) -> None:
        self._group.kill([one.process for one in self._members.values() if one.process])
        for member in self._members.values():
            member.marker.unlink(missing_ok=True)

    def _log_of(self, name: str) -> str:
        member = self._members[name]
        return end_of_log(member.log, member.log_start)


def _answers(port: int, prefix: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", f"/{prefix}/healthcheck" if prefix else "/healthcheck")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
