"""The retention of bulk jobs, with their parts and their files."""

from __future__ import annotations

from backmarket.bucket.retention import Dropped, drop_old
from backmarket.database import Database

BATCH = 20
"""Maximum number of jobs dropped in one transaction; each may have thousands of parts."""


def drop_ended(database: Database, days: int, *, seconds: float | None = None) -> Dropped:
    """Drop the jobs that ended more than `days` ago, with their files, even if a person has yet to decide on parts.

    Args:
        days: minimum days since their end; 0: drop none.
        seconds: time after which no new batch begins; None: no limit.
    """
    return drop_old(database, _DROP, days, batch=BATCH, seconds=seconds)


_DROP = """
DELETE FROM backmarket.bulk_jobs WHERE (organization_id, id) IN (
    SELECT organization_id, id FROM backmarket.bulk_jobs WHERE ended_at < now() - make_interval(days => %(days)s)
    ORDER BY ended_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
) RETURNING object_prefix
"""
