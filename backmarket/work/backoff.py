"""Pauses of due rows before they are retried; the formulas stand in limits/backoff.py."""

from __future__ import annotations

from backmarket.connections.health import REFUSED_PAUSE_SECONDS
from backmarket.errors import BackMarketError, FirewallBlocked, Forbidden, NotAvailable, RateLimited, Unauthorized
from backmarket.limits.backoff import growing

FIREWALL_SECONDS = 60.0
"""Minimum seconds that an organization's writes pause after the firewall in front of the API refused one."""

MAX_TRIES = 30
"""Failed tries in a row, over about a day, after which what cannot be sent is given up, with the last error."""

MAX_LOOKS = 20
"""Failed tries in a row to read an outcome back, over about half a day, after which only a person can settle it."""

SYNC_SECONDS = 15.0
"""Minimum seconds that a failed sync pauses."""

FORBIDDEN_SECONDS = 60.0
"""Minimum seconds after a 403 for a resource that has worked before."""

BLOCKS_PAUSED = 9
"""A sync that fails by 429s pauses for at least so many times the seconds that each blocks its account for."""

DAY_SECONDS, WEEK_SECONDS = 86400.0, 7 * 86400.0
"""A resource that is not available is retried daily; so is one that has been forbidden for a week."""


def of_sync(error: BackMarketError, failures: int, *, failing_for: float = 0.0) -> float:
    """Seconds until a failed sync is retried.

    Args:
        error: why it failed.
        failures: failed runs in a row before this one.
        failing_for: seconds since the first of them.
    """
    if isinstance(error, NotAvailable):
        return DAY_SECONDS
    if isinstance(error, Unauthorized):
        return growing(failures, REFUSED_PAUSE_SECONDS)  # a page may be refused for ever, and the key accepted
    if isinstance(error, Forbidden):
        return DAY_SECONDS if failing_for >= WEEK_SECONDS else growing(failures, FORBIDDEN_SECONDS)
    if isinstance(error, RateLimited):
        return max(growing(failures, SYNC_SECONDS), BLOCKS_PAUSED * (error.retry_after or 0.0))
    return growing(failures, FIREWALL_SECONDS if isinstance(error, FirewallBlocked) else SYNC_SECONDS)
