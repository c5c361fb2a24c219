"""The inbox: everything that goes on only once a person has decided or done something."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from psycopg.rows import class_row

from backmarket.database import Database
from backmarket.queries.pagination import check_limit


class InboxKind(StrEnum):
    """What waits for a person."""

    KEY_REFUSED = "key_refused"
    """Back Market refused the key twice: nothing is sent until there is a new one, or it is tried again."""
    WRITE = "write"
    """It is not known whether a change arrived, and reading it back cannot tell."""
    BULK_PART = "bulk_part"
    """The same for a part of a bulk file."""
    LABELS = "labels"
    """Labels of parcels under way were given up."""
    ROWS_MISSING = "rows_missing"
    """Stored rows are not listed any more: too many to be taken for gone."""
    ROWS_REJECTED = "rows_rejected"
    """Rows of the API could not be stored."""
    WEBHOOK = "webhook"
    """A webhook was disabled, as nothing succeeded for days or its receiver is gone: nothing is sent to it."""


@dataclass(frozen=True, slots=True)
class InboxItem:
    """Something that waits for a person.

    Attributes:
        kind: see `InboxKind`.
        organization_id: the organization's id; None: of a webhook that gets the events of all.
        environment: the connection's, `production` or `sandbox`; None: as above.
        since: since when it waits, as far as that is known.
        count: number of labels, lines or rows; 1 for a write and a key.
        resource: of a sync: which one.
        write_id: of a write.
        job_id: of a bulk part; so is `part`.
        endpoint_id: of a webhook.
        error: why it waits, as the worker noted it.
        market: of a sync of listings: a further market of the connection; empty: its locale.
    """

    kind: InboxKind
    organization_id: str | None
    environment: str | None
    since: datetime | None
    count: int
    resource: str | None
    write_id: int | None
    job_id: int | None
    part: int | None
    endpoint_id: int | None
    error: str | None
    market: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", InboxKind(self.kind))


def get_inbox(database: Database, organization_id: str | None, *, limit: int) -> list[InboxItem]:
    """What waits, refused keys first, then the longest waiting first; see `BackMarket.get_inbox`."""
    check_limit(limit)
    statement = f"{ITEMS} SELECT * FROM items {_of(organization_id)} {_ORDER} LIMIT %(limit)s"
    values = {"organization": organization_id, "limit": limit}
    with database.transaction() as transaction, transaction.cursor(row_factory=class_row(InboxItem)) as cursor:
        return cursor.execute(statement.encode(), values).fetchall()


def count_inbox(database: Database, organization_id: str | None) -> int:
    """Number of entries."""
    statement = f"{ITEMS} SELECT count(*) FROM items {_of(organization_id)}"
    with database.transaction() as transaction:
        row = transaction.execute(statement.encode(), {"organization": organization_id}).fetchone()
    return int(row[0]) if row else 0


def count_by_organization(database: Database, organization_ids: Sequence[str]) -> dict[str, int]:
    """Number of entries of each organization that has any."""
    statement = f"{ITEMS} SELECT organization_id, count(*) FROM items WHERE organization_id = ANY(%(ids)s) GROUP BY 1"
    with database.transaction() as transaction:
        return dict(transaction.execute(statement.encode(), {"ids": list(organization_ids)}).fetchall())


def _of(organization_id: str | None) -> str:
    return "" if organization_id is None else "WHERE organization_id = %(organization)s"


ITEM = "concat_ws('/', kind, resource, NULLIF(market, ''), write_id, job_id, part, endpoint_id)"
"""SQL for the name of an entry within its organization, such as `write/7`."""

# A label that was given up matters as long as its parcel is under way.
ITEMS = """
WITH items AS (
    SELECT 'key_refused' AS kind, c.organization_id, c.environment, c.unauthorized_at AS since, 1 AS count,
        NULL AS resource, NULL::bigint AS write_id, NULL::bigint AS job_id, NULL::integer AS part,
        NULL::bigint AS endpoint_id, c.last_error AS error, '' AS market
    FROM backmarket.connections c WHERE c.unauthorized_at IS NOT NULL AND c.enabled AND c.api_key IS NOT NULL
    UNION ALL
    SELECT 'write', w.organization_id, c.environment, w.sent_at, 1, NULL, w.id, NULL, NULL, NULL, w.error, ''
    FROM backmarket.api_writes w JOIN backmarket.connections c USING (organization_id)
    WHERE w.state IN ('pending', 'sending', 'unknown') AND w.due_at = 'infinity'
    UNION ALL
    SELECT 'bulk_part', p.organization_id, c.environment, p.sent_at, p.lines, NULL, NULL, p.job_id, p.number,
        NULL, p.error, ''
    FROM backmarket.bulk_parts p JOIN backmarket.connections c USING (organization_id)
    WHERE p.state = 'unknown' AND p.due_at = 'infinity'
    UNION ALL
    SELECT 'labels', l.organization_id, min(c.environment), min(l.noted_at), count(*)::integer, NULL, NULL, NULL, NULL,
        NULL, max(l.error), ''
    FROM backmarket.labels l JOIN backmarket.connections c USING (organization_id)
    WHERE l.state = 'unavailable'
      AND NOT EXISTS (SELECT FROM backmarket.deliveries d WHERE l.resource = 'deliveries'
            AND d.organization_id = l.organization_id AND d.shipment_id = l.shipment_id
            AND (d.date_delivery IS NOT NULL OR d.removed_at IS NOT NULL))
      AND NOT EXISTS (SELECT FROM backmarket.returns r WHERE l.resource = 'returns'
            AND r.organization_id = l.organization_id AND r.shipment_id = l.shipment_id
            AND (r.date_delivery IS NOT NULL OR r.removed_at IS NOT NULL))
    GROUP BY l.organization_id
    UNION ALL
    SELECT missing.kind, s.organization_id, c.environment, s.last_full_walk_at, missing.rows::integer, s.resource, NULL,
        NULL, NULL, NULL, NULL, s.market
    FROM backmarket.sync_state s JOIN backmarket.connections c USING (organization_id)
    CROSS JOIN LATERAL (
        VALUES ('rows_missing', s.rows_missing), ('rows_rejected', s.rows_rejected)
    ) AS missing (kind, rows)
    WHERE (s.rows_missing > 0 OR s.rows_rejected > 0) AND missing.rows > 0 AND c.enabled AND c.api_key IS NOT NULL
      AND c.unauthorized_at IS NULL
    UNION ALL
    SELECT 'webhook', e.organization_id, c.environment, e.failing_since, 1, NULL, NULL, NULL, NULL, e.id, e.error, ''
    FROM backmarket.event_endpoints e LEFT JOIN backmarket.connections c USING (organization_id)
    WHERE e.state = 'disabled' AND e.disabled_reason IN ('failing', 'gone')
)
"""

_ORDER = """
ORDER BY kind <> 'key_refused', since NULLS FIRST, organization_id, kind, resource, market, write_id, job_id, part,
    endpoint_id
"""
