"""A worker's wall clock, which can be set while it runs: libfaketime, preloaded into that process alone.

The monotonic clock is left alone, as it is where an administrator sets the time.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path


class Clock:
    """The clock of one process.

    Args:
        file: says how far it is off.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set(0)
        self.environment: dict[str, str] = {}
        """For the process; empty where there is no such library for this machine."""
        library = _library()
        if library is not None:
            preloaded = {
                "LD_PRELOAD": str(library),
                "FAKETIME_TIMESTAMP_FILE": str(file),
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "FAKETIME_CACHE_DURATION": "1",
                "FAKETIME_DISABLE_SHM": "1",
            }
            if _loads(preloaded):
                self.environment = preloaded

    @property
    def works(self) -> bool:
        """Whether it can be set."""
        return bool(self.environment)

    def set(self, seconds: int) -> None:
        """Let it be off by so many seconds, within a second."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{seconds:+d}\n")
        fresh.replace(self._file)


def _library() -> Path | None:
    found = find_spec("libfaketime")
    if found is None or found.origin is None:
        return None
    library = Path(found.origin).parent / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"
    return library if library.is_file() else None


def _loads(environment: dict[str, str]) -> bool:
    """Whether a process with it runs, in silence: for another processor the loader only remarks that it can't."""
    command = [sys.executable, "-I", "-c", "import time; time.time()"]
    run = subprocess.run(command, env=environment, capture_output=True, check=False)
    return run.returncode == 0 and not run.stderr
