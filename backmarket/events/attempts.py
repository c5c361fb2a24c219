"""The log of webhooks, and sending events again."""

from __future__ import annotations

from typing import Any

from psycopg.rows import dict_row

from backmarket import audit
from backmarket.changes import decode_cursor, encode_cursor, read_bounds
from backmarket.changes.feed import ChangesMissed
from backmarket.database import Database, Transaction
from backmarket.errors import InvalidArgument
from backmarket.events.endpoints import act, select
from backmarket.events.models import Attempt, Endpoint
from backmarket.events.payload import event_id
from backmarket.events.routing import restart
from backmarket.queries.pagination import Page, check_limit, whole
from backmarket.queries.pagination import decode_cursor as decode_page

MAX_REDELIVERED = 10_000
"""Maximum number of events that one call sends again."""


def get_attempts(database: Database, endpoint_id: int, *, limit: int = 50, cursor: str | None = None) -> Page[Attempt]:
    """The attempts of a webhook, the newest first; see `BackMarket.get_event_attempts`."""
    check_limit(limit)
    before = decode_page(cursor, whole)[0] if cursor is not None else None
    values = {"endpoint": endpoint_id, "before": before, "limit": limit + 1}
    with database.transaction() as transaction:
        select(transaction, endpoint_id)
        with transaction.cursor(row_factory=dict_row) as found:
            rows = found.execute(_ATTEMPTS, values).fetchall()
    return Page.of([_attempt(row) for row in rows], limit, lambda each: [each.id])


def redeliver(database: Database, endpoint_id: int, event: str | None, *, after: str | None, until: str | None) -> int:
    """Send events again; see `BackMarket.redeliver_events`."""
    if (event is None) == (after is None):
        raise InvalidArgument("Name one event, or a range that begins after a cursor (`after`).")
    if event is not None and until is not None:
        raise InvalidArgument("`until` ends a range, which begins with `after`.")
    with database.transaction() as transaction:
        restart(transaction)
        endpoint = select(transaction, endpoint_id)
        if endpoint.state == "disabled":
            raise InvalidArgument("The endpoint is disabled. Enable it first: `backmarket events enable`.")
        count = _ask_again(transaction, endpoint, event, after, until)
        details = {"events": count, "event": event, "after": after, "until": until}
        audit.record(transaction, act("event.redeliver", endpoint_id, endpoint.organization_id, **details))
    return count


def _ask_again(
    transaction: Transaction, endpoint: Endpoint, event: str | None, after: str | None, until: str | None
) -> int:
    bounds = read_bounds(transaction)
    own, history = decode_cursor(endpoint.cursor)
    first = decode_cursor(event or after)[0]
    last = first if event is not None else min(own, decode_cursor(until)[0]) if until is not None else own
    if first > own or history != bounds.history:
        raise InvalidArgument("The endpoint has not come to this event yet: it is sent without being asked for.")
    if first < bounds.dropped:
        raise ChangesMissed("The events after this cursor were dropped: they are older than the retention.")
    values = {
        "endpoint": endpoint.id,
        "transaction": str(first[0]),
        "id": first[1],
        "last_transaction": str(last[0]),
        "last_id": last[1],
        "one": event is not None,
        "history": bounds.history,
        "limit": MAX_REDELIVERED + 1,
    }
    count = transaction.execute(_ASK_AGAIN, values).rowcount
    if count > MAX_REDELIVERED:
        raise InvalidArgument(f"These are more than {MAX_REDELIVERED} events: name a smaller range (`until`).")
    if event is not None and not count:
        raise InvalidArgument("No event of this endpoint has this cursor. `get_event_attempts` lists them.")
    transaction.execute(_DUE, (endpoint.id,))
    return count


def _attempt(row: dict[str, Any]) -> Attempt:
    cursor = encode_cursor((int(row.pop("transaction_id")), row.pop("change_id")), row.pop("history"))
    return Attempt(event_id=event_id(cursor), cursor=cursor, **row)


_ATTEMPTS = """
SELECT a.id, a.transaction_id::text, a.change_id, backmarket.server_history() AS history, c.organization_id, c.resource,
    c.external_id, c.kind, a.attempt, a.outcome, a.status, a.error_code, a.milliseconds, a.attempted_at
FROM (
    SELECT * FROM backmarket.event_attempts
    WHERE endpoint_id = %(endpoint)s AND (%(before)s::bigint IS NULL OR id < %(before)s)
    ORDER BY id DESC LIMIT %(limit)s
) AS a
LEFT JOIN backmarket.changes c ON c.transaction_id = a.transaction_id AND c.id = a.change_id
ORDER BY a.id DESC
"""

# One event is asked for by its own position, a range by the position before it.
_ASK_AGAIN = """
INSERT INTO backmarket.event_retries AS r
    (endpoint_id, transaction_id, change_id, reason, history, organization_id)
SELECT e.id, c.transaction_id, c.id, 'asked', %(history)s, c.organization_id
FROM backmarket.event_endpoints e JOIN backmarket.changes c ON
    (e.organization_id IS NULL OR c.organization_id = e.organization_id)
WHERE e.id = %(endpoint)s
  AND (c.transaction_id, c.id) >= (%(transaction)s::text::xid8, %(id)s::bigint)
  AND (%(one)s OR (c.transaction_id, c.id) > (%(transaction)s::text::xid8, %(id)s::bigint))
  AND (c.transaction_id, c.id) <= (%(last_transaction)s::text::xid8, %(last_id)s::bigint)
  AND (e.resources IS NULL OR c.resource = ANY(e.resources)) AND (e.kinds IS NULL OR c.kind = ANY(e.kinds))
  AND (e.fields IS NULL OR c.kind <> 'updated' OR c.fields && e.fields) AND (e.initial OR NOT c.initial)
ORDER BY c.transaction_id, c.id LIMIT %(limit)s
ON CONFLICT (endpoint_id, transaction_id, change_id) DO UPDATE SET due_at = now(), since = now(), tries = 0
"""

_DUE = "UPDATE backmarket.event_endpoints SET due_at = LEAST(due_at, GREATEST(now(), paused_until)) WHERE id = %s"
