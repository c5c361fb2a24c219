"""`backmarket up` as a process of a test."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from backmarket.standalone.programs import CHECKOUT
from tests.support.waiting import PATIENCE_SECONDS, wait_until


class Up:
    """`backmarket up` in a process of its own.

    Args:
        directory: the stack's.
        options: more of them.
        environment: variables beside the test's own.
    """

    def __init__(self, directory: Path, *options: str, **environment: str) -> None:
        self.directory = directory
        self.output = directory.with_suffix(".out")
        command = [
            sys.executable,
            "-c",
            "from backmarket.cli import main; main()",
            "up",
            "--flower-port",
            "0",
            "--console-port",
            "0",
        ]
        command += ["--directory", str(directory), *options]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                command, cwd=CHECKOUT, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **environment}
            )
        self.family: set[psutil.Process] = set()

    def said(self) -> str:
        return self.output.read_text()

    def wait_for(self, text: str) -> None:
        wait_until(lambda: self.process.poll() is not None or text in self.said(), text)
        assert text in self.said(), self.said()
        with suppress(psutil.NoSuchProcess):
            self.family |= set(psutil.Process(self.process.pid).children(recursive=True))

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)

    def close(self) -> None:
        """End it, if it still runs."""
        if self.process.poll() is None:
            self.end(signal.SIGTERM)

    def left(self) -> list[str]:
        """What of it still runs."""
        return [command for _, command in self._commands()]

    def assert_gone(self) -> None:
        """Nothing of it runs; the watcher that ends with it has a moment for that."""
        wait_until(lambda: not self.left(), "all of its processes are gone")

    def one(self, words: str) -> psutil.Process:
        """The process with these words on its command line."""
        found = [process for process, command in self._commands() if words in command]
        assert len(found) == 1, found
        return found[0]

    def _commands(self) -> Iterator[tuple[psutil.Process, str]]:
        """What of it runs."""
        for process in self.family:
            with suppress(psutil.NoSuchProcess):  # a zombie, too
                yield process, " ".join(process.cmdline())

    def variables(self) -> dict[str, str]:
        """What another terminal reads from the file `env`."""
        script = f". {shlex.quote(str(self.directory / 'env'))} && env -0"
        shown = subprocess.run(["sh", "-c", script], check=True, capture_output=True, text=True, env={}).stdout
        return dict(line.split("=", 1) for line in shown.split("\0") if line.startswith("BACKMARKET_"))

    def ask(self, *arguments: str) -> Any:
        """What the command line answers in another terminal, as JSON."""
        command = [sys.executable, "-c", "from backmarket.cli import main; main()", *arguments, "--json"]
        environment = {**os.environ, **self.variables()}
        shown = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=True)
        return json.loads(shown.stdout)
