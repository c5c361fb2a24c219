"""The heart of a process: its main loop beats it, and whoever listens knows whether the loop still turns."""

from __future__ import annotations

from time import monotonic


class Heart:
    """When the main loop turned last. Safe to share between threads: there is one who writes."""

    def __init__(self) -> None:
        self._last = monotonic()
        self.ending = False
        """The process was told to end: its loop turns no more, and whoever told it knows how long to wait."""

    def beat(self) -> None:
        """The loop turned."""
        self._last = monotonic()

    @property
    def silence(self) -> float:
        """Seconds since the loop turned."""
        return monotonic() - self._last


HEART = Heart()
"""Of this process."""
