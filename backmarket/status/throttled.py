"""Throttled work: syncs and writes that wait for the rate limit, and bulk jobs that wait for the quota of SKU lines."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from psycopg.rows import class_row

from backmarket.database import Database
from backmarket.queries.pagination import check_limit


@dataclass(frozen=True, slots=True)
class Throttled:
    """Work that waits for a limit.

    Attributes:
        environment: the connection's, `production` or `sandbox`.
        what: a `sync` or the `writes`, which wait for requests, or a `bulk` job, which waits for SKU lines.
        resource: of a sync.
        job_id: of a bulk job.
        until: when it is retried; None: not known.
        pending: remaining rows of the walk, writes, or lines; None: not known.
        market: of a sync of listings: a further market of the connection; empty: its locale.
    """

    organization_id: str
    environment: str
    what: Literal["sync", "writes", "bulk"]
    resource: str | None
    job_id: int | None
    until: datetime | None
    pending: int | None
    market: str = ""


def get_throttled(database: Database, organization_id: str | None = None, *, limit: int = 100) -> list[Throttled]:
    """Work that waits for a limit, the soonest first; one statement.

    Args:
        organization_id: only of this one.
        limit: 1 to 1000.

    Raises:
        InvalidArgument: if the limit is invalid.
    """
    check_limit(limit)
    of = "true" if organization_id is None else "{}.organization_id = %(organization)s"
    statement = _THROTTLED.format(syncs=of.format("s"), writes=of.format("w"), bulk=of.format("j"))
    with database.transaction() as transaction, transaction.cursor(row_factory=class_row(Throttled)) as cursor:
        return cursor.execute(statement.encode(), {"organization": organization_id, "limit": limit}).fetchall()


# A sync that is overdue, or in the middle of a walk, without a failure, waits for the limiter; one that never began
# is due in its slice.
_THROTTLED = """
SELECT waiting.*, (SELECT c.environment FROM backmarket.connections c WHERE c.organization_id = waiting.organization_id)
FROM (
    SELECT s.organization_id, 'sync' AS what, s.resource, NULL::bigint AS job_id, s.next_due_at AS until,
        (SELECT max(greatest(expected - (next_page - 1) * page_size, 0)) FROM backmarket.walks w
            WHERE w.organization_id = s.organization_id AND w.resource = s.resource AND w.market = s.market)
            AS pending, s.market
    FROM backmarket.sync_state s JOIN backmarket.connections c USING (organization_id)
    WHERE {syncs} AND s.next_due_at > now() AND s.lease_until IS NULL AND (s.failures = 0 OR s.error_code IS NULL)
      AND s.last_started_at IS NOT NULL AND s.availability = 'available'
      AND c.enabled AND c.api_key IS NOT NULL AND c.unauthorized_at IS NULL
      AND (s.sync_due_at <= now() OR EXISTS (SELECT FROM backmarket.walks w
            WHERE w.organization_id = s.organization_id AND w.resource = s.resource AND w.market = s.market))
    UNION ALL
    SELECT w.organization_id, 'writes', NULL, NULL, w.due_at, held.count, ''
    FROM backmarket.work w CROSS JOIN LATERAL (
        SELECT count(*) FROM backmarket.api_writes a
        WHERE a.organization_id = w.organization_id AND a.state = 'pending' AND a.due_at <= now()
    ) AS held
    WHERE {writes} AND w.kind = 'writes' AND w.due_at > now() AND w.due_at < 'infinity' AND held.count > 0
    UNION ALL
    SELECT j.organization_id, 'bulk', NULL, j.id, j.waits_until, (
        SELECT sum(p.lines) FROM backmarket.bulk_parts p
        WHERE p.organization_id = j.organization_id AND p.job_id = j.id AND p.state = 'pending'), ''
    FROM backmarket.bulk_jobs j
    WHERE {bulk} AND j.ended_at IS NULL AND j.state = 'waiting_for_quota'
) AS waiting ORDER BY until NULLS LAST, organization_id, resource, market, job_id LIMIT %(limit)s
"""
