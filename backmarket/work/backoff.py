"""How long what failed waits before it is tried again."""

from __future__ import annotations

import random

SHORTEST, LONGEST = 2.0, 3600.0
"""Seconds until what failed is tried again: growing from try to try, and jittered."""

FIREWALL_SECONDS = 60.0
"""The shortest pause of an organization's writes after the firewall in front of the API refused one."""


def growing(tries: int, shortest: float = SHORTEST) -> float:
    """A pause that doubles with each try in a row that was in vain."""
    return float(min(LONGEST, shortest * 2 ** min(tries, 12)) * random.uniform(0.75, 1.25))  # noqa: S311
