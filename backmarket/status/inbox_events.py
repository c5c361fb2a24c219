"""Events of the inbox: one when an entry has come, one when it is gone, none while it stays.

What waits arises in many places, and some of it by time alone. So no place writes an event: the inbox is compared with
the entries that have an event, in one statement.
"""

from __future__ import annotations

from backmarket.database import Database
from backmarket.status.inbox import ITEM, ITEMS

RESOURCE = "inbox"
"""Of these events; `external_id` is the name of the entry."""


def record_inbox(database: Database) -> int:
    """Write the events of entries that have come or gone since the last call; without any, it writes nothing.

    A webhook of all organizations has none: an event belongs to an organization.

    Returns:
        Number of events.
    """
    with database.transaction() as transaction:
        return transaction.execute(_RECORD, {"resource": RESOURCE}).rowcount


_RECORD = f"""
{ITEMS}, waiting AS MATERIALIZED (
    SELECT organization_id, {ITEM} AS item FROM items WHERE organization_id IS NOT NULL
), gone AS (
    DELETE FROM backmarket.inbox_recorded a
    WHERE NOT EXISTS (SELECT FROM waiting w WHERE w.organization_id = a.organization_id AND w.item = a.item)
    RETURNING a.organization_id, a.item
), come AS (
    INSERT INTO backmarket.inbox_recorded (organization_id, item)
    SELECT organization_id, item FROM waiting ORDER BY organization_id, item
    ON CONFLICT DO NOTHING RETURNING organization_id, item
)
INSERT INTO backmarket.changes (organization_id, resource, external_id, kind)
SELECT organization_id, %(resource)s, item, 'created' FROM come
UNION ALL SELECT organization_id, %(resource)s, item, 'removed' FROM gone
""".encode()
