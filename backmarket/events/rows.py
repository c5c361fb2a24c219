"""Endpoints as workers use them: claim those that are due, read their events, write the results.

The lease in each row is a number that only grows, as everywhere: only the holder of the newest one may write.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg.rows import dict_row

from backmarket.changes import Bounds, Change, encode_cursor, read_bounds
from backmarket.database import Database, Transaction
from backmarket.events.payload import event_of, missed_event
from backmarket.observability.logs import Logger

Position = tuple[int, int]
"""A transaction and a number."""

MAX_SCANNED = 1000
"""Maximum number of events that one batch of an endpoint looks at, whether it wants them or not."""

MAX_WEBHOOKS = 20
"""Maximum number of events in a batch of a webhook; a killed process repeats at most these."""

MAX_MESSAGES = 500
"""Maximum number of events in a batch of the host's task: they are sent in one command."""

log = Logger(__name__)


@dataclass(frozen=True, slots=True)
class Claimed:
    """An endpoint that this process holds the lease of."""

    id: int
    kind: str
    organization_id: str | None
    url: str | None
    secret: bytes | None = field(repr=False)
    previous_secret: bytes | None = field(repr=False)
    number: int
    transaction_id: int
    change_id: int
    history: str
    failures: int

    @property
    def position(self) -> Position:
        """Events up to here were sent."""
        return self.transaction_id, self.change_id


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event to be sent.

    Attributes:
        event: what is sent; None: it is not in the feed any more.
        retry: it has a row in `event_retries`.
        tries: attempts before this one.
        age: seconds since the first of them.
    """

    position: Position
    event: dict[str, Any] | None
    retry: bool = False
    tries: int = 0
    age: float = 0.0


@dataclass(frozen=True, slots=True)
class Batch:
    """What is to be sent to an endpoint now.

    Attributes:
        deliveries: retries first, then new events in the order of the feed.
        start: position before the new events.
        end: position behind the new events.
        more: there may be further new events.
    """

    endpoint: Claimed
    deliveries: list[Delivery]
    start: Position
    end: Position
    history: str
    more: bool


def claim(database: Database, *, owner: str, seconds: float, limit: int, failing: bool, tasks: bool) -> list[Claimed]:
    """Claim endpoints that are due, the longest due first.

    Args:
        owner: name of the process and thread, for operators.
        seconds: until the leases expire.
        limit: maximum number of endpoints.
        failing: those whose last attempt failed; False: the others.
        tasks: also the host's task.
    """
    values = {"owner": owner, "seconds": seconds, "limit": limit, "failing": failing, "tasks": tasks}
    with database.transaction() as transaction:
        rows = transaction.execute(_CLAIM, values).fetchall()
    return [Claimed(*row) for row in rows]


def read(database: Database, claimed: Sequence[Claimed]) -> list[Batch]:
    """Read what is to be sent to endpoints; note what they missed."""
    with database.transaction() as transaction:
        bounds = read_bounds(transaction)
        positions = {each.id: _resume(transaction, each, bounds) for each in claimed}
        retries = _retries(transaction, list(positions), bounds.history)
        found = _new_events(transaction, claimed, positions, bounds)
    return [_batch(each, retries.get(each.id, []), positions[each.id], *found[each.id], bounds) for each in claimed]


def _batch(
    claimed: Claimed, retries: list[Delivery], start: Position, new: list[Delivery], stop: Position, bounds: Bounds
) -> Batch:
    cut = len(new) == _limit(claimed)
    end = new[-1].position if cut else stop
    more = cut or stop < max(bounds.end, bounds.dropped)
    return Batch(claimed, retries + new, start, end, bounds.history, more)


def _limit(claimed: Claimed) -> int:
    return MAX_WEBHOOKS if claimed.kind == "webhook" else MAX_MESSAGES


def _resume(transaction: Transaction, claimed: Claimed, bounds: Bounds) -> Position:
    """The position after which the endpoint goes on; notes it if events before that were missed."""
    moved = claimed.history != bounds.history or claimed.position > bounds.horizon
    if not moved and claimed.position >= bounds.dropped:
        return claimed.position
    position = max(bounds.end, bounds.dropped) if moved else bounds.dropped
    values = {
        "endpoint": claimed.id,
        "transaction": str(position[0]),
        "id": position[1],
        "after": encode_cursor(claimed.position, claimed.history),
        "history": bounds.history,
        "organization": claimed.organization_id,
        "number": claimed.number,
    }
    transaction.execute(_FORGET_FOREIGN, values)
    transaction.execute(_NOTE_MISSED, values)
    log.warning("events.missed", endpoint=claimed.id, failover=moved)
    return position


def _retries(transaction: Transaction, ids: list[int], history: str) -> dict[int, list[Delivery]]:
    found: dict[int, list[Delivery]] = {}
    with transaction.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_RETRIES, {"ids": ids, "limit": MAX_WEBHOOKS}).fetchall()
    for row in rows:
        position = (int(row["transaction_id"]), row["change_id"])
        cursor_text = encode_cursor(position, history)
        event = None
        if row["reason"] == "missed":
            event = missed_event(cursor_text, row["missed_after"], row["endpoint_organization"])
        elif row["resource"] is not None:
            event = _event(row, cursor_text)
        delivery = Delivery(position, event, True, row["tries"], row["age"])
        found.setdefault(row["endpoint_id"], []).append(delivery)
    return found


def _new_events(
    transaction: Transaction, claimed: Sequence[Claimed], positions: dict[int, Position], bounds: Bounds
) -> dict[int, tuple[list[Delivery], Position]]:
    found: dict[int, tuple[list[Delivery], Position]] = {each.id: ([], positions[each.id]) for each in claimed}
    end = max(bounds.end, bounds.dropped)
    values: dict[str, Any] = {"end_transaction": str(end[0]), "end_id": end[1], "scanned": MAX_SCANNED}
    for condition, bound in ((_OF_ORGANIZATION, True), (_OF_ALL, False)):
        some = [each for each in claimed if (each.organization_id is not None) is bound]
        if not some:
            continue
        values["ids"] = [each.id for each in some]
        values["transactions"] = [str(positions[each.id][0]) for each in some]
        values["numbers"] = [positions[each.id][1] for each in some]
        values["limits"] = [_limit(each) for each in some]
        with transaction.cursor(row_factory=dict_row) as cursor:
            rows = cursor.execute(_NEW.format(condition).encode(), values).fetchall()
        for row in rows:
            deliveries, start = found[row["endpoint_id"]]
            stop = max(start, (int(row["stop_transaction"]), row["stop_id"]))
            if row["resource"] is not None:
                position = (int(row["transaction_id"]), row["change_id"])
                deliveries.append(Delivery(position, _event(row, encode_cursor(position, bounds.history))))
            found[row["endpoint_id"]] = (deliveries, stop)
    return found


def _event(row: dict[str, Any], cursor: str) -> dict[str, Any]:
    names = ("organization_id", "resource", "external_id", "kind", "fields", "recorded_at", "initial", "market")
    return event_of(Change(cursor, **{name: row[name] for name in names}, values=row["field_values"]))


# `idle`: no event for it lies between its position and the router's (see `routing.py`).
_CLAIM = """
WITH due AS MATERIALIZED (
    SELECT id FROM backmarket.event_endpoints
    WHERE state = 'enabled' AND due_at <= now() AND (lease_until IS NULL OR lease_until < now())
      AND (kind = 'webhook' OR %(tasks)s) AND (failures > 0) = %(failing)s
    ORDER BY due_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE backmarket.event_endpoints AS e SET lease_number = e.lease_number + 1, lease_owner = %(owner)s,
    lease_until = now() + make_interval(secs => %(seconds)s),
    transaction_id = CASE WHEN e.idle AND e.history = r.history
        THEN GREATEST(e.transaction_id, r.transaction_id) ELSE e.transaction_id END,
    change_id = CASE WHEN e.idle AND e.history = r.history
        AND (e.transaction_id, e.change_id) < (r.transaction_id, r.id) THEN r.id ELSE e.change_id END
FROM due, backmarket.event_router r WHERE e.id = due.id
RETURNING e.id, e.kind, e.organization_id, e.url, e.secret,
    CASE WHEN e.previous_until > now() THEN e.previous_secret END,
    e.lease_number, e.transaction_id::text::bigint, e.change_id, e.history, e.failures
"""

_FORGET_FOREIGN = """
DELETE FROM backmarket.event_retries
WHERE endpoint_id = %(endpoint)s AND history <> %(history)s AND reason <> 'missed'
"""

# Only by the holder of the lease: another one has noted it already.
_NOTE_MISSED = """
WITH moved AS (
    UPDATE backmarket.event_endpoints SET transaction_id = %(transaction)s::text::xid8, change_id = %(id)s,
        history = %(history)s, idle = false
    WHERE id = %(endpoint)s AND lease_number = %(number)s RETURNING id
)
INSERT INTO backmarket.event_retries AS r
    (endpoint_id, transaction_id, change_id, reason, missed_after, history, organization_id)
SELECT id, %(transaction)s::text::xid8, %(id)s, 'missed', %(after)s, %(history)s, %(organization)s FROM moved
ON CONFLICT (endpoint_id, transaction_id, change_id) DO UPDATE
SET reason = 'missed', missed_after = COALESCE(r.missed_after, excluded.missed_after), history = excluded.history
"""

_RETRIES = """
SELECT r.endpoint_id, r.transaction_id::text, r.change_id, r.reason, r.missed_after, r.tries,
    extract(epoch FROM now() - r.since)::float8 AS age, e.organization_id AS endpoint_organization,
    c.organization_id, c.resource, c.external_id, c.kind, c.fields, c.recorded_at, c.initial, c.field_values,
    c.market
FROM backmarket.event_endpoints e CROSS JOIN LATERAL (
    SELECT * FROM backmarket.event_retries d
    WHERE d.endpoint_id = e.id AND d.due_at <= now() ORDER BY d.transaction_id, d.change_id LIMIT %(limit)s
) AS r
LEFT JOIN backmarket.changes c
    ON r.reason <> 'missed' AND c.transaction_id = r.transaction_id AND c.id = r.change_id
WHERE e.id = ANY(%(ids)s)
ORDER BY r.endpoint_id, r.transaction_id, r.change_id
"""

_OF_ORGANIZATION = "c.organization_id = e.organization_id"
_OF_ALL = "e.organization_id IS NULL"

# `stop`: as far as it looks. The events that it wants are read up to there.
_NEW = """
SELECT e.id AS endpoint_id, s.stop_transaction::text, s.stop_id, c.transaction_id::text, c.id AS change_id,
    c.organization_id, c.resource, c.external_id, c.kind, c.fields, c.recorded_at, c.initial, c.field_values,
    c.market
FROM unnest(%(ids)s::bigint[], %(transactions)s::text[], %(numbers)s::bigint[], %(limits)s::integer[])
    AS a (id, transaction_id, number, events)
JOIN backmarket.event_endpoints e USING (id)
LEFT JOIN LATERAL (
    SELECT c.transaction_id, c.id FROM backmarket.changes c
    WHERE {0} AND (c.transaction_id, c.id) > (a.transaction_id::xid8, a.number)
      AND (c.transaction_id, c.id) <= (%(end_transaction)s::text::xid8, %(end_id)s::bigint)
    ORDER BY c.transaction_id, c.id OFFSET %(scanned)s - 1 LIMIT 1
) AS far ON true
CROSS JOIN LATERAL (
    SELECT COALESCE(far.transaction_id, %(end_transaction)s::text::xid8) AS stop_transaction,
        COALESCE(far.id, %(end_id)s::bigint) AS stop_id
) AS s
LEFT JOIN LATERAL (
    SELECT c.* FROM backmarket.changes c
    WHERE {0} AND (c.transaction_id, c.id) > (a.transaction_id::xid8, a.number)
      AND (c.transaction_id, c.id) <= (s.stop_transaction, s.stop_id)
      AND (e.resources IS NULL OR c.resource = ANY(e.resources)) AND (e.kinds IS NULL OR c.kind = ANY(e.kinds))
      AND (e.fields IS NULL OR c.kind <> 'updated' OR c.fields && e.fields) AND (e.initial OR NOT c.initial)
    ORDER BY c.transaction_id, c.id LIMIT a.events
) AS c ON true
ORDER BY e.id, c.transaction_id, c.id
"""
