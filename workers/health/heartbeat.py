"""The heart of a process: the main loop beats it, and the health endpoint reads whether the loop still turns."""

from __future__ import annotations

from time import monotonic


class Heartbeat:
    """When the main loop turned last. Safe to share between threads: only one of them writes."""

    def __init__(self) -> None:
        self._last = monotonic()
        self.ending = False
        """The process was told to end: its loop no longer turns, and the supervisor knows how long to wait."""

    def beat(self) -> None:
        """The loop turned."""
        self._last = monotonic()

    @property
    def age(self) -> float:
        """Seconds since the loop turned."""
        return monotonic() - self._last


HEARTBEAT = Heartbeat()
"""Of this process."""
