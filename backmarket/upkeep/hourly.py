"""Hourly upkeep: keeps tables from growing without end, and data from being kept for too long."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic

from backmarket.bulk import retention as bulk_jobs
from backmarket.database import Database, console_sessions
from backmarket.limits import sku_quota
from backmarket.settings import Settings
from backmarket.upkeep import erasure, partitions
from backmarket.writes import retention as writes

INTERVAL_SECONDS = 3600
"""Seconds between two upkeeps that beat starts."""


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What an upkeep did.

    Attributes:
        partitions_made: for the next weeks.
        partitions_dropped: those that were too old.
        put_off: partitions that could not be locked in time; the next upkeep tries again.
        orders_erased: orders whose personal data was too old.
        more: there may be more such orders, writes or jobs; the time limit ended it.
        writes_dropped: writes that ended long ago.
        bulk_jobs_dropped: bulk jobs that ended long ago.
        console_sessions_dropped: sessions of the console whose time is over.
    """

    partitions_made: int
    partitions_dropped: int
    put_off: int
    orders_erased: int
    more: bool = False
    writes_dropped: int = 0
    bulk_jobs_dropped: int = 0
    console_sessions_dropped: int = 0


def claim(database: Database) -> bool:
    """Claim the upkeep if it is due. Only the caller that gets True runs it."""
    with database.transaction() as transaction:
        return transaction.execute(_CLAIM, (INTERVAL_SECONDS,)).fetchone() is not None


def ask_again(database: Database) -> None:
    """Make the upkeep due at once: it did not finish."""
    with database.transaction() as transaction:
        transaction.execute("UPDATE backmarket.upkeep SET due_at = now()")


def run(database: Database, settings: Settings, *, seconds: float | None = None) -> Upkeep:
    """Run the whole upkeep; safe to repeat, to run twice at once and to kill.

    Args:
        settings: retention times.
        seconds: after which it begins no new batch; None: no limit.
    """
    retained = partitions.retain(
        database,
        {
            "changes": settings.changes_retention_days,
            "sync_runs": settings.runs_retention_days,
            "audit": settings.audit_retention_days,
            "event_attempts": settings.event_attempts_retention_days,
        },
    )
    until = None if seconds is None else monotonic() + seconds
    settled = writes.drop_settled(database, settings.writes_retention_days, seconds=_left(until))
    ended = bulk_jobs.drop_ended(database, settings.bulk_retention_days, seconds=_left(until))
    erased = erasure.erase_old(database, settings.personal_data_days, seconds=_left(until))
    sku_quota.drop_free(database)
    return Upkeep(
        retained.made,
        retained.dropped,
        retained.put_off,
        erased.orders,
        erased.more or settled.more or ended.more,
        settled.rows,
        ended.rows,
        console_sessions.drop_expired(database),
    )


def _left(until: float | None) -> float | None:
    return None if until is None else until - monotonic()


# Writes nothing and locks no row unless the upkeep is due.
_CLAIM = """
INSERT INTO backmarket.upkeep AS u (due_at) SELECT now() + make_interval(secs => %s)
WHERE NOT EXISTS (SELECT FROM backmarket.upkeep WHERE due_at > now())
ON CONFLICT (only_row) DO UPDATE SET due_at = excluded.due_at WHERE u.due_at <= now()
RETURNING due_at
"""
