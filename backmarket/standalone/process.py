"""What all processes that are started here have in common: the end of a log in an error."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

LOG_TAIL_BYTES = 2000
"""Maximum bytes of a log that an error quotes."""


def log_tail(log: Path, start: int = 0) -> str:
    """The end of a log.

    Args:
        log: the file; without it, the result is empty.
        start: where the present process began to write.
    """
    with suppress(OSError), log.open("rb") as file:
        file.seek(max(start, log.stat().st_size - LOG_TAIL_BYTES))
        return file.read().decode(errors="replace").strip()
    return ""


def end_of_log(log: Path, start: int = 0) -> str:
    """The same for an error's text, with the file's name."""
    return f"The end of {log}:\n{log_tail(log, start)}".strip()
