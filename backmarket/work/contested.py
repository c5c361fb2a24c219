"""Which SKUs other bulk parts and writes set, too: what is stored of them, or read back, proves nothing.

Organizations that share an account share its listings, so their parts and writes count as well. A write in another
market counts only if it sets the quantity, which is common to all; of a part it is not known which columns it sets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from backmarket.database import Transaction


def may_be_stale(
    transaction: Transaction,
    organization_id: str,
    skus: Sequence[str],
    *,
    unsent: bool = False,
    part: tuple[int, int] | None = None,
    write: int | None = None,
    locale: str | None = None,
    market: str = "",
) -> set[str]:
    """The SKUs whose stored listings may not show what another part or write did, or still does.

    Such a part or write is open, or it ended after the last finished walk of the listings had begun.

    Args:
        transaction: an open one.
        organization_id: the organization.
        skus: the SKUs in question.
        unsent: count what is not sent yet, too.
        part: the caller's own part: job and number.
        write: the caller's own write.
        locale: the market in question; None: the connection's.
        market: whose stored listings are meant: a further market of the connection; empty: that of its locale.
    """
    values = {"since": None, "unsent": unsent, "stored": True, "locale": locale, "market": market}
    return _contested(transaction, organization_id, skus, values, part, write)


def set_since(
    transaction: Transaction,
    organization_id: str,
    skus: Sequence[str],
    since: datetime | None,
    *,
    part: tuple[int, int] | None = None,
    write: int | None = None,
    locale: str | None = None,
) -> set[str]:
    """The SKUs that another part or write set after a moment, or may still set.

    Args:
        transaction: an open one.
        organization_id: the organization.
        skus: the SKUs in question.
        since: by PostgreSQL's clock; None: as `may_be_stale`.
        part: the caller's own part: job and number.
        write: the caller's own write.
        locale: the market in question; None: the connection's.
    """
    values = {"since": since, "unsent": False, "stored": since is None, "locale": locale, "market": ""}
    return _contested(transaction, organization_id, skus, values, part, write)


def _contested(
    transaction: Transaction,
    organization_id: str,
    skus: Sequence[str],
    values: Mapping[str, datetime | bool | str | None],
    part: tuple[int, int] | None,
    write: int | None,
) -> set[str]:
    if not skus:
        return set()
    job, number = part or (None, None)
    own = {"organization": organization_id, "skus": [*skus], "job": job, "number": number, "write": write}
    statement = _CONTESTED.format(**(_IN_A_MARKET if values["market"] else _IN_ITS_LOCALE))
    return {sku for (sku,) in transaction.execute(statement, own | dict(values))}


# A part of an older version does not say which SKUs it sets: it may set any.
_CONTESTED = """
WITH wanted AS MATERIALIZED (
    SELECT sku, backmarket.sku_hash(sku) AS hash FROM unnest(%(skus)s::text[]) AS sku
), moment AS MATERIALIZED (
    SELECT COALESCE(%(since)s::timestamptz, (
        SELECT min(COALESCE(last_walk_started_at, '-infinity')) FROM backmarket.sync_state
        WHERE organization_id = %(organization)s AND resource = 'listings' AND market IN ('', %(market)s)
    ), '-infinity') AS since, COALESCE(%(locale)s::text, (
        SELECT locale FROM backmarket.connections WHERE organization_id = %(organization)s
    )) AS locale
), sharing AS MATERIALIZED (
    SELECT DISTINCT other.organization_id
    FROM backmarket.connections own
    JOIN backmarket.connections other ON other.account = own.account OR other.organization_id = own.organization_id
    WHERE own.organization_id = %(organization)s
), parts AS MATERIALIZED (
    SELECT p.sku_hashes FROM backmarket.bulk_parts p JOIN sharing USING (organization_id) CROSS JOIN moment
    WHERE (p.sent > 0 OR %(unsent)s AND p.state = 'pending') AND (p.ended_at IS NULL OR p.ended_at >= moment.since)
      AND (p.organization_id, p.job_id, p.number)
        IS DISTINCT FROM (%(organization)s, %(job)s::bigint, %(number)s::integer)
), writes AS MATERIALIZED (
    SELECT backmarket.sku_hash(l.sku) AS hash
    FROM backmarket.api_writes w JOIN sharing USING (organization_id) CROSS JOIN moment
    JOIN backmarket.listings l ON l.organization_id = w.organization_id
      AND l.listing_id = CASE WHEN w.kind = 'update_listing' THEN w.object_id::uuid END {stored_row}
    WHERE w.id IS DISTINCT FROM %(write)s::bigint AND (w.state IN ('sending', 'unknown')
        OR w.state = 'pending' AND (%(unsent)s OR w.sent > 0)
        OR w.state = 'succeeded' AND w.settled_at >= moment.since
          AND NOT (%(stored)s AND {stored_at} >= w.settled_at AND l.organization_id = %(organization)s))
      AND (w.locale = moment.locale OR w.request->'changes' ? 'quantity')
)
SELECT sku FROM wanted
WHERE hash IN (SELECT unnest(sku_hashes) FROM parts) OR hash IN (SELECT hash FROM writes)
   OR EXISTS (SELECT FROM parts WHERE sku_hashes IS NULL)
"""

_IN_ITS_LOCALE = {"stored_row": "", "stored_at": "l.last_synced_at"}
_IN_A_MARKET = {
    "stored_row": "LEFT JOIN backmarket.listing_markets m ON m.organization_id = l.organization_id"
    " AND m.market = %(market)s AND m.listing_id = l.listing_id",
    "stored_at": "COALESCE(m.last_synced_at, '-infinity')",
}
