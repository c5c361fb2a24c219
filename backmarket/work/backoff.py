"""Pauses before retries."""

from __future__ import annotations

import random

from backmarket.errors import BackMarketError, FirewallBlocked, Forbidden, NotAvailable

MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 2.0, 3600.0
"""Minimum and maximum seconds before a retry; pauses grow with each try, and are jittered."""

FIREWALL_SECONDS = 60.0
"""Minimum seconds that an organization's writes pause after the firewall in front of the API refused one."""

MAX_TRIES = 30
"""Failed tries in a row, over about a day, after which what can't be sent is given up, with the last error."""

MAX_LOOKS = 20
"""Failed tries in a row to read an outcome back, over about half a day, after which only a person can settle it."""

SYNC_SECONDS = 15.0
"""Minimum seconds that a failed sync pauses."""

FORBIDDEN_SECONDS = 60.0
"""Minimum seconds after a 403 for a resource that has worked before."""

DAY_SECONDS, WEEK_SECONDS = 86400.0, 7 * 86400.0
"""A resource that is not available is retried daily; so is one that has been forbidden for a week."""


def growing(tries: int, minimum: float = MIN_PAUSE_SECONDS) -> float:
    """Seconds before the next try, doubled with each failed try in a row."""
    return float(min(MAX_PAUSE_SECONDS, minimum * 2 ** min(tries, 12)) * random.uniform(0.75, 1.25))  # noqa: S311


def of_sync(error: BackMarketError, failures: int, *, failing_for: float = 0.0) -> float:
    """Seconds until a failed sync is retried.

    Args:
        error: why it failed.
        failures: failed runs in a row before this one.
        failing_for: seconds since the first of them.
    """
    if isinstance(error, NotAvailable):
        return DAY_SECONDS
    if isinstance(error, Forbidden):
        return DAY_SECONDS if failing_for >= WEEK_SECONDS else growing(failures, FORBIDDEN_SECONDS)
    return growing(failures, FIREWALL_SECONDS if isinstance(error, FirewallBlocked) else SYNC_SECONDS)
