"""Probes of refused keys: one light request for each account shows whether the API accepts its key again."""

from __future__ import annotations

from time import monotonic

from backmarket import connections
from backmarket.connections.health import REFUSED_PAUSE_SECONDS, SAME_ACCOUNT, SPREAD
from backmarket.errors import BackMarketError, LimiterUnavailable, RateLimited, Unauthorized
from backmarket.observability.logs import Logger, bound
from backmarket.organizations.check import check_connection
from backmarket.services import Services

APART_SECONDS = 10.0
"""Seconds between two probes that are refused: many 401s from one address look like an attack. A probe that is accepted
delays none, so that all accounts are soon back after an outage that refused them all."""

MAX_SLOT_SECONDS = 2.0
"""Seconds that a probe waits for the rate limit."""

log = Logger(__name__)


def probe_due(services: Services, *, seconds: float) -> int:
    """Probe the accounts that are due, one after the other.

    The first probe of an account follows half a minute after a 401: another 401 makes its connections unauthorized, any
    other answer lets its requests continue. The next probes come after an hour, doubling to a day, for 30 days; then
    only an answer of 2xx lets the requests continue.

    Safe to run at once in several processes: a claimed account is due again later.

    Args:
        services: of this process.
        seconds: until the last probe begins.

    Returns:
        Number of accounts probed.
    """
    until, probed = monotonic() + seconds, 0
    while monotonic() < until and not services.stopping.is_set() and (claimed := _claim(services)) is not None:
        _probe(services, *claimed)
        probed += 1
    return probed


def _claim(services: Services) -> tuple[str, int, bool] | None:
    """A due account: an organization that has its key, the generation, and whether the refusal is confirmed."""
    with services.database.transaction() as transaction:
        transaction.execute("SELECT backmarket.take_lock('probes')")
        due = transaction.execute(_DUE, {"apart": APART_SECONDS}).fetchone()
        if due is None:
            return None
        values = {"organization": due[0], "generation": due[1], "pause": REFUSED_PAUSE_SECONDS}
        transaction.execute(_POSTPONE, values)
        return due[0], due[1], due[2]


def _probe(services: Services, organization_id: str, generation: int, confirmed: bool) -> None:
    try:
        error: BackMarketError | None = check_connection(services, organization_id, timeout=MAX_SLOT_SECONDS).error
    except BackMarketError as caught:  # disabled or changed meanwhile, or this worker cannot decrypt the key
        error = caught
    with bound(organization=organization_id):
        log.info("probe.done", code=error.code if error else None, confirmed=confirmed)
    if error is None or isinstance(error, Unauthorized):
        return  # the check has noted it
    with services.database.transaction() as transaction:
        if confirmed or isinstance(error, LimiterUnavailable | RateLimited):
            transaction.execute(_SOON, {"organization": organization_id, "generation": generation})
        else:
            connections.mark_authorized(transaction, organization_id, generation)


# Only keys that are refused for sure keep each other apart: a paused one that is probed often holds up none of them.
# One statement's `now()` is all statements' of the transaction.
_DUE = """
SELECT organization_id, generation, unauthorized_at IS NOT NULL FROM backmarket.connections
WHERE refused_at IS NOT NULL AND next_probe_at <= now() AND enabled AND api_key IS NOT NULL
  AND (unauthorized_at IS NULL OR NOT EXISTS (
    SELECT FROM backmarket.connections
    WHERE unauthorized_at IS NOT NULL AND probed_at > now() - make_interval(secs => %(apart)s)
  ))
ORDER BY next_probe_at, organization_id LIMIT 1
"""

# A pause is as long as the refusal has lasted: it doubles. After 30 days there is no next probe.
_POSTPONE = f"""
WITH same AS MATERIALIZED ({SAME_ACCOUNT})
UPDATE backmarket.connections AS c SET probed_at = now(), next_probe_at = CASE
    WHEN c.unauthorized_at IS NULL THEN
        now() + LEAST(interval '1 hour', now() - c.refused_at + make_interval(secs => %(pause)s))
    WHEN now() - c.unauthorized_at < interval '29 days' THEN
        now() + LEAST(interval '1 day', (now() - c.unauthorized_at + interval '1 hour') * (1 + {SPREAD}))
    END
FROM same WHERE c.organization_id = same.organization_id
"""

_SOON = f"""
WITH same AS MATERIALIZED ({SAME_ACCOUNT})
UPDATE backmarket.connections AS c SET next_probe_at = LEAST(c.next_probe_at, now() + interval '1 hour')
FROM same WHERE c.organization_id = same.organization_id AND c.next_probe_at IS NOT NULL
"""
