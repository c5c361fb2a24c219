"""What a failure means for a label: one table, by the error's type."""

from __future__ import annotations

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
)
from backmarket.limits import backoff

HOUR = 3600.0

MIN_TRIES = 10
"""Minimum tries before a label is given up, however old it is: some twelve hours."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Retry the label, after a pause that doubles with each try.

    Attributes:
        initial_seconds: first pause.
        max_seconds: longest pause.
    """

    initial_seconds: float
    max_seconds: float

    def pause(self, tries: int) -> float:
        """Seconds until the retry, jittered.

        Args:
            tries: failed tries before the last one.
        """
        return backoff.growing(tries, self.initial_seconds, self.max_seconds)


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Retrying is useless until a person acts: the label is unavailable."""


@dataclass(frozen=True, slots=True)
class PauseAll:
    """All labels of the organization pause.

    Attributes:
        seconds: of the pause; None: the limiter or the bucket's circuit breaker decides.
        retry: how the label itself is retried, as its address may be the cause; None: no try is counted, and it goes
            behind the labels that are due.
    """

    seconds: float | None = None
    retry: Retry | None = None


RetryDecision = Retry | GiveUp | PauseAll

_DECISIONS: tuple[tuple[type[BackMarketError], RetryDecision], ...] = (
    (OriginRefused, GiveUp()),
    (TooLarge, GiveUp()),
    (RateLimited, PauseAll(retry=Retry(15.0, HOUR))),
    (BucketUnavailable, PauseAll()),
    (LimiterUnavailable, PauseAll(5.0)),
    (FirewallBlocked, PauseAll(60.0, Retry(60.0, HOUR))),
    (SettingsError, PauseAll(300.0)),
    (NotAPdf, Retry(60.0, 6 * HOUR)),
    (TransientError, Retry(15.0, HOUR)),
    (BackMarketError, Retry(60.0, 6 * HOUR)),  # not there (404), not permitted (401, 403), any other
)


def retry_decision(error: BackMarketError) -> RetryDecision:
    """How to continue with a label that could not be fetched."""
    return next(decision for kind, decision in _DECISIONS if isinstance(error, kind))
