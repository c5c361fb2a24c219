"""The retention of bulk jobs, with their parts and their files."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic

from backmarket.bucket import deletion_queue
from backmarket.database import Database

BATCH = 20
"""Maximum number of jobs dropped in one transaction; each may have thousands of parts."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """The progress of dropping old jobs.

    Attributes:
        jobs: number of dropped jobs.
        more: the time ran out, and there may be more.
    """

    jobs: int = 0
    more: bool = False


def drop_ended(database: Database, days: int, *, seconds: float | None = None) -> Dropped:
    """Drop the jobs that ended more than `days` ago, with their files, even if a person has yet to decide on parts.

    Args:
        days: minimum days since their end; 0: drop none.
        seconds: time after which no new batch begins; None: no limit.
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
