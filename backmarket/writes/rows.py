"""The rows of writes: the request, its outcome, and which can be sent now.

Writes of one lane, such as `order/123`, are sent one after the other: workers only look at the first open one of a
lane. Only the holder of the lease of the organization's writes (`work.hold`) changes an open row, except for erasing
and for a person's decision about a row that no worker looks at.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from backmarket.database import Database, Transaction
from backmarket.queries.pagination import Page, check_limit, decode_cursor, whole
from backmarket.writes.models import NewWrite, Transition, Write, WriteFilter, WriteState


def insert(transaction: Transaction, new: NewWrite) -> Write | None:
    """Insert a write; None: a write with this idempotency key exists, and is visible now."""
    values = {each.name: getattr(new, each.name) for each in fields(new)} | {"request": Jsonb(new.request)}
    with transaction.cursor(row_factory=class_row(Write)) as cursor:
        return cursor.execute(_INSERT, values).fetchone()


def by_key(transaction: Transaction, organization_id: str, idempotency_key: str) -> Write | None:
    """The write with this idempotency key."""
    return _one(transaction, "organization_id = %s AND idempotency_key = %s", (organization_id, idempotency_key))


def select(transaction: Transaction, organization_id: str, write_id: int) -> Write | None:
    """One write, within a transaction."""
    return _one(transaction, "organization_id = %s AND id = %s", (organization_id, write_id))


def get(database: Database, organization_id: str, write_id: int) -> Write | None:
    """One write; None: it does not exist, or its retention is over."""
    with database.transaction() as transaction:
        return select(transaction, organization_id, write_id)


def page(
    database: Database, organization_id: str, where: WriteFilter, *, limit: int = 50, cursor: str | None = None
) -> Page[Write]:
    """Writes of one organization, the newest first.

    Args:
        where: the filter.
        limit: 1 to 1000.
        cursor: `next_cursor` of the page before.

    Raises:
        InvalidArgument: if the limit or the cursor is invalid.
    """
    check_limit(limit)
    values: dict[str, Any] = {"organization": organization_id, "limit": limit + 1}
    conditions = ["organization_id = %(organization)s"]
    for name in ("state", "kind", "object_id"):
        if getattr(where, name) is not None:
            conditions.append(f"{name} = %({name})s")
            values[name] = str(getattr(where, name))
    if where.lanes is not None:
        conditions.append("lane = ANY(%(lanes)s)")
        values["lanes"] = [*where.lanes]
    if cursor is not None:
        conditions.append("id < %(after)s")
        (values["after"],) = decode_cursor(cursor, whole)
    statement = f"SELECT {_COLUMNS} FROM backmarket.api_writes WHERE {' AND '.join(conditions)}"
    with database.transaction() as transaction, transaction.cursor(row_factory=class_row(Write)) as found:
        rows = found.execute(f"{statement} ORDER BY id DESC LIMIT %(limit)s".encode(), values).fetchall()
    return Page.of(rows, limit, lambda write: [write.id])


def newest_of_lanes(database: Database, lanes: Sequence[tuple[str, str]], *, each: int = 5) -> list[Write]:
    """The newest writes of some lanes, the newest first.

    Args:
        lanes: pairs of an organization and one of its lanes.
        each: maximum number of writes of one lane.
    """
    values = {"organizations": [one for one, _ in lanes], "lanes": [lane for _, lane in lanes], "each": each}
    with database.transaction() as transaction, transaction.cursor(row_factory=class_row(Write)) as cursor:
        return cursor.execute(_NEWEST, values).fetchall()


def due(transaction: Transaction, organization_id: str, *, besides: Iterable[str], limit: int) -> list[Write]:
    """The writes that can be processed now: the first open one of each lane, if it is due. The longest due first.

    Args:
        besides: lanes that the worker has in hand already.
        limit: maximum number of writes.
    """
    values = {"organization": organization_id, "besides": list(besides), "limit": limit}
    with transaction.cursor(row_factory=class_row(Write)) as cursor:
        return cursor.execute(_DUE, values).fetchall()


def next_due(transaction: Transaction, organization_id: str, *, after: float = 0.0) -> datetime | None:
    """When an organization's next write is due; None: none becomes due by itself.

    Args:
        after: minimum, in seconds from now.
    """
    row = transaction.execute(_NEXT_DUE, {"organization": organization_id, "after": after}).fetchone()
    return row[0] if row else None


@dataclass(frozen=True, slots=True)
class Sender:
    """Whether a worker is at an organization's writes.

    Attributes:
        running: a worker holds the lease.
        due_at: when a worker should look; None: there is nothing to do.
        paused: `due_at` is in the future.
    """

    running: bool = False
    due_at: datetime | None = None
    paused: bool = False


def sender(transaction: Transaction, organization_id: str) -> Sender:
    """The state of sending an organization's writes."""
    with transaction.cursor(row_factory=class_row(Sender)) as cursor:
        return cursor.execute(_SENDER, (organization_id,)).fetchone() or Sender()


