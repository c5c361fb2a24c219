"""The rows of writes: what was asked for, what became of it, and which can be sent now.

Writes of one lane, such as `order/123`, are sent one after the other: only the first open one of a lane is ever looked
at. Whoever changes an open row holds the lease of the organization's writes (`work.hold`), but for erasing, and for a
person's decision about a row that no worker looks at.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from backmarket.database import Database, Transaction
from backmarket.errors import BackMarketError, InvalidArgument
from backmarket.pages import LARGEST_PAGE, Page

WriteKind = Literal["update_order", "update_orderline", "update_listing", "upload_order_invoice"]
KINDS: tuple[WriteKind, ...] = ("update_order", "update_orderline", "update_listing", "upload_order_invoice")

ConfirmedBy = Literal["answer", "reading_back", "person"]


class WriteState(StrEnum):
    """How far a write is; see the table `api_writes`."""

    PENDING = "pending"
    SENDING = "sending"
    SUCCEEDED = "succeeded"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """A change that was asked for at Back Market. Its `repr` shows nothing personal.

    Attributes:
        organization_id: whose.
        id: names it; those of one organization rise with the order in which they were asked for.
        kind: what is changed.
        object_id: the order's, the order line's or the listing's id.
        lane: writes of one lane are sent one after the other.
        request: what was asked for, by our names of the arguments; empty once its order was erased.
        locale: the market that prices and texts belong to.
        environment: that it was meant for; so are `region` and `base_url`.
        idempotency_key: the caller's own name for it.
        fingerprint: a hash of what was asked for; None once its order was erased.
        object_key: of an invoice, the file in the bucket.
        state: how far it is.
        prior: values before it was sent, as far as they are known.
        due_at: when it is looked at again, while it is open; None: a person has to decide.
        settle_at: from when reading back tells the truth.
        sent: requests that were sent.
        tries: in a row that came to no end.
        error_code: why it was refused, or is not over yet; a word for programs.
        error: the same as a sentence.
        error_status: HTTP status that the API answered.
        error_request_id: for Back Market's support.
        error_cf_ray: the same.
        created_at: when it was asked for.
        sent_at: when it was sent last.
        settled_at: when it came to an end.
        confirmed_by: of one that succeeded: how that is known.
        behind: of an open one: the first open write of its lane, which holds it back; None: nothing does.
    """

    organization_id: str
    id: int
    kind: WriteKind
    object_id: str
    lane: str
    request: dict[str, Any] = field(repr=False)
    locale: str
    environment: str
    region: str
    base_url: str | None
    idempotency_key: str | None
    fingerprint: str | None = field(repr=False)
    object_key: str | None
    state: WriteState
    prior: dict[str, Any] | None = field(repr=False)
    due_at: datetime | None
    settle_at: datetime | None
    sent: int
    tries: int
    error_code: str | None
    error: str | None
    error_status: int | None
    error_request_id: str | None
    error_cf_ray: str | None
    created_at: datetime
    sent_at: datetime | None
    settled_at: datetime | None
    confirmed_by: ConfirmedBy | None
    behind: int | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", WriteState(self.state))

    @property
    def open(self) -> bool:
        """Whether it has not come to an end."""
        return self.state in _OPEN

    @property
    def undecided(self) -> bool:
        """Whether it waits for a person."""
        return self.open and self.due_at is None


@dataclass(frozen=True, slots=True)
class NewWrite:
    """What is asked for; see `Write`."""

    organization_id: str
    kind: str
    object_id: str
    lane: str
    request: dict[str, Any] = field(repr=False)
    locale: str
    environment: str
    region: str
    base_url: str | None
    idempotency_key: str | None
    fingerprint: str
    object_key: str | None = None


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a write.

    Args:
        state: its next one.
        pause: seconds until it is looked at again, if it stays open; None: a person has to. What is unknown is never
            looked at before `settle_at`.
        error: why it is not over, or was refused.
        confirmed_by: of one that succeeded.
        unsent: the request never left; it does not count.
    """

    state: WriteState
    pause: float | None = 0.0
    error: BackMarketError | None = None
    confirmed_by: ConfirmedBy | None = None
    unsent: bool = False


