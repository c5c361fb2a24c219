"""The heartbeat of a process: the main loop beats, and the health endpoint reads whether the loop still runs."""

from __future__ import annotations

from time import monotonic


class Heartbeat:
    """The time of the main loop's last turn. Safe to share between threads: only one of them writes."""

    def __init__(self) -> None:
        self._last = monotonic()
        self.ending = False
        """Note that the process was told to end: its loop no longer turns, and the supervisor limits the wait."""

    def beat(self) -> None:
        """Note a turn of the loop."""
        self._last = monotonic()

    @property
    def age(self) -> float:
        """Seconds since the loop's last turn."""
        return monotonic() - self._last


HEARTBEAT = Heartbeat()
"""The heartbeat of this process."""
