"""Drop rows that are too old, with their objects in the bucket."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic

from backmarket.bucket import deletion_queue
from backmarket.database import Database


@dataclass(frozen=True, slots=True)
class Dropped:
    """The progress of dropping old rows.

    Attributes:
        rows: number of dropped rows.
        more: the time ran out, and there may be more.
    """

    rows: int = 0
    more: bool = False


def drop_old(database: Database, statement: str, days: int, *, batch: int, seconds: float | None = None) -> Dropped:
    """Drop old rows in batches, and queue their objects for deletion.

    Args:
        statement: deletes at most `%(limit)s` rows older than `%(days)s` days, and returns the object key of each.
        days: minimum age; 0: drop none.
        batch: maximum number of rows dropped in one transaction.
        seconds: time after which no new batch begins; None: no limit.
    """
    until = None if seconds is None else monotonic() + seconds
    total = 0
    while days:
        if until is not None and monotonic() >= until:
            return Dropped(total, more=True)
        with database.transaction() as transaction:
            gone = transaction.execute(statement.encode(), {"days": days, "limit": batch}).fetchall()
            deletion_queue.request(transaction, (key for (key,) in gone if key))
        total += len(gone)
        if len(gone) < batch:
            break
    return Dropped(total)