def insert(transaction: Transaction, new: NewWrite) -> Write | None:
    """Write down what is asked for; None: there is a write with this idempotency key, which is visible now."""
    values = {each.name: getattr(new, each.name) for each in fields(new)} | {"request": Jsonb(new.request)}
    with transaction.cursor(row_factory=class_row(Write)) as cursor:
        return cursor.execute(_INSERT, values).fetchone()


def by_key(transaction: Transaction, organization_id: str, idempotency_key: str) -> Write | None:
    """The write that a caller gave this name."""
    return _one(transaction, "organization_id = %s AND idempotency_key = %s", (organization_id, idempotency_key))


def select(transaction: Transaction, organization_id: str, write_id: int) -> Write | None:
    """One write, within a transaction."""
    return _one(transaction, "organization_id = %s AND id = %s", (organization_id, write_id))


def get(database: Database, organization_id: str, write_id: int) -> Write | None:
    """One write; None: there is none, or its retention is over."""
    with database.transaction() as transaction:
        return select(transaction, organization_id, write_id)


@dataclass(frozen=True, slots=True)
class WriteFilter:
    """Which writes; what is None does not restrict.

    Args:
        state: how far they are.
        kind: what they change.
        object_id: of this order, order line or listing.
    """

    state: WriteState | None = None
    kind: WriteKind | None = None
    object_id: str | None = None

    @classmethod
    def of(cls, state: str | None, kind: str | None, object_id: object) -> WriteFilter:
        """What a caller asks for.

        Raises:
            InvalidArgument: there is no such state or kind.
        """
        if state is not None and state not in set(WriteState):
            raise InvalidArgument(f"There is no state {str(state)!r}: there are {', '.join(WriteState)}.")
        known = next((each for each in KINDS if each == kind), None)
        if kind is not None and known is None:
            raise InvalidArgument(f"There is no kind {kind!r}: there are {', '.join(KINDS)}.")
        return cls(WriteState(state) if state else None, known, None if object_id is None else str(object_id))


def page(
    database: Database, organization_id: str, where: WriteFilter, *, limit: int = 50, cursor: str | None = None
) -> Page[Write]:
    """Writes of one organization, the newest first.

    Args:
        database: where.
        organization_id: whose.
        where: which.
        limit: 1 to 1000.
        cursor: of the page before.

    Raises:
        InvalidArgument: a limit or cursor that can't be.
    """
    if not 1 <= limit <= LARGEST_PAGE:
        raise InvalidArgument(f"limit must be 1 to {LARGEST_PAGE}, not {limit}.")
    values: dict[str, Any] = {"organization": organization_id, "limit": limit + 1}
    conditions = ["organization_id = %(organization)s"]
    for name in ("state", "kind", "object_id"):
        if getattr(where, name) is not None:
            conditions.append(f"{name} = %({name})s")
            values[name] = str(getattr(where, name))
    if cursor is not None:
        conditions.append("id < %(after)s")
        values["after"] = _after(cursor)
    statement = f"SELECT {_COLUMNS} FROM backmarket.api_writes WHERE {' AND '.join(conditions)}"
    with database.transaction() as transaction, transaction.cursor(row_factory=class_row(Write)) as found:
        rows = found.execute(f"{statement} ORDER BY id DESC LIMIT %(limit)s".encode(), values).fetchall()
    return Page(rows[:limit], str(rows[limit - 1].id) if len(rows) > limit else None)


def due(transaction: Transaction, organization_id: str, *, besides: Iterable[str], limit: int) -> list[Write]:
    """The writes that can be looked at now: of each lane the first open one, if it is due. The oldest first.

    Args:
        transaction: where.
        organization_id: whose.
        besides: lanes that somebody works on already.
        limit: how many at the most.
    """
    values = {"organization": organization_id, "besides": list(besides), "limit": limit}
    with transaction.cursor(row_factory=class_row(Write)) as cursor:
        return cursor.execute(_DUE, values).fetchall()


