"""How long a failed sync pauses: by its error, and by how often it failed."""

from __future__ import annotations

import pytest

from backmarket import errors
from backmarket.work.backoff import DAY_SECONDS, WEEK_SECONDS, of_sync


@pytest.mark.parametrize(
    ("error", "failures", "failing_for", "seconds"),
    [
        (errors.ServerError("x"), 0, 0.0, 15),
        (errors.ServerError("x"), 3, 0.0, 120),
        (errors.ServerError("x"), 30, 0.0, 3600),
        (errors.FirewallBlocked("x"), 0, 0.0, 60),
        (errors.Unauthorized("x"), 0, 0.0, 30),
        (errors.Unauthorized("x"), 30, 0.0, 3600),  # one page, while the key is accepted elsewhere
        (errors.Forbidden("x"), 0, 0.0, 60),
        (errors.Forbidden("x"), 200, WEEK_SECONDS, DAY_SECONDS),
        (errors.RateLimited("x"), 2, 0.0, 60),
        (errors.RateLimited("x", retry_after=3600.0), 2, 0.0, 9 * 3600.0),  # or the account would be blocked for ever
        (errors.NotAvailable("x"), 0, 0.0, DAY_SECONDS),
    ],
)
def test_a_failed_sync_pauses(error: errors.BackMarketError, failures: int, failing_for: float, seconds: float) -> None:
    assert of_sync(error, failures, failing_for=failing_for) == pytest.approx(seconds, rel=0.25)