def is_open(transaction: Transaction, organization_id: str, lane: str) -> bool:
    """Whether this lane has an open write."""
    return (
        _one(transaction, f"organization_id = %s AND lane = %s AND {_IS_OPEN} LIMIT 1", (organization_id, lane))
        is not None
    )


def begin(transaction: Transaction, write: Write, *, prior: dict[str, Any] | None, seconds: float) -> bool:
    """Mark a write as about to be sent; or as `unknown`, if an earlier mark may have been lost in a failover.

    Args:
        transaction: holds the lease; the worker sends the request once it has committed.
        write: the write; it is pending.
        prior: the values before the write, as far as they are known.
        seconds: after which the request can no longer arrive.

    Returns:
        False: the write must not be sent: it is no longer pending, or has to be read back first.
    """
    values = {"id": write.id, "prior": None if prior is None else Jsonb(prior), "seconds": seconds}
    return transaction.execute(_BEGIN, values).fetchone() == ("sending",)


def decide(transaction: Transaction, write: Write, transition: Transition) -> bool:
    """Store the next state of a write.

    Args:
        transaction: holds the lease.
        write: as last read; `sending` if `begin` was called.
        transition: its next state.

    Returns:
        False: the write is no longer open, or a person had it sent again while it was read back.
    """
    error = transition.error
    values = {
        "id": write.id,
        "state": transition.state,
        "pause": transition.pause,
        "confirmed_by": transition.confirmed_by,
        "unsent": int(transition.unsent),
        "waits": transition.waits,
        "reading": write.state is not WriteState.PENDING,
        "code": error.code if error else None,
        "error": error.message if error else None,
        "status": error.status if error else None,
        "request_id": error.request_id if error else None,
        "cf_ray": error.cf_ray if error else None,
    }
    return transaction.execute(_DECIDE, values).rowcount == 1


def may_decide(transaction: Transaction, write: Write) -> bool:
    """Whether a person may decide an open write now, by PostgreSQL's clock; the row stays locked."""
    found = transaction.execute(
        f"SELECT FROM backmarket.api_writes WHERE id = %s AND {_DECIDABLE} FOR UPDATE".encode(), (write.id,)
    )
    return found.rowcount == 1


def note_prior(transaction: Transaction, write: Write, prior: dict[str, Any]) -> None:
    """Store the prior values of a write that is not sent yet."""
    transaction.execute(
        "UPDATE backmarket.api_writes SET prior = %s WHERE id = %s AND state = 'pending'", (Jsonb(prior), write.id)
    )


def ask_now(transaction: Transaction, organization_id: str) -> None:
    """Make writes that wait for a retry due at once; unknown ones keep their time."""
    transaction.execute(
        "UPDATE backmarket.api_writes SET due_at = now()"
        " WHERE organization_id = %s AND state = 'pending' AND due_at > now()",
        (organization_id,),
    )


def retry(transaction: Transaction, write: Write) -> Write | None:
    """Queue a write again, as a person decided; None: the decision came too late.

    Args:
        transaction: has made the organization's work due (`work.make_due`), and so holds its row.
        write: as the person saw it.
    """
    return _changed(transaction, write, _RETRY)


def settle(transaction: Transaction, write: Write, *, arrived: bool) -> Write | None:
    """End a write with the outcome that a person has seen; None: the decision came too late.

    Args:
        transaction: see `retry`.
        write: as the person saw it.
        arrived: the change is there.
    """
    return _changed(transaction, write, _ARRIVED if arrived else _NOT_ARRIVED)


def _changed(transaction: Transaction, write: Write, change: str) -> Write | None:
    with transaction.cursor(row_factory=class_row(Write)) as cursor:
        return cursor.execute(
            f"UPDATE backmarket.api_writes SET {change} WHERE id = %s AND state = %s"
            f" AND (state = 'refused' OR {_DECIDABLE}) RETURNING {_COLUMNS}".encode(),
            (write.id, write.state),
        ).fetchone()


def _one(transaction: Transaction, condition: str, values: tuple[Any, ...]) -> Write | None:
    with transaction.cursor(row_factory=class_row(Write)) as cursor:
        statement = f"SELECT {_COLUMNS} FROM backmarket.api_writes WHERE {condition}"
        return cursor.execute(statement.encode(), values).fetchone()


_NO_ERROR = "error_code = NULL, error = NULL, error_status = NULL, error_request_id = NULL, error_cf_ray = NULL"
_RETRY = (
    "state = 'pending', due_at = now(), settled_at = NULL, settle_at = NULL, prior = NULL, sent = 0, tries = 0,"
    f" {_NO_ERROR}"
)
_ARRIVED = f"state = 'succeeded', settled_at = now(), settle_at = NULL, confirmed_by = 'person', {_NO_ERROR}"
_NOT_ARRIVED = (
    "state = 'refused', settled_at = now(), settle_at = NULL, error_code = 'not_arrived',"
    " error = 'A person found that the write never arrived.'"
)

_DECIDABLE = "(state IN ('sending', 'unknown') AND (due_at = 'infinity' OR COALESCE(settle_at, now()) <= now()))"
"""What may have happened is a person's to decide from the moment at which its request can no longer arrive."""

_IS_OPEN = "state IN ('pending', 'sending', 'unknown')"

