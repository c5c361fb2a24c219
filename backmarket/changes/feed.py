"""The change feed: what was created, updated and removed, for other applications to read and to follow.

Numbers of a sequence commit out of order, so a reader gets only what is below the oldest running transaction, in the
order of transaction and number: nothing is skipped, and nothing comes twice (docs/decisions/0010). A cursor is a
position in that order. It always names an event that was committed, never a transaction that a crash may undo. It also
names the server and its timeline: after a failover or a restore, numbers of transactions that were lost are used again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from psycopg.rows import class_row

from backmarket.database import Database, Transaction
from backmarket.errors import InvalidArgument, UsageError
from backmarket.observability.logs import Logger
from backmarket.queries.pagination import check_limit
from backmarket.resources import check_resource

CHANNEL = "backmarket_changes"
"""Where `announce` says that there are new events."""

NOW = "now"
"""Instead of a cursor: the end of the feed."""

MAX_PAGE_SIZE = 10_000
"""Maximum number of events in one call."""


log = Logger(__name__)


class ChangesMissed(UsageError):
    """Events after this cursor cannot be given: they were dropped, or may have been lost in a failover or a restore."""

    code = "changes_missed"


@dataclass(frozen=True, slots=True)
class Change:
    """One event: a row was created, updated or removed.

    Attributes:
        cursor: the position of this event; what comes after it is asked for with it.
        resource: such as `orders`.
        external_id: the row's id at Back Market, as a text.
        kind: what happened.
        fields: the API's names of the fields that differ, of an updated row.
        recorded_at: when the transaction that did it began.
        initial: the organization's first walk of this resource found it.
        values: old and new value of each of `fields` that is a short column and not personal; None: none is told.
        market: of a listing: the further market of the connection in which it happened; empty: that of its locale.
    """

    cursor: str
    organization_id: str
    resource: str
    external_id: str
    kind: Literal["created", "updated", "removed"]
    fields: list[str]
    recorded_at: datetime
    initial: bool = False
    values: dict[str, list[Any]] | None = None
    market: str = ""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where the feed can be read now; a position is a transaction and a number.

    Attributes:
        horizon: the oldest running transaction: nothing below it will appear any more.
        end: the last event below it.
        dropped: up to here, events may have been dropped.
        history: the server and its timeline.
    """

    horizon: tuple[int, int]
    end: tuple[int, int]
    dropped: tuple[int, int]
    history: str


@dataclass(frozen=True, slots=True)
class Changes:
    """Some events, and where the next ones begin.

    Attributes:
        items: the events, oldest first.
        next_cursor: pass it as `after` next time, and keep it: it moves on even where no event matched.
        more: whether there may be more now.
    """

    items: list[Change]
    next_cursor: str
    more: bool

    def __iter__(self) -> Iterator[Change]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, slots=True)
class ChangeFilter:
    """Which events; what is None does not restrict.

    Args:
        organization_id: of this organization.
        resource: of this resource.

    Raises:
        InvalidArgument: if there is no such resource.
    """

    organization_id: str | None = None
    resource: str | None = None

    def __post_init__(self) -> None:
        if self.resource is not None:
            check_resource(self.resource)

    def condition(self) -> str:
        """An SQL condition on `c`."""
        parts = [f"c.{name} = %({name})s" for name in self.__slots__ if getattr(self, name) is not None]
        return " AND ".join(["true", *parts])


def get_changes(
    database: Database, after: str | None = None, where: ChangeFilter | None = None, *, limit: int = 1000
) -> Changes:
    """Events after a cursor, oldest first.

    Args:
        after: a cursor, or `now`; None: from the oldest event that is kept.
        where: a filter; None: all events.
        limit: 1 to 10,000.

    Raises:
        InvalidArgument: if the limit or the cursor is invalid.
        ChangesMissed: if events after the cursor were dropped, or may have been lost in a failover or a restore.
    """
    check_limit(limit, MAX_PAGE_SIZE)
    with database.transaction() as transaction:
        return read(transaction, after, where or ChangeFilter(), limit)


def get_history(
    database: Database, organization_id: str, resource: str, external_id: object, *, limit: int = 100
) -> list[Change]:
    """The events of one row that are kept, the newest first.

    Args:
        organization_id: the organization that the row belongs to.
        resource: such as `orders`.
        external_id: the row's id at Back Market.
        limit: 1 to 10,000.

    Raises:
        InvalidArgument: if the limit or the resource is invalid.
    """
    check_limit(limit, MAX_PAGE_SIZE)
    where = ChangeFilter(organization_id, resource)
    values = {
        "organization_id": where.organization_id,
        "resource": where.resource,
        "external_id": str(external_id),
        "limit": limit,
    }
    with database.transaction() as transaction, transaction.cursor(row_factory=class_row(Change)) as cursor:
        return cursor.execute(_HISTORY, values).fetchall()


def get_cursor(database: Database) -> str:
    """The end of the feed now: take it, read the tables, and follow the feed from it."""
    return get_changes(database, NOW, limit=1).next_cursor


def announce(database: Database) -> bool:
    """Notify listeners if there are events that they were not notified of. One statement; without events, no write.

    Returns:
        Whether there were any.
    """
    with database.transaction() as transaction:
        return transaction.execute(_ANNOUNCE, (CHANNEL,)).fetchone() is not None


