"""What a failure means for a label: one table, by the error's type."""

from __future__ import annotations

import random
from dataclasses import dataclass

from backmarket.errors import (
    BackMarketError,
    BucketUnavailable,
    FirewallBlocked,
    LimiterUnavailable,
    NotAPdf,
    OriginRefused,
    RateLimited,
    SettingsError,
    TooLarge,
    TransientError,
    Unauthorized,
)

HOUR = 3600.0

MIN_TRIES = 10
"""Before a label is given up, however long ago it was found: some twelve hours of trying."""


@dataclass(frozen=True, slots=True)
class Retry:
    """The label is tried again, after a pause that doubles with each try.

    Attributes:
        initial_seconds: the first pause.
        max_seconds: the longest pause.
    """

    initial_seconds: float
    max_seconds: float

    def pause(self, tries: int) -> float:
        """Seconds until the next try, jittered.

        Args:
            tries: in vain before the last one.
        """
        return min(self.max_seconds, self.initial_seconds * 2.0 ** min(tries, 30)) * random.uniform(0.75, 1.25)  # noqa: S311


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Trying again changes nothing until somebody acts: the label is unavailable."""


@dataclass(frozen=True, slots=True)
class PauseAll:
    """It is not the label's fault: no try is counted, and all labels of the organization rest.

    Attributes:
        seconds: how long; None: the limiter, the connection or the bucket's circuit breaker decides.
    """

    seconds: float | None = None


RetryDecision = Retry | GiveUp | PauseAll

_DECISIONS: tuple[tuple[type[BackMarketError], RetryDecision], ...] = (
    (OriginRefused, GiveUp()),
    (TooLarge, GiveUp()),
    (RateLimited, PauseAll()),
    (Unauthorized, PauseAll()),
    (BucketUnavailable, PauseAll()),
    (LimiterUnavailable, PauseAll(5.0)),
    (FirewallBlocked, PauseAll(60.0)),
    (SettingsError, PauseAll(300.0)),
    (NotAPdf, Retry(60.0, 6 * HOUR)),
    (TransientError, Retry(15.0, HOUR)),
    (BackMarketError, Retry(60.0, 6 * HOUR)),  # not there yet (404), not given out (403), any other refusal
)


def retry_decision(error: BackMarketError) -> RetryDecision:
    """What to do about a label that could not be fetched.

    Args:
        error: why.
    """
    return next(decision for kind, decision in _DECISIONS if isinstance(error, kind))
