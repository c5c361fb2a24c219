"""Repeatable randomness: every random stream of the sandbox follows from the seed and a name."""

from __future__ import annotations

from random import Random


def seeded_random(seed: int, *names: str) -> Random:
    """A separate stream for each combination of seed and names."""
    return Random(":".join((str(seed), *names)))  # noqa: S311 - nothing here is secret