def next_due(transaction: Transaction, organization_id: str, *, after: float = 0.0) -> datetime | None:
    """When something of an organization is due next; None: nothing is, by itself.

    Args:
        transaction: where.
        organization_id: whose.
        after: seconds from now, at the least.
    """
    row = transaction.execute(_NEXT_DUE, {"organization": organization_id, "after": after}).fetchone()
    return row[0] if row else None


@dataclass(frozen=True, slots=True)
class Sender:
    """Whether somebody is at an organization's writes.

    Attributes:
        running: a worker holds the lease.
        due_at: from when somebody should look; None: nothing is to be done.
        paused: that is not yet.
    """

    running: bool = False
    due_at: datetime | None = None
    paused: bool = False


def sender(transaction: Transaction, organization_id: str) -> Sender:
    """How the sending of an organization's writes fares."""
    with transaction.cursor(row_factory=class_row(Sender)) as cursor:
        return cursor.execute(_SENDER, (organization_id,)).fetchone() or Sender()


def is_open(transaction: Transaction, organization_id: str, lane: str) -> bool:
    """Whether a write of this lane has not come to its end."""
    return (
        _one(transaction, f"organization_id = %s AND lane = %s AND {_IS_OPEN} LIMIT 1", (organization_id, lane))
        is not None
    )


def begin(transaction: Transaction, write: Write, *, prior: dict[str, Any] | None, seconds: float) -> bool:
    """Note that a write is about to be sent.

    Args:
        transaction: holds the lease; the request is sent when it has committed.
        write: which; it is pending.
        prior: the values before, as far as they are known.
        seconds: after which the request is over for certain.

    Returns:
        False: it is not pending any more.
    """
    values = {"id": write.id, "prior": None if prior is None else Jsonb(prior), "seconds": seconds}
    return transaction.execute(_BEGIN, values).rowcount == 1


def decide(transaction: Transaction, write: Write, fate: Fate) -> bool:
    """Write down what became of a write.

    Args:
        transaction: holds the lease.
        write: as it was when it was last seen, sending if `begin` was called.
        fate: what becomes of it.

    Returns:
        False: it is not open any more.
    """
    error = fate.error
    values = {
        "id": write.id,
        "state": fate.state,
        "pause": fate.pause,
        "confirmed_by": fate.confirmed_by,
        "unsent": int(fate.unsent),
        "code": error.code if error else None,
        "error": error.message if error else None,
        "status": error.status if error else None,
        "request_id": error.request_id if error else None,
        "cf_ray": error.cf_ray if error else None,
    }
    return transaction.execute(_DECIDE, values).rowcount == 1


def note_prior(transaction: Transaction, write: Write, prior: dict[str, Any]) -> None:
    """Keep the values before a write that is not sent yet."""
    transaction.execute(
        "UPDATE backmarket.api_writes SET prior = %s WHERE id = %s AND state = 'pending'", (Jsonb(prior), write.id)
    )


def ask_now(transaction: Transaction, organization_id: str) -> None:
    """Let what waits for its next try be due at once; what is unknown keeps its time."""
    transaction.execute(
        "UPDATE backmarket.api_writes SET due_at = now()"
        " WHERE organization_id = %s AND state = 'pending' AND due_at > now()",
        (organization_id,),
    )


def retry(transaction: Transaction, write: Write) -> Write | None:
    """Let a write be sent again, as a person decided; None: it is not that person's any more.

    Args:
        transaction: has made the organization's work due (`work.want`), and so holds its row.
        write: as the person saw it.
    """
    return _changed(transaction, write, _RETRY)


def settle(transaction: Transaction, write: Write, *, arrived: bool) -> Write | None:
    """End a write of which a person has seen what became of it; None: it is not that person's any more.

    Args:
        transaction: see `retry`.
        write: as the person saw it.
        arrived: what was asked for is there.
    """
    return _changed(transaction, write, _ARRIVED if arrived else _NOT_ARRIVED)


