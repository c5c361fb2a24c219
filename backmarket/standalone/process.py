"""What all processes that are started here have in common: their environment, and the end of a log in an error."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from backmarket.errors import ENV_PREFIX

LOG_TAIL_BYTES = 2000
"""Maximum bytes of a log that an error quotes."""

_OTHERS_SETTINGS = (ENV_PREFIX, "CELERY_", "FLOWER_")
_OTHERS_NAMES = frozenset({"APP", "BROKER_URL", "CONFIG_MODULE", "LOADER", "REMAP_SIGTERM", "RESULT_BACKEND"})
"""Variables that Celery and Flower would read from the environment by themselves."""


def inherited() -> dict[str, str]:
    """This process's environment, without variables that would override the requested settings."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_OTHERS_SETTINGS) and name not in _OTHERS_NAMES
    }


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
