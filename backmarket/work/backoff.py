"""How long what failed waits before it is tried again."""

from __future__ import annotations

import random

MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 2.0, 3600.0
"""Shortest and longest pause before a retry; pauses grow from try to try, and are jittered."""

FIREWALL_SECONDS = 60.0
"""The shortest pause of an organization's writes after the firewall in front of the API refused one."""


def growing(tries: int, minimum: float = MIN_PAUSE_SECONDS) -> float:
    """Seconds before the next try, doubled with each failed try in a row."""
    return float(min(MAX_PAUSE_SECONDS, minimum * 2 ** min(tries, 12)) * random.uniform(0.75, 1.25))  # noqa: S311
