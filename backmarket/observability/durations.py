"""Durations as people read them."""

from __future__ import annotations

UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
"""Seconds of each unit, the largest first."""


def duration(seconds: float) -> str:
    """A duration in its largest unit, such as `2 min`."""
    whole = int(abs(seconds))
    return next((f"{whole // size} {unit}" for unit, size in UNITS if whole >= size), "0 s")


def exactly(seconds: float) -> str:
    """A duration in the largest unit that divides it, such as `90 s` or `5 min`."""
    return next((f"{seconds / size:.0f} {unit}" for unit, size in UNITS if seconds % size == 0), f"{seconds:g} s")
