"""One server process: started in its own session, probed until it answers, ended for certain."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Literal

import psutil

from backmarket.errors import UsageError
from backmarket.standalone.embedded.interrupts import held_back
from backmarket.standalone.embedded.ports import free_ports
from backmarket.standalone.process import end_of_log, log_tail

START_SECONDS = 180.0
"""Seconds that servers may take to answer; on an idle machine they take 2 to 3."""
STOP_SECONDS = 30.0
"""Seconds that a server may take to end before it is killed."""

STOP_SIGNALS: Mapping[str, signal.Signals] = {
    "initdb": signal.SIGTERM,
    "postgres": signal.SIGINT,  # the fast shutdown: does not wait for clients
    "valkey-server": signal.SIGTERM,
    # On SIGTERM, weed waits 15 s for its own streams to end. Data that it acknowledged were handed to the kernel
    # by then (write(2)), so SIGKILL loses nothing.
    "weed": signal.SIGKILL,
}


class StackError(UsageError):
    """The embedded stack cannot run here; the text says why, with the end of the server's log."""

    code = "embedded_stack"


class Server(ABC):
    """One of the stack's servers.

    `start`, `stop` and `kill` may follow each other in any order; the address stays the same.

    Args:
        name: names its directory, its log and its pid file.
        home: the stack's private directory.
    """

    title: ClassVar[str]
    """For people."""
    program: ClassVar[str]
    """The executable's file name."""
    port_count: ClassVar[int] = 0
    """Number of ports that it listens on."""

    def __init__(self, name: str, home: Path) -> None:
        self.directory = home / name
        self.log = home / f"{name}.log"
        self._record = home / f"{name}.pid"
        self._process: subprocess.Popen[bytes] | None = None
        self._log_mode: Literal["ab", "wb"] = "wb"  # a log begins with the stack's start
        self._log_start = 0
        self._ports: list[int] = []
        self._address_known = False
        self._paused = False

    @property
    def pid(self) -> int | None:
        """The process's id; None when it does not run."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self, timeout: float = START_SECONDS) -> None:
        """Start the server and wait until it answers; does nothing if it runs.

        Raises:
            StackError: if it died or did not answer in time.
        """
        self.launch()
        wait_until_ready([self], timeout)

    def launch(self) -> None:
        """Start the server without waiting for it; does nothing if it runs.

        Raises:
            StackError: if it cannot be started.
        """
        if self.pid is None:
            if not self._ports:
                self._ports = free_ports(self.port_count)
            self.directory.mkdir(mode=0o700, exist_ok=True)
            self._prepare()
            self._spawn(self._command())

    def ready(self) -> bool:
        """Probe it once, for two seconds at most.

        Raises:
            StackError: if it died.
        """
        if self._process is None or self._process.poll() is not None:
            self._died()
            return False
        if not self._answers():
            return False
        self._address_known = True
        return True

    def stop(self) -> None:
        """Shut it down in an orderly way, or kill it after `STOP_SECONDS`."""
        self._end(STOP_SIGNALS[self.program])

    def kill(self) -> None:
        """End it and its children with SIGKILL, as a crash would."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Freeze it and its children (SIGSTOP): connections stay open and nothing answers."""
        if self.pid is not None:
            _signal(_family(psutil.Process(self.pid)), signal.SIGSTOP)
            self._paused = True

    def resume(self) -> None:
        """Let it go on after `pause`; does nothing otherwise."""
        if self.pid is not None and self._paused:
            _signal(_family(psutil.Process(self.pid)), signal.SIGCONT)
        self._paused = False

    def log_tail(self) -> str:
        """The end of what the present process wrote to its log."""
        return log_tail(self.log, self._log_start)

    def end_of_log(self) -> str:
        """The same for an error's text, with the file's name."""
        return end_of_log(self.log, self._log_start)

    @property
    @abstractmethod
    def settings(self) -> dict[str, str]:
        """The settings that name its address, by field name; known once it was launched."""

    @abstractmethod
    def _prepare(self) -> None:
        """Write what the process needs before it starts."""

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """The executable and its arguments."""

    @abstractmethod
    def _answers(self) -> bool:
        """Send it a real request."""

    def _environment(self) -> dict[str, str]:
        """Its environment, without the machine's locale, time zone and variables that servers read."""
        home = str(self.directory)
        return {"PATH": "/usr/bin:/bin", "HOME": home, "TMPDIR": home, "LC_ALL": "C", "TZ": "UTC"}

    def _credentials(self) -> tuple[int, int] | None:
        """The user and group to run as; None for our own."""
        return None

    def _spawn(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a process that `stop` knows of from its first moment, whatever interrupts this one.

        A Ctrl-C between the start and its record used to leave a server running that nothing would stop.
        """
        with held_back():
            self._process = self._popen(command)
            write_record(self._record, self._process.pid)
        return self._process

    def _popen(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        user, group = self._credentials() or (None, None)
        with self.log.open(self._log_mode) as log:
            self._log_mode = "ab"
            self.log.chmod(0o600)
            self._log_start = self.log.stat().st_size
            try:
                return subprocess.Popen(  # noqa: S603
                    command,
                    cwd=self.directory,
                    env=self._environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # the terminal's Ctrl-C is for its owner only
                    user=user,
                    group=group,
                    extra_groups=None if group is None else [],
                    umask=0o077,
                )
            except OSError as error:
                raise StackError(f"{self.title} cannot be started: {error}") from error

    def _died(self) -> None:
        """Start it again if it ended only because a port was taken.

        Raises:
            StackError: if it ended for another reason.
        """
        taken = self.port_count > 0 and "address already in use" in self.log_tail().lower()
        if self._process is None or not taken:
            code = self._process.returncode if self._process else None
            raise StackError(f"{self.title} ended with code {code}. {self.end_of_log()}")
        if not self._address_known:  # later, clients use the address and it must stay
            self._ports = []
        self.launch()

    def _end(self, with_signal: signal.Signals) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:  # not waited for yet, so its id was not reused
            end(psutil.Process(self._process.pid), with_signal)
        self._process.wait()
        self._process, self._paused = None, False
        self._record.unlink(missing_ok=True)


def wait_until_ready(servers: Iterable[Server], timeout: float = START_SECONDS) -> None:
    """Wait until all of the launched servers answer.

    Raises:
        StackError: if one died or did not answer in time; the text ends with the end of its log.
    """
    deadline = time.monotonic() + timeout
    waiting = list(servers)
    while waiting := [server for server in waiting if not server.ready()]:
        if time.monotonic() > deadline:
            late = waiting[0]
            raise StackError(f"{late.title} did not answer within {timeout:g} s. {late.end_of_log()}")
        time.sleep(0.02)


def end(process: psutil.Process, with_signal: signal.Signals) -> None:
    """End a process and its children: with the signal, or with SIGKILL after `STOP_SECONDS`.

    Args:
        process: the parent; it gets the signal.
        with_signal: SIGKILL goes to the children too, at once.
    """
    family = _family(process)
    if with_signal == signal.SIGKILL:
        _signal(family, signal.SIGKILL)
    else:
        _signal([process], with_signal)
        _signal(family, signal.SIGCONT)  # a stopped process handles signals only once it continues
    if not _wait_until_gone(family):
        _signal([*family, *_family(process)], signal.SIGKILL)
        _wait_until_gone(family)


def write_record(record: Path, pid: int) -> None:
    """Record a process so that another one can find and end it for certain.

    Args:
        record: the file to write.
        pid: a running process.
    """
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        identity = {"pid": pid, "name": process.name(), "started": process.create_time()}
        record.write_text(json.dumps(identity))


def end_recorded(record: Path) -> None:
    """End the process that a file records, if it is still the same: same name, same start time.

    Args:
        record: the file that `write_record` wrote; it is removed.
    """
    with suppress(OSError, ValueError, KeyError, psutil.Error):
        noted = json.loads(record.read_text())
        process = psutil.Process(noted["pid"])
        same_start = abs(process.create_time() - noted["started"]) < 1.0
        if same_start and process.name() == noted["name"]:
            end(process, STOP_SIGNALS[noted["name"]])
    record.unlink(missing_ok=True)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not.

    A process whose first thread has ended keeps its sockets and files until the last one has.
    """
    try:
        process = psutil.Process(pid)
        return bool(process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1)
    except psutil.NoSuchProcess:
        return False


def _family(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return [process, *process.children(recursive=True)]
    return [process]


def _signal(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _wait_until_gone(processes: Iterable[psutil.Process]) -> bool:
    deadline = time.monotonic() + STOP_SECONDS
    left = list(processes)
    while left := [process for process in left if process.is_running() and is_alive(process.pid)]:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