_LISTING = (
    "SELECT l.sku FROM backmarket.listings l WHERE l.organization_id = api_writes.organization_id"
    " AND l.listing_id = api_writes.object_id::uuid"
)
_LINE = (
    "SELECT l.listing FROM backmarket.orderlines l WHERE l.organization_id = api_writes.organization_id"
    " AND l.orderline_id = api_writes.object_id::bigint"
)
_PARCEL = (
    "SELECT string_agg(DISTINCT l.listing, ', ') FROM backmarket.orderlines l"
    " WHERE l.organization_id = api_writes.organization_id AND l.order_id = api_writes.object_id::bigint"
    " AND l.removed_at IS NULL AND l.state IN (2, 3)"
)

_MADE = {
    "due_at": "NULLIF(due_at, 'infinity') AS due_at",
    "behind": f"CASE WHEN {_IS_OPEN} THEN (SELECT min(e.id) FROM backmarket.api_writes e"
    " WHERE e.organization_id = api_writes.organization_id AND e.lane = api_writes.lane AND e.id < api_writes.id"
    " AND e.state IN ('pending', 'sending', 'unknown')) END AS behind",
    "decidable": f"{_DECIDABLE} AS decidable",
    "sku": f"CASE kind WHEN 'update_listing' THEN ({_LISTING}) WHEN 'update_orderline' THEN ({_LINE})"
    f" WHEN 'update_order' THEN COALESCE(request ->> 'sku', ({_PARCEL})) END AS sku",
}
"""Columns that are read by an expression instead of by their name."""

_COLUMNS = ", ".join(_MADE.get(each.name, each.name) for each in fields(Write))

_NEWEST = f"""
SELECT newest.* FROM unnest(%(organizations)s::text[], %(lanes)s::text[]) AS wanted (organization, lane)
CROSS JOIN LATERAL (
    SELECT {_COLUMNS} FROM backmarket.api_writes
    WHERE api_writes.organization_id = wanted.organization AND api_writes.lane = wanted.lane
    ORDER BY id DESC LIMIT %(each)s
) AS newest ORDER BY newest.id DESC
"""

_INSERT = f"""
INSERT INTO backmarket.api_writes ({", ".join(each.name for each in fields(NewWrite))})
VALUES ({", ".join(f"%({each.name})s" for each in fields(NewWrite))})
ON CONFLICT (organization_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
RETURNING {_COLUMNS}
"""

_HEADS = f"""
SELECT DISTINCT ON (lane) * FROM backmarket.api_writes
WHERE organization_id = %(organization)s AND {_IS_OPEN} ORDER BY lane, id
"""

_DUE = f"""
SELECT {_COLUMNS} FROM ({_HEADS}) AS api_writes
WHERE api_writes.due_at <= now() AND NOT lane = ANY(%(besides)s) ORDER BY due_at, id LIMIT %(limit)s
"""

_NEXT_DUE = f"""
SELECT GREATEST(min(due_at), now() + make_interval(secs => %(after)s)) FROM ({_HEADS}) AS heads
WHERE due_at < 'infinity' HAVING count(*) > 0
"""

_SENDER = """
SELECT COALESCE(lease_until > now(), false) AS running, NULLIF(due_at, 'infinity') AS due_at, due_at > now() AS paused
FROM backmarket.work WHERE organization_id = %s AND kind = 'writes'
"""

_BEGIN = """
UPDATE backmarket.api_writes SET sent = sent + 1, sent_at = now(), recorded_on = backmarket.server_history(),
    state = CASE WHEN recorded_on = backmarket.server_history() THEN 'sending' ELSE 'unknown' END,
    -- after a failover, a sync may have stored what the lost request did to the order
    prior = CASE WHEN recorded_on = backmarket.server_history() OR kind = 'update_listing' THEN %(prior)s::jsonb END,
    settle_at = now() + make_interval(secs => %(seconds)s), due_at = now() + make_interval(secs => %(seconds)s)
WHERE id = %(id)s AND state = 'pending' RETURNING state
"""

_DECIDE = f"""
UPDATE backmarket.api_writes SET state = %(state)s, sent = sent - %(unsent)s, confirmed_by = %(confirmed_by)s,
    due_at = CASE WHEN %(pause)s::float8 IS NULL THEN 'infinity' ELSE GREATEST(
        now() + make_interval(secs => %(pause)s::float8), CASE WHEN %(state)s = 'unknown' THEN settle_at END
    ) END,
    settle_at = CASE WHEN %(state)s = 'unknown' THEN settle_at END,
    settled_at = CASE WHEN %(state)s IN ('succeeded', 'refused') THEN now() END,
    tries = CASE WHEN %(waits)s THEN tries
        WHEN %(state)s IN ('succeeded', 'refused') OR (%(state)s = 'unknown' AND state = 'sending') THEN 0
        ELSE tries + 1 END,
    error_code = %(code)s, error = %(error)s, error_status = %(status)s, error_request_id = %(request_id)s,
    error_cf_ray = %(cf_ray)s
WHERE id = %(id)s AND {_IS_OPEN} AND NOT (%(reading)s AND state = 'pending')
"""
