"""Make endpoints due for new events: one position for all endpoints, one statement for all new events.

An endpoint that is `idle` has no event between its position and the router's, so it moves along when it becomes due: an
endpoint without events for longer than the retention has missed nothing. `news` says up to where there may be events
for it; a slice that ends compares it with its own position in the row, so that no wake-up is lost.
"""

from __future__ import annotations

from backmarket.changes import read_bounds
from backmarket.database import Database, Transaction

MAX_EVENTS = 20_000
"""Maximum number of events that one statement looks at."""


def route(database: Database) -> bool:
    """Make the endpoints due that new events are for. Writes nothing without new events, or without endpoints.

    Returns:
        Whether there may be more new events.
    """
    with database.transaction() as transaction:
        if transaction.execute(_ANY).fetchone() is None:
            return False
        row = transaction.execute(_LOCKED).fetchone()
        return row is not None and _route(transaction, (int(row[0]), row[1]), row[2])


def restart(transaction: Transaction) -> None:
    """Let the router begin at the end of the feed if no endpoint is enabled; locks it, so that none is overlooked.

    Args:
        transaction: enables or creates an endpoint afterwards.
    """
    transaction.execute("SELECT FROM backmarket.event_router FOR UPDATE")
    if transaction.execute(_ANY).fetchone() is None:
        bounds = read_bounds(transaction)
        _move(transaction, max(bounds.end, bounds.dropped), bounds.history)


def _route(transaction: Transaction, position: tuple[int, int], history: str) -> bool:
    bounds = read_bounds(transaction)
    end = max(bounds.end, bounds.dropped)
    if history != bounds.history or position > bounds.horizon or position < bounds.dropped:
        transaction.execute(_WAKE_ALL)  # each compares its own position, and says what was missed
        _move(transaction, end, bounds.history)
        return False
    if end <= position:
        return False
    values = {"transaction": str(position[0]), "id": position[1], "limit": MAX_EVENTS}
    values |= {"end_transaction": str(end[0]), "end_id": end[1]}
    stop = transaction.execute(_STOP, values).fetchone()
    if stop is not None:
        values |= {"end_transaction": stop[0], "end_id": stop[1]}
        end = (int(stop[0]), stop[1])
    transaction.execute(_WAKE, values)
    _move(transaction, end, bounds.history)
    return stop is not None


def _move(transaction: Transaction, position: tuple[int, int], history: str) -> None:
    transaction.execute(
        "UPDATE backmarket.event_router SET transaction_id = %s::text::xid8, id = %s, history = %s",
        (str(position[0]), position[1], history),
    )


_ANY = "SELECT FROM backmarket.event_endpoints WHERE state = 'enabled' LIMIT 1"

_LOCKED = "SELECT transaction_id::text, id, history FROM backmarket.event_router FOR UPDATE SKIP LOCKED"

_WAKE_ALL = """
UPDATE backmarket.event_endpoints AS e SET due_at = LEAST(e.due_at, now())
FROM (SELECT id FROM backmarket.event_endpoints WHERE state = 'enabled' ORDER BY id FOR UPDATE) AS locked
WHERE e.id = locked.id
"""

_STOP = """
SELECT transaction_id::text, id FROM backmarket.changes
WHERE (transaction_id, id) > (%(transaction)s::text::xid8, %(id)s::bigint)
  AND (transaction_id, id) <= (%(end_transaction)s::text::xid8, %(end_id)s::bigint)
ORDER BY transaction_id, id OFFSET %(limit)s - 1 LIMIT 1
"""

_WAKE = """
WITH news AS MATERIALIZED (
    SELECT DISTINCT organization_id, resource, kind, initial FROM backmarket.changes
    WHERE (transaction_id, id) > (%(transaction)s::text::xid8, %(id)s::bigint)
      AND (transaction_id, id) <= (%(end_transaction)s::text::xid8, %(end_id)s::bigint)
), wanted AS MATERIALIZED (
    SELECT e.id FROM backmarket.event_endpoints e
    WHERE e.state = 'enabled' AND EXISTS (
        SELECT FROM news n WHERE n.organization_id = e.organization_id
          AND (e.resources IS NULL OR n.resource = ANY(e.resources)) AND (e.kinds IS NULL OR n.kind = ANY(e.kinds))
          AND (e.initial OR NOT n.initial)
    )
    UNION ALL SELECT e.id FROM backmarket.event_endpoints e
    WHERE e.state = 'enabled' AND e.organization_id IS NULL AND EXISTS (
        SELECT FROM news n WHERE (e.resources IS NULL OR n.resource = ANY(e.resources))
          AND (e.kinds IS NULL OR n.kind = ANY(e.kinds)) AND (e.initial OR NOT n.initial)
    )
), locked AS (
    SELECT id FROM backmarket.event_endpoints WHERE id IN (SELECT id FROM wanted) ORDER BY id FOR UPDATE
)
UPDATE backmarket.event_endpoints AS e SET
    transaction_id = CASE WHEN e.idle THEN GREATEST(e.transaction_id, %(transaction)s::text::xid8)
        ELSE e.transaction_id END,
    change_id = CASE WHEN e.idle AND (e.transaction_id, e.change_id) < (%(transaction)s::text::xid8, %(id)s::bigint)
        THEN %(id)s::bigint ELSE e.change_id END,
    news_transaction_id = %(end_transaction)s::text::xid8, news_id = %(end_id)s::bigint, idle = false,
    due_at = LEAST(e.due_at, GREATEST(now(), e.paused_until))
FROM locked WHERE e.id = locked.id
"""
