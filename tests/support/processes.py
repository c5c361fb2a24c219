"""Processes of a test, which never outlive it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path


def started(
    ending: ExitStack, variables: Mapping[str, str], directory: Path, *command: str | Path
) -> subprocess.Popen[bytes]:
    """Start a process that is killed when `ending` ends.

    Args:
        ending: of the test.
        variables: added to this process's environment.
        directory: where it runs.
        command: the program and its arguments.
    """
    process = subprocess.Popen(command, cwd=directory, env=os.environ | dict(variables))
    ending.callback(process.wait)
    ending.callback(process.kill)
    return process
