"""Stock by SKU: now, and before, as far as the change feed is kept.

No history of the stock is stored beside the feed: a row a day for each SKU would be the largest table. A change of a
listing has its quantity before and after it, so the stock of the past follows from the present one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg.rows import dict_row

from backmarket.database import Transaction
from backmarket.queries.pagination import created
from backmarket.queries.periods import Period

MAX_SKUS = 50
"""Maximum number of SKUs."""


@dataclass(frozen=True, slots=True)
class SkuFigures:
    """A SKU of one organization.

    Attributes:
        units: pieces sold in the span, as in `Counts.units`.
        quantity: of its listing now; None: there is no such listing.
        stock: at the end of each period, or now; None: not known. A change counts from the sync that found it.
    """

    sku: str
    title: str | None
    units: int
    quantity: int | None
    stock: list[int | None]


def get_skus(
    transaction: Transaction,
    organization_id: str,
    sku: str | None,
    periods: Sequence[Period],
    *,
    now: datetime,
    retention_days: int,
) -> list[SkuFigures]:
    """The SKUs sold most in the periods, then those with most stock.

    Args:
        sku: only this one, ignoring case.
        now: the database's time.
        retention_days: days that the change feed is kept; 0: for ever.
    """
    since = now - timedelta(days=retention_days) if retention_days else periods[0].starts_at
    values: dict[str, Any] = {"organization": organization_id, "sku": sku, "limit": MAX_SKUS}
    values |= {"first": periods[0].starts_at, "last": periods[-1].ends_at, "since": since}
    only = "" if sku is None else " AND {0}.sku_key = lower(left(%(sku)s, 200))"
    statement = _SKUS.format(created=created("o"), sold=only.format("l"), listed=only.format("p"))
    with transaction.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(statement.encode(), values).fetchall()
        values["listings"] = [str(each["listing_id"]) for each in found if each["listing_id"]]
        events: dict[str, list[dict[str, Any]]] = {}
        for event in cursor.execute(_EVENTS, values):
            events.setdefault(event["external_id"], []).append(event)
    return [
        SkuFigures(
            each["sku"],
            each["title"],
            each["units"],
            each["quantity"],
            _stock(each, events.get(str(each["listing_id"]), []), periods, now=now, since=since),
        )
        for each in found
    ]


def _stock(
    listing: dict[str, Any],
    events: Sequence[dict[str, Any]],
    periods: Sequence[Period],
    *,
    now: datetime,
    since: datetime,
) -> list[int | None]:
    """The stock at the end of each period.

    Args:
        events: of the listing, the newest first.
        since: from when on all of its events are kept.
    """
    if listing["quantity"] is None:
        return [None] * len(periods)
    quantity, levels = listing["quantity"], list[tuple[datetime, int | None]]()
    for event in events:
        levels.append((event["recorded_at"], quantity))
        quantity = _before(event, quantity)
    levels.append((max(since, listing["first_seen_at"]), quantity))
    return [_at(min(period.ends_at, now), levels) if period.starts_at <= now else None for period in periods]


def _at(moment: datetime, levels: Sequence[tuple[datetime, int | None]]) -> int | None:
    return next((quantity for begins, quantity in levels if begins <= moment), None)


def _before(event: dict[str, Any], quantity: int | None) -> int | None:
    """The quantity before an event."""
    if event["kind"] == "created":
        return None if event["initial"] else 0
    if event["kind"] == "removed":
        return None
    if "quantity" not in event["fields"]:
        return quantity
    told = event["quantities"]
    return told[0] if told and isinstance(told[0], int) else None


_SKUS = """
WITH sold AS (
    SELECT l.sku_key, sum(COALESCE(l.quantity, 1)) AS units
    FROM backmarket.orders o CROSS JOIN LATERAL (
        SELECT sku_key, quantity FROM backmarket.orderlines
        WHERE organization_id = o.organization_id AND order_id = o.order_id AND removed_at IS NULL
          AND state IN (1, 2, 3) OFFSET 0
    ) AS l
    WHERE o.organization_id = %(organization)s AND o.removed_at IS NULL AND {created} >= %(first)s
      AND {created} < %(last)s AND l.sku_key <> ''{sold}
    GROUP BY 1
), listed AS (
    SELECT p.sku_key, p.sku, p.title, p.listing_id, p.quantity, p.first_seen_at
    FROM backmarket.listings p
    WHERE p.organization_id = %(organization)s AND p.removed_at IS NULL AND p.sku_key <> ''{listed}
), most AS (
    SELECT sku_key, p.sku, p.title, COALESCE(s.units, 0) AS units, p.listing_id, p.quantity, p.first_seen_at
    FROM sold s FULL JOIN listed p USING (sku_key)
    ORDER BY COALESCE(s.units, 0) DESC, p.quantity DESC NULLS LAST, sku_key LIMIT %(limit)s
)
SELECT COALESCE(m.sku, l.listing, m.sku_key) AS sku, COALESCE(m.title, l.product) AS title, m.units, m.listing_id,
    m.quantity, m.first_seen_at
FROM most m LEFT JOIN LATERAL (
    SELECT l.listing, l.product FROM backmarket.orderlines l
    WHERE m.listing_id IS NULL AND l.organization_id = %(organization)s AND l.sku_key = m.sku_key LIMIT 1
) AS l ON true
ORDER BY m.units DESC, m.quantity DESC NULLS LAST, m.sku_key
"""

_EVENTS = """
SELECT external_id, kind, fields, initial, recorded_at, field_values -> 'quantity' AS quantities
FROM backmarket.changes
WHERE organization_id = %(organization)s AND external_id = ANY(%(listings)s) AND resource = 'listings'
  AND market = '' AND recorded_at >= %(since)s
ORDER BY transaction_id DESC, id DESC
"""
