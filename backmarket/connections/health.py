"""Note on a connection what requests find out: its key is refused, its runs fail, all is well again."""

from __future__ import annotations

from collections.abc import Sequence

from backmarket.database import Transaction
from backmarket.errors import BackMarketError

NO_ERROR = (
    "last_error_at = NULL, last_error_code = NULL, last_error = NULL, last_error_request_id = NULL,"
    " last_error_cf_ray = NULL"
)

DUE_IN_TURN = "now() + CASE WHEN resource = 'orders' THEN interval '0' ELSE interval '2 s' END"
"""When the syncs of a new key begin, orders first: a refused key costs one request."""

SPREAD = "(hashtextextended(c.account, 0) & 1023) / 4096.0"
"""Share of a pause, up to a quarter, by which an account's probes come later than others'."""

REFUSED_PAUSE_SECONDS = 30.0
"""Seconds that an account pauses after the API refused its key; a 401 after that confirms the refusal."""

MAY_SEND = "c.enabled AND c.api_key IS NOT NULL AND c.refused_at IS NULL"
"""Whether workers may send requests for a connection `c`."""

SAME_ACCOUNT = """
SELECT c.organization_id, c.refused_at, c.unauthorized_at, c.next_probe_at
FROM backmarket.connections own JOIN backmarket.connections c ON c.account = own.account
    AND (c.environment, c.region, c.base_url) IS NOT DISTINCT FROM (own.environment, own.region, own.base_url)
WHERE own.organization_id = %(organization)s AND own.generation = %(generation)s
ORDER BY c.organization_id FOR NO KEY UPDATE OF c
"""
"""The connections of one account, locked in one order. The same key at another host counts as another account: it may
well be valid there."""


def mark_unauthorized(transaction: Transaction, organization_id: str, generation: int, error: BackMarketError) -> bool:
    """Note a 401; not if the key changed in the meantime.

    All connections of the account pause at once. They are unauthorized if the first 401 came at least
    `REFUSED_PAUSE_SECONDS` earlier and no request was accepted since.

    Args:
        transaction: may have locked states of the organization's syncs.
        generation: of its connection, at the time of the request.
        error: the 401.

    Returns:
        Whether it was noted.
    """
    values = {"organization": organization_id, "generation": generation, "pause": REFUSED_PAUSE_SECONDS}
    values |= {"code": error.code, "message": error.message, "request_id": error.request_id, "cf_ray": error.cf_ray}
    return transaction.execute(_REFUSE, values).rowcount > 0


def mark_authorized(transaction: Transaction, organization_id: str, generation: int) -> bool:
    """Note that the API accepts the account's key, so that its requests continue, unless the key has changed since.

    Returns:
        Whether it had been refused.
    """
    values = {"organization": organization_id, "generation": generation}
    return transaction.execute(_ACCEPT, values).rowcount > 0


def mark_error(transaction: Transaction, organization_id: str, error: BackMarketError) -> None:
    """Note on the connection why a run failed, where the account's owner looks first."""
    transaction.execute(
        "UPDATE backmarket.connections SET last_error_at = now(), last_error_code = %s, last_error = %s,"
        " last_error_request_id = %s, last_error_cf_ray = %s WHERE organization_id = %s",
        (error.code, error.message, error.request_id, error.cf_ray, organization_id),
    )


def clear_error(transaction: Transaction, organization_id: str) -> None:
    """Clear the error, if no other resource is failing; a row without an error is not written."""
    transaction.execute(
        f"UPDATE backmarket.connections SET {NO_ERROR}"
        " WHERE organization_id = %(organization)s AND last_error_at IS NOT NULL AND NOT EXISTS ("
        " SELECT FROM backmarket.sync_state WHERE organization_id = %(organization)s AND failing_since IS NOT NULL)",
        {"organization": organization_id},
    )


def lock(transaction: Transaction, organization_id: str) -> None:
    """Lock out other changes of this connection, and wait for running batches to commit.

    All code locks in this order: the organization, though it may have no row yet; its states; its connection. A sync
    begins with its state.
    """
    transaction.execute("SELECT backmarket.take_lock('connections', %s)", (organization_id,))
    transaction.execute(
        "SELECT FROM backmarket.sync_state WHERE organization_id = %s ORDER BY resource, market FOR UPDATE",
        (organization_id,),
    )


def lock_new(transaction: Transaction, organization_ids: Sequence[str]) -> None:
    """Lock out other changes of connections that are about to be added, in the order of the locks' rows."""
    transaction.execute(_LOCK_NEW, ([*organization_ids],))


def reset_backoff(transaction: Transaction, organization_id: str) -> None:
    """Clear the failures of all syncs, and make them due at once, orders first."""
    transaction.execute(
        f"UPDATE backmarket.sync_state SET next_due_at = {DUE_IN_TURN}, nudged_until = NULL, failing_since = NULL,"
        " failures = 0, error_code = NULL, error = NULL, error_request_id = NULL, error_cf_ray = NULL,"
        " availability = 'available'"
        " WHERE organization_id = %s",
        (organization_id,),
    )


_LOCK_NEW = """
SELECT backmarket.take_lock('connections', name) FROM (
    SELECT DISTINCT ON (slot) name, slot
    FROM (SELECT name, backmarket.lock_slot(name) AS slot FROM unnest(%s::text[]) AS name) AS named ORDER BY slot
) AS wanted
"""

_REFUSE = f"""
WITH same AS MATERIALIZED ({SAME_ACCOUNT}), before AS (
    SELECT min(refused_at) AS refused_at, min(unauthorized_at) AS unauthorized_at, max(next_probe_at) AS next_probe_at,
        min(refused_at) <= now() - make_interval(secs => %(pause)s) AS again
    FROM same
)
UPDATE backmarket.connections AS c
SET refused_at = COALESCE(b.refused_at, now()),
    unauthorized_at = COALESCE(b.unauthorized_at, CASE WHEN b.again THEN now() END),
    next_probe_at = CASE WHEN b.unauthorized_at IS NOT NULL THEN b.next_probe_at
        WHEN b.again THEN now() + interval '1 hour' * (1 + {SPREAD})
        ELSE COALESCE(b.next_probe_at, now() + make_interval(secs => %(pause)s)) END,
    last_error_at = now(), last_error_code = %(code)s, last_error = %(message)s, last_error_request_id = %(request_id)s,
    last_error_cf_ray = %(cf_ray)s
FROM before b, same WHERE c.organization_id = same.organization_id
"""

_ACCEPT = f"""
WITH same AS MATERIALIZED ({SAME_ACCOUNT})
UPDATE backmarket.connections AS c
SET refused_at = NULL, unauthorized_at = NULL, next_probe_at = NULL, probed_at = NULL, {NO_ERROR}
FROM same WHERE c.organization_id = same.organization_id AND c.refused_at IS NOT NULL
"""
