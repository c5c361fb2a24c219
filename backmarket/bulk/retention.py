"""How long bulk jobs are kept, with their parts and their files."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic

from backmarket.bucket import deletion_queue
from backmarket.database import Database

BATCH = 20
"""Jobs that are dropped in one transaction; each may have thousands of parts."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """How far the dropping of old jobs came.

    Attributes:
        jobs: that were dropped.
        more: there may be more; the time was over.
    """

    jobs: int = 0
    more: bool = False


def drop_ended(database: Database, days: int, *, seconds: float | None = None) -> Dropped:
    """Drop the jobs that ended so long ago, with their files. What a person has yet to decide goes with them.

    Args:
        database: where.
        days: since their end; 0: none is dropped.
        seconds: after which no new batch begins; None: no limit.
    """
    until = None if seconds is None else monotonic() + seconds
    total = 0
    while days:
        if until is not None and monotonic() >= until:
            return Dropped(total, more=True)
        with database.transaction() as transaction:
            gone = transaction.execute(_DROP, {"days": days, "limit": BATCH}).fetchall()
            deletion_queue.request(transaction, (prefix for (prefix,) in gone))
        total += len(gone)
        if len(gone) < BATCH:
            break
    return Dropped(total)


_DROP = """
DELETE FROM backmarket.bulk_jobs WHERE (organization_id, id) IN (
    SELECT organization_id, id FROM backmarket.bulk_jobs WHERE ended_at < now() - make_interval(days => %(days)s)
    ORDER BY ended_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
) RETURNING object_prefix
"""
