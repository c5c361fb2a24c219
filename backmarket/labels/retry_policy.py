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

FEWEST_TRIES = 10
"""Before a label is given up, however long ago it was found: some twelve hours of trying."""


@dataclass(frozen=True, slots=True)
class Again:
    """The label is tried again, after a pause that doubles with each try.

    Attributes:
        first: seconds.
        longest: seconds.
    """

    first: float
    longest: float

    def pause(self, tries: int) -> float:
        """Seconds until the next try, jittered.

        Args:
            tries: in vain before the last one.
        """
        return min(self.longest, self.first * 2.0 ** min(tries, 30)) * random.uniform(0.75, 1.25)  # noqa: S311


@dataclass(frozen=True, slots=True)
class Never:
    """Trying again changes nothing until somebody acts: the label is unavailable."""


@dataclass(frozen=True, slots=True)
class Rest:
    """It is not the label's fault: no try is counted, and all labels of the organization rest.

    Attributes:
        seconds: how long; None: somebody else knows (the limiter, the connection, the bucket's outage).
    """

    seconds: float | None = None


Fate = Again | Never | Rest

_FATES: tuple[tuple[type[BackMarketError], Fate], ...] = (
    (OriginRefused, Never()),
    (TooLarge, Never()),
    (RateLimited, Rest()),
    (Unauthorized, Rest()),
    (BucketUnavailable, Rest()),
    (LimiterUnavailable, Rest(5.0)),
    (FirewallBlocked, Rest(60.0)),
    (SettingsError, Rest(300.0)),
    (NotAPdf, Again(60.0, 6 * HOUR)),
    (TransientError, Again(15.0, HOUR)),
    (BackMarketError, Again(60.0, 6 * HOUR)),  # not there yet (404), not given out (403), any other refusal
)


def fate_of(error: BackMarketError) -> Fate:
    """What becomes of a label that could not be had.

    Args:
        error: why.
    """
    return next(fate for kind, fate in _FATES if isinstance(error, kind))