def _changed(transaction: Transaction, write: Write, change: str) -> Write | None:
    with transaction.cursor(row_factory=class_row(Write)) as cursor:
        return cursor.execute(
            f"UPDATE backmarket.api_writes SET {change} WHERE id = %s AND state = %s"
            f" AND (state = 'refused' OR due_at = 'infinity') RETURNING {_COLUMNS}".encode(),
            (write.id, write.state),
        ).fetchone()


def _one(transaction: Transaction, condition: str, values: tuple[Any, ...]) -> Write | None:
    with transaction.cursor(row_factory=class_row(Write)) as cursor:
        statement = f"SELECT {_COLUMNS} FROM backmarket.api_writes WHERE {condition}"
        return cursor.execute(statement.encode(), values).fetchone()


def _after(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
        raise InvalidArgument("This cursor is not one that a query gave: pass `next_cursor` as it came.")
    return int(cursor)


_NO_ERROR = "error_code = NULL, error = NULL, error_status = NULL, error_request_id = NULL, error_cf_ray = NULL"
_RETRY = (
    "state = 'pending', due_at = now(), settled_at = NULL, settle_at = NULL, prior = NULL, sent = 0, tries = 0,"
    f" {_NO_ERROR}"
)
_ARRIVED = f"state = 'succeeded', settled_at = now(), settle_at = NULL, confirmed_by = 'person', {_NO_ERROR}"
_NOT_ARRIVED = (
    "state = 'refused', settled_at = now(), settle_at = NULL, error_code = 'not_arrived',"
    " error = 'It never arrived: a person has looked.'"
)

_OPEN = frozenset({WriteState.PENDING, WriteState.SENDING, WriteState.UNKNOWN})
_IS_OPEN = "state IN ('pending', 'sending', 'unknown')"

_MADE = {
    "due_at": "NULLIF(due_at, 'infinity') AS due_at",
    "behind": f"CASE WHEN {_IS_OPEN} THEN (SELECT min(e.id) FROM backmarket.api_writes e"
    " WHERE e.organization_id = api_writes.organization_id AND e.lane = api_writes.lane AND e.id < api_writes.id"
    " AND e.state IN ('pending', 'sending', 'unknown')) END AS behind",
}
"""What is read of a row in another way than by its name."""

_COLUMNS = ", ".join(_MADE.get(each.name, each.name) for each in fields(Write))

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
WHERE api_writes.due_at <= now() AND NOT lane = ANY(%(besides)s) ORDER BY id LIMIT %(limit)s
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
UPDATE backmarket.api_writes SET state = 'sending', sent = sent + 1, sent_at = now(), prior = %(prior)s,
    settle_at = now() + make_interval(secs => %(seconds)s), due_at = now() + make_interval(secs => %(seconds)s)
WHERE id = %(id)s AND state = 'pending'
"""

_DECIDE = f"""
UPDATE backmarket.api_writes SET state = %(state)s, sent = sent - %(unsent)s, confirmed_by = %(confirmed_by)s,
    due_at = CASE WHEN %(pause)s::float8 IS NULL THEN 'infinity' ELSE GREATEST(
        now() + make_interval(secs => %(pause)s::float8), CASE WHEN %(state)s = 'unknown' THEN settle_at END
    ) END,
    settle_at = CASE WHEN %(state)s = 'unknown' THEN settle_at END,
    settled_at = CASE WHEN %(state)s IN ('succeeded', 'refused') THEN now() END,
    tries = CASE WHEN %(state)s IN ('succeeded', 'refused') THEN 0 ELSE tries + 1 END,
    error_code = %(code)s, error = %(error)s, error_status = %(status)s, error_request_id = %(request_id)s,
    error_cf_ray = %(cf_ray)s
WHERE id = %(id)s AND {_IS_OPEN}
"""
