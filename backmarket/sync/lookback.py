"""How far a sync reaches back for rows that change after their creation without a date that a list can filter by.

A lookback is due when a mark of its rhythm lies between the last walk and now, so it needs no stored state; a hash of
the organization shifts the marks, so that organizations do not all reach back together (docs/decisions/0008).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from zlib import crc32

from backmarket.database import Database
from backmarket.resources import Lookback, Resource
from backmarket.sync.leases import Lease
from backmarket.sync.page_walk import Walk

MARGIN = timedelta(hours=12)
"""Maximum error of a creation time without an offset."""


def new_walk(database: Database, resource: Resource, lease: Lease, *, overlap: float) -> Walk:
    """A new walk: over all rows, or over those modified since the last one and those that a lookback covers.

    Args:
        lease: tells the kind of walk.
        overlap: seconds by which walks overlap.
    """
    since = None
    if lease.kind == "incremental" and lease.watermark is not None:
        since = lease.watermark
        if resource.lookbacks:
            last = since + timedelta(seconds=overlap)
            oldest = reach_back(database, resource, lease.organization_id, last=last, now=lease.taken_at)
            since = min(since, oldest or since)
    return Walk(lease.kind, since, lease.taken_at, lease.requested)


def reach_back(
    database: Database, resource: Resource, organization_id: str, *, last: datetime, now: datetime
) -> datetime | None:
    """Creation time of the oldest row to request again.

    Args:
        resource: with lookbacks.
        last: when the last complete walk began.
        now: by the same clock.

    Returns:
        None if there is no such row.
    """
    due = [lookback for lookback in resource.lookbacks if _due(lookback, organization_id, last, now)]
    if not due:
        return None
    oldest = " UNION ALL ".join(
        f"(SELECT date_creation FROM backmarket.{resource.table}"
        " WHERE organization_id = %(organization)s AND date_delivery IS NULL AND removed_at IS NULL"
        f" AND date_creation >= %(now)s - interval '{lookback.within} s'"
        f" AND {lookback.where} ORDER BY date_creation LIMIT 1)"
        for lookback in due
    )
    with database.transaction() as transaction:
        row = transaction.execute(
            f"SELECT min(date_creation) FROM ({oldest}) AS o", {"organization": organization_id, "now": now}
        ).fetchone()
    return row[0] - MARGIN if row and row[0] else None


def _due(lookback: Lookback, organization_id: str, last: datetime, now: datetime) -> bool:
    if not lookback.every:
        return True
    phase = crc32(organization_id.encode()) / 2**32 * lookback.every
    return (last.timestamp() - phase) // lookback.every != (now.timestamp() - phase) // lookback.every
