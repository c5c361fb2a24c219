"""A process beside each stack that waits for its owner's end and then cleans up.

Whatever ends the owner, SIGKILL included, the system releases its locks at that moment. The watcher waits for the
locks, then ends the servers and removes what they left. An owner that stops its stack itself ends the watcher first.
Nothing here depends on signal handlers, parent processes, threads or the platform.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from backmarket.standalone.embedded.home import put_in_order, wait_for


def start(homes: Sequence[Path]) -> subprocess.Popen[bytes]:
    """Start a watcher.

    Args:
        homes: the directories that this process owns and the watcher cleans up when it is gone.
    """
    packages = [str(Path(__file__).resolve().parents[3])]  # a checkout that is not installed works too
    if inherited := os.environ.get("PYTHONPATH"):
        packages.append(inherited)
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", __name__, *map(str, homes)],
        cwd="/",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(packages)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def main(homes: Sequence[str]) -> None:
    """Wait until the directories have no owner, then clean them up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a signal to the whole group must not end the watcher first
    paths = [Path(home) for home in homes]
    for path in paths:
        wait_for(path)
    for path in paths:
        put_in_order(path)


if __name__ == "__main__":
    main(sys.argv[1:])
