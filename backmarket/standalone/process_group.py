"""A process group that does not outlive its owner, whatever ends the owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress

_WATCH = """
import os, signal, sys
for number in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:
    signal.signal(number, signal.SIG_IGN)
sys.stdin.buffer.read()
os.killpg(0, signal.SIGKILL)
"""
"""The watcher: it reads the end of its standard input once the owner is gone, and kills the group, itself included."""


class ProcessGroup:
    """A process group, led by a watcher that kills it when this process is gone.

    Args:
        title: the watcher's argument, by which a person recognizes it.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._watcher: subprocess.Popen[bytes] | None = None

    def id(self) -> int:
        """The group's id. The first call starts the watcher; the group exists until `kill`."""
        if self._watcher is None:
            self._watcher = subprocess.Popen(  # noqa: S603
                [sys.executable, "-I", "-S", "-c", _WATCH, self._title],
                cwd="/",
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                process_group=0,
            )
        return self._watcher.pid

    def kill(self, members: Iterable[subprocess.Popen[bytes]]) -> None:
        """Kill the group, and wait until it is gone.

        Args:
            members: its processes that this process started.
        """
        watcher, self._watcher = self._watcher, None
        if watcher is None:
            return
        with suppress(ProcessLookupError, PermissionError):  # macOS: the group has only zombies left
            os.killpg(watcher.pid, signal.SIGKILL)
        for process in [watcher, *members]:
            process.wait()
        if watcher.stdin:
            watcher.stdin.close()
