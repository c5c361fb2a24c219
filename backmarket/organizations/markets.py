"""The further markets of a connection: which they are, their syncs, and leaving one."""

from __future__ import annotations

from collections.abc import Sequence

from backmarket.connections import Account
from backmarket.connections.health import DUE_IN_TURN
from backmarket.database import Transaction


def chosen(account: Account, region: str, stored: Sequence[str]) -> list[str]:
    """The further markets of a connection: as given; else as stored, if its region stays, without its own locale.

    Args:
        account: checked.
        region: of the stored connection.
        stored: its further markets.
    """
    if account.markets is not None:
        return [*account.markets]
    return [market for market in stored if market != account.locale] if region == account.region else []


def insert_states(transaction: Transaction, organization_id: str) -> None:
    """Insert the syncs that a connection lacks: of new resources and new markets. They are due at once, in turn."""
    transaction.execute(_INSERT_STATES, (organization_id,))


def leave(transaction: Transaction, organization_id: str, kept: Sequence[str]) -> None:
    """Discard the rows and the syncs of all further markets but these. Their running slices write nothing more."""
    values = {"organization": organization_id, "kept": [*kept]}
    for statement in (_TELL, _DELETE_ROWS, _DELETE_STATES):
        transaction.execute(statement, values)


def tell_left(transaction: Transaction, organization_id: str) -> None:
    """Tell the readers of the change feed that the rows of all further markets are gone."""
    transaction.execute(_TELL, {"organization": organization_id, "kept": []})


_TELL = """
INSERT INTO backmarket.changes (organization_id, resource, external_id, kind, market)
SELECT organization_id, 'listings', listing_id::text, 'removed', market FROM backmarket.listing_markets
WHERE organization_id = %(organization)s AND NOT market = ANY(%(kept)s::text[]) AND removed_at IS NULL
"""

_DELETE_ROWS = """
DELETE FROM backmarket.listing_markets WHERE organization_id = %(organization)s AND NOT market = ANY(%(kept)s::text[])
"""

_DELETE_STATES = """
DELETE FROM backmarket.sync_state
WHERE organization_id = %(organization)s AND market <> '' AND NOT market = ANY(%(kept)s::text[])
"""

# The numbers of leases begin with that of the transaction, which never repeats: so they grow even where a connection or
# a market is removed and added again, and leases of the removed one stay void. A further market begins with the
# organization's own schedule of the listings.
_INSERT_STATES = f"""
INSERT INTO backmarket.sync_state (organization_id, resource, market, lease_number, next_due_at, enabled,
    interval_seconds, full_interval_seconds)
SELECT c.organization_id, resource, named.market, pg_current_xact_id()::text::bigint, {DUE_IN_TURN},
    COALESCE(own.enabled, true), own.interval_seconds, own.full_interval_seconds
FROM backmarket.connections c CROSS JOIN backmarket.schedule d
CROSS JOIN LATERAL unnest(CASE WHEN resource = 'listings' THEN ''::text || c.markets ELSE ARRAY[''] END)
    AS named (market)
LEFT JOIN LATERAL (
    SELECT s.enabled, s.interval_seconds, s.full_interval_seconds FROM backmarket.sync_state s
    WHERE named.market <> '' AND s.organization_id = c.organization_id AND s.resource = d.resource AND s.market = ''
) AS own ON true
WHERE c.organization_id = %s ON CONFLICT DO NOTHING
"""
