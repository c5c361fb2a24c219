"""Retention: partitions of growing tables are created ahead, and dropped when all their rows are too old.

The owner's functions `make_partitions` and `drop_partition` do it; a drop waits 1 s at most for writers, which queue
behind it, and is then put off to the next upkeep. Safe to run at any time, twice at once, and to be killed anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from backmarket.database import Database
from backmarket.errors import DatabaseUnavailable
from backmarket.observability.logs import Logger

MOMENTS = {
    "changes": "recorded_at",
    "sync_runs": "finished_at",
    "audit": "recorded_at",
    "event_attempts": "attempted_at",
}
"""The partitioned tables, and the column that tells the age of a row."""

log = Logger(__name__)


@dataclass(frozen=True, slots=True)
class Retained:
    """Result of the retention.

    Attributes:
        made: partitions created ahead.
        dropped: partitions that were too old.
        put_off: partitions that could not be locked in time; the next upkeep retries.
    """

    made: int = 0
    dropped: int = 0
    put_off: int = 0


def retain(database: Database, days: dict[str, int]) -> Retained:
    """Create the partitions of the next weeks, and drop those that are too old.

    Args:
        days: for each table, the days that its rows are kept; 0: for ever.
    """
    _forget_foreign(database)
    made, put_off = 0, 0
    try:
        made = _make(database)
    except DatabaseUnavailable as error:
        put_off = _put_off("partitions", error)
    dropped = 0
    for table, limit in days.items():
        for partition in _old(database, table, limit) if limit else ():
            try:
                dropped += _drop(database, table, partition, limit)
            except DatabaseUnavailable as error:
                put_off += _put_off(partition, error)
    return Retained(made, dropped, put_off)


def _put_off(what: str, error: DatabaseUnavailable) -> int:
    log.warning("retention.put_off", table=what, error=error.message)
    return 1


def _forget_foreign(database: Database) -> None:
    """Drop events of another server's transactions, from a restored dump: they would appear out of order.

    Every reader then gets `ChangesMissed`.
    """
    with database.transaction() as transaction:
        events = transaction.execute(_FORGET_EVENTS).rowcount
        marks = transaction.execute(_FORGET_MARKS).rowcount
        if events or marks:
            transaction.execute(_NOTE_RESTORED)
            log.warning("retention.events_of_another_server", dropped=events)


def _make(database: Database) -> int:
    with database.transaction() as transaction:
        (made,) = transaction.execute("SELECT backmarket.make_partitions()").fetchone() or (0,)
        return int(made)


def _old(database: Database, table: str, days: int) -> list[str]:
    """The partitions of a table whose youngest possible row is older than so many days, the oldest first."""
    with database.transaction() as transaction:
        return [name for (name,) in transaction.execute(_OLD, {"table": f"backmarket.{table}", "days": days})]


def _drop(database: Database, table: str, partition: str, days: int) -> int:
    """Drop a partition; for the feed, its end is noted, so that a late reader gets `ChangesMissed`.

    Returns:
        Number of partitions dropped: 1, or 0 if another upkeep was faster.
    """
    with database.transaction() as transaction:
        found = transaction.execute("SELECT backmarket.drop_partition(%s, %s, %s)", (table, partition, days)).fetchone()
        return int(found == (True,))


# We choose a partition's name; its bounds are what counts.
_OLD = r"""
SELECT relname FROM (
    SELECT c.relname, substring(pg_get_expr(c.relpartbound, c.oid) FROM $$TO \('([^']+)'\)$$)::timestamptz AS ends
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = %(table)s::regclass
) AS partitions
WHERE ends <= now() - make_interval(days => %(days)s) ORDER BY ends
"""

# No visible row can belong to a transaction that this server has not begun.
_FORGET_EVENTS = "DELETE FROM backmarket.changes WHERE transaction_id >= pg_snapshot_xmax(pg_current_snapshot())"

_FORGET_MARKS = "DELETE FROM backmarket.feed_marks WHERE transaction_id > pg_snapshot_xmax(pg_current_snapshot())"

_NOTE_RESTORED = """
INSERT INTO backmarket.feed_marks (mark, transaction_id, id)
VALUES ('dropped', pg_snapshot_xmin(pg_current_snapshot()), 0)
ON CONFLICT (mark) DO UPDATE SET transaction_id = excluded.transaction_id, id = excluded.id
"""
