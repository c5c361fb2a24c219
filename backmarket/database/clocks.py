"""How far the hosts' clocks are from PostgreSQL's. They decide nothing; a person is told."""

from __future__ import annotations

import time

from backmarket.database.connection import Database

FORGOTTEN_HOURS = 1
"""Hours after which a process that no longer reports is left out."""


def report(database: Database, process: str) -> float:
    """Compare this host's clock with PostgreSQL's, and keep the difference.

    Args:
        process: a name by which a person finds the process and its host.

    Returns:
        Seconds by which this host's clock is ahead.

    Raises:
        BackMarketError: as for `Database.transaction`.
    """
    with database.transaction() as transaction:
        asked_at = time.time()
        row = transaction.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
        assert row is not None  # noqa: S101 - a SELECT without FROM has one
        ahead = (asked_at + time.time()) / 2 - float(row[0])
        transaction.execute(_KEEP, (process, ahead))
        transaction.execute(
            "DELETE FROM backmarket.clocks WHERE reported_at < now() - make_interval(hours => %s)", (FORGOTTEN_HOURS,)
        )
    return ahead


def reported(database: Database) -> dict[str, float]:
    """Seconds by which each process's clock was ahead of PostgreSQL's when it last reported.

    Raises:
        BackMarketError: as for `Database.transaction`.
    """
    with database.transaction() as transaction:
        rows = transaction.execute("SELECT process, ahead_seconds FROM backmarket.clocks ORDER BY process").fetchall()
    return dict(rows)


_KEEP = """
INSERT INTO backmarket.clocks (process, ahead_seconds, reported_at) VALUES (%s, %s, now())
ON CONFLICT (process) DO UPDATE SET ahead_seconds = excluded.ahead_seconds, reported_at = excluded.reported_at
"""
