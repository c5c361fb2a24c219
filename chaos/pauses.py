"""The pauses of a round: the product's own, made short, and how often they let something be retried."""

from __future__ import annotations

from typing import Final

SHORTER: Final = 30.0
"""What the product waits for is divided by this."""

MIN_SECONDS, MAX_SECONDS = 0.2, 4.0
"""Seconds that what failed waits, whatever the product's own pauses are."""

_SHORTEST = 0.75
"""A pause is a quarter shorter or longer, at random."""


def short(seconds: float) -> float:
    """Seconds of a pause in a round.

    Args:
        seconds: as the product has it.
    """
    return min(max(seconds / SHORTER, MIN_SECONDS), MAX_SECONDS)


def most_tries(seconds: float, first: float) -> int:
    """How often something that fails for ever may be tried in some seconds of a round.

    Args:
        seconds: of the round.
        first: seconds of its first pause in docs/states.md; each further one is twice as long, up to an hour.
    """
    tries, passed = 1, 0.0
    while passed < seconds:
        passed += short(_SHORTEST * min(first * 2.0 ** (tries - 1), 3600.0))
        tries += 1
    return tries