def read(transaction: Transaction, after: str | None, where: ChangeFilter, limit: int) -> Changes:
    """See `get_changes`. The first statement keeps partitions from being dropped until the transaction ends."""
    begin, history = ((0, 0), "") if after in {None, NOW} else decode_cursor(after)
    bounds = read_bounds(transaction)
    if history and history != bounds.history:
        raise ChangesMissed(
            "This cursor is from before a failover or a restore, or of another server, and events may have been lost."
            ' Read the tables again, and continue with after="now" (`--after now`).'
        )
    if begin[0] > bounds.horizon[0]:
        raise InvalidArgument(
            "This cursor is of another database, or younger than the backup that this one was restored from."
            ' Read the tables again, and continue with after="now" (`--after now`).'
        )
    end = max(begin, bounds.end, bounds.dropped)
    if after == NOW:
        return Changes([], encode_cursor(end, bounds.history), more=False)
    if after is not None and begin < bounds.dropped:
        raise ChangesMissed(
            "Events after this cursor were dropped, as they were older than BACKMARKET_CHANGES_RETENTION_DAYS or of the"
            " server that this database was restored from."
            ' Read the tables again, and continue with after="now" (`--after now`).'
        )
    with transaction.cursor(row_factory=class_row(Change)) as cursor:
        items = cursor.execute(
            _PAGE.format(where.condition()),
            {
                "organization_id": where.organization_id,
                "resource": where.resource,
                "transaction": str(begin[0]),
                "id": begin[1],
                "last_transaction": str(end[0]),
                "last_id": end[1],
                "limit": limit,
            },
        ).fetchall()
    more = len(items) == limit
    return Changes(items, items[-1].cursor if more else encode_cursor(end, bounds.history), more)


def read_bounds(transaction: Transaction) -> Bounds:
    """Where the feed can be read; keeps partitions from being dropped until the transaction ends."""
    *positions, history = transaction.execute(_POSITIONS).fetchone() or ()
    horizon, end, dropped = (tuple(map(int, position.split(":"))) for position in positions)
    return Bounds((horizon[0], horizon[1]), (end[0], end[1]), (dropped[0], dropped[1]), history)


def encode_cursor(position: tuple[int, int], history: str) -> str:
    """The cursor of a position."""
    return ":".join([*map(str, position), history])


def decode_cursor(cursor: Any) -> tuple[tuple[int, int], str]:
    """The position, and the server and timeline; that is empty in cursors of versions before 0.1.0.

    Raises:
        InvalidArgument: if it is not a cursor.
    """
    form = r"([0-9]{1,19}):([0-9]{1,19})(?::([0-9]{1,20}-[0-9]{1,10}))?"
    found = re.fullmatch(form, cursor, re.ASCII) if isinstance(cursor, str) else None
    position = (int(found[1]), int(found[2])) if found else (-1, -1)
    if not all(0 <= each < 2**63 for each in position):
        raise InvalidArgument(
            'This is not a cursor. Pass `next_cursor`, or the `cursor` of an event, unchanged, or "now".'
        )
    return position, (found[3] or "") if found else ""


# Where the oldest running transaction is, where the last event below it is, up to where events were dropped, and the
# server with its timeline.
_POSITIONS = """
SELECT pg_snapshot_xmin(pg_current_snapshot())::text || ':0',
    COALESCE((
        SELECT transaction_id || ':' || id FROM backmarket.changes
        WHERE transaction_id < pg_snapshot_xmin(pg_current_snapshot())
        ORDER BY transaction_id DESC, id DESC LIMIT 1
    ), '0:0'),
    COALESCE((SELECT transaction_id || ':' || id FROM backmarket.feed_marks WHERE mark = 'dropped'), '0:0'),
    backmarket.server_history()
"""

_EVENTS = """
SELECT c.transaction_id || ':' || c.id || ':' || (SELECT backmarket.server_history()) AS cursor,
    c.organization_id, c.resource, c.external_id, c.kind, c.fields, c.recorded_at, c.initial,
    c.field_values AS values, c.market
FROM backmarket.changes c
"""

_HISTORY = f"""{_EVENTS}
WHERE c.organization_id = %(organization_id)s AND c.external_id = %(external_id)s AND c.resource = %(resource)s
ORDER BY c.transaction_id DESC, c.id DESC LIMIT %(limit)s
"""

_PAGE = f"""{_EVENTS}
WHERE (c.transaction_id, c.id) > (%(transaction)s::text::xid8, %(id)s::bigint)
  AND (c.transaction_id, c.id) <= (%(last_transaction)s::text::xid8, %(last_id)s::bigint) AND {{}}
ORDER BY c.transaction_id, c.id LIMIT %(limit)s
"""

_ANNOUNCE = """
WITH newest AS (
    SELECT transaction_id, id FROM backmarket.changes
    WHERE transaction_id < pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY transaction_id DESC, id DESC LIMIT 1
), announced AS (
    INSERT INTO backmarket.feed_marks AS m (mark, transaction_id, id)
    SELECT 'announced', n.transaction_id, n.id FROM newest n
    WHERE NOT EXISTS (
        SELECT FROM backmarket.feed_marks a
        WHERE a.mark = 'announced' AND (a.transaction_id, a.id) >= (n.transaction_id, n.id)
    )
    ON CONFLICT (mark) DO UPDATE SET transaction_id = excluded.transaction_id, id = excluded.id
    WHERE (m.transaction_id, m.id) < (excluded.transaction_id, excluded.id)
    RETURNING mark
)
SELECT pg_notify(%s, '') FROM announced
"""
