"""Pauses before retries: each formula once."""

from __future__ import annotations

import random

MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 2.0, 3600.0
"""Minimum and maximum seconds before a due row is retried."""

RETRY_SECONDS = 0.6
"""Maximum seconds between the first two tries of a request within one slice or call."""


def doubled(tries: int, initial: float, maximum: float) -> float:
    """Seconds before the next try, without jitter.

    Args:
        tries: failed tries in a row before the last one.
        initial: seconds of the first pause; each further pause is twice as long.
        maximum: seconds of the longest pause.
    """
    return min(maximum, initial * 2.0 ** min(tries, 30))


def doubled_sql(tries: str, initial: int, maximum: int) -> str:
    """The interval of `doubled` in SQL.

    Args:
        tries: the column with the failed tries in a row before the last one.
        initial: seconds of the first pause.
        maximum: seconds of the longest pause.
    """
    return f"make_interval(secs => LEAST({initial} * power(2, LEAST({tries}, 30)), {maximum}))"


def growing(tries: int, initial: float = MIN_PAUSE_SECONDS, maximum: float = MAX_PAUSE_SECONDS) -> float:
    """Seconds before a due row is retried: `doubled`, a quarter shorter or longer."""
    return _between(0.75, 1.25, doubled(tries, initial, maximum))


def between_tries(failed: int, initial: float | None = None, maximum: float = MAX_PAUSE_SECONDS) -> float:
    """Seconds that a thread waits before it retries: between half of `doubled` and all of it.

    Args:
        failed: failed tries in a row, from 1.
        initial: maximum seconds of the first pause; None: `RETRY_SECONDS`.
        maximum: maximum seconds of any pause.
    """
    return _between(0.5, 1.0, doubled(failed - 1, RETRY_SECONDS if initial is None else initial, maximum))


def at_least(seconds: float) -> float:
    """The same pause or up to a quarter more, for many callers that wait for one moment."""
    return _between(1.0, 1.25, seconds)


def _between(low: float, high: float, seconds: float) -> float:
    return seconds * random.uniform(low, high)  # noqa: S311 - a pause is no secret
