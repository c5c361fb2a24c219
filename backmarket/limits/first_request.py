"""Whether a request was ever sent with this database: tells a Redis that is new from one that was emptied."""

from __future__ import annotations

from backmarket.database import Database


def begin_requests(database: Database) -> bool:
    """Note that requests are sent from now on; returns whether none was sent before.

    Raises:
        DatabaseUnavailable: if PostgreSQL is unreachable.
    """
    with database.transaction() as transaction:
        return transaction.execute(_BEGIN).fetchone() is not None


def requests_began(database: Database) -> bool:
    """Whether a request may have been sent.

    Raises:
        DatabaseUnavailable: if PostgreSQL is unreachable.
    """
    with database.transaction() as transaction:
        return transaction.execute("SELECT FROM backmarket.first_request").fetchone() is not None


_BEGIN = "INSERT INTO backmarket.first_request DEFAULT VALUES ON CONFLICT DO NOTHING RETURNING began_at"
