"""A child process beside the workers: it reports when it is ready, and never outlives this one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from backmarket.errors import BackMarketError
from backmarket.standalone.process import end_of_log
from backmarket.standalone.programs import CHECKOUT
from backmarket.standalone.up.supervisor import Supervised

_STOP_SECONDS = 8.0


class Child:
    """A process for as long as the `with` block and never longer than this process."""

    title = "A process"
    """Its name in messages."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def arguments(self) -> list[str]:
        """Its arguments for Python."""
        raise NotImplementedError

    def environment(self) -> Mapping[str, str] | None:
        """Its environment; None: that of this process."""
        return None

    def __enter__(self) -> Child:
        try:
            self.start()
        except BaseException:  # Ctrl-C too: what was started is stopped
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def supervised(self) -> Supervised:
        """Restart it, for a supervisor."""
        return Supervised(self.title, self._alive, self._exit_report, self.start)

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            BackMarketError: if it ended instead.
        """
        self.stop()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, *self.arguments()],
                cwd=CHECKOUT,
                env=self.environment(),
                stdin=subprocess.PIPE,  # it ends when this end is closed, by us or by the system
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                umask=0o077,
            )
        if not (self._process.stdout and self._process.stdout.readline()):
            self._process.wait()
            raise BackMarketError(self._exit_report())

    def stop(self) -> None:
        """Stop it; harmless when it does not run."""
        process, self._process = self._process, None
        if process is None:
            return
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _exit_report(self) -> str:
        code = self._process.returncode if self._process else None
        return f"{self.title} ended with code {code}. {end_of_log(self._log)}"
