"""The console's sessions. A session is a row: without it, the cookie of a browser opens nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from backmarket.database.connection import Database, Transaction


@dataclass(frozen=True, slots=True)
class ConsoleSession:
    """A login at the console.

    Attributes:
        person: the person's name in the settings or at the OpenID provider.
        role: `viewer` or `operator`.
        proved_by: `password` or `oidc`.
        client_address: the address of the person's machine at the login.
        created_at: when the person logged in.
        last_seen_at: when the person last used the session, to the minute.
        expires_at: when the person has to log in again, if the session is not used until then.
    """

    person: str
    role: str
    proved_by: str
    client_address: str
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long a session lasts.

    Args:
        max_seconds: time after the login at which it ends in any case.
        idle_seconds: time without use after which it ends.
    """

    max_seconds: float
    idle_seconds: float


@dataclass(frozen=True, slots=True)
class NewSession:
    """A login at the console that has just been proved.

    Args:
        person: the person's name.
        role: `viewer` or `operator`.
        proved_by: `password` or `oidc`.
        credential: a keyed hash of what gave the role.
        client_address: the address of the person's machine.
    """

    person: str
    role: str
    proved_by: str
    credential: str
    client_address: str


def start(transaction: Transaction, token: str, new: NewSession, lifetime: Lifetime, *, replaces: str) -> None:
    """Start a session.

    Args:
        token: the browser's new token, of which only a hash is stored.
        new: the session.
        lifetime: how long it lasts.
        replaces: the browser's token before the login; its session ends.
    """
    values = asdict(new) | asdict(lifetime) | {"hash": _hash(token), "replaced": _hash(replaces)}
    transaction.execute(_START, values)


def use(
    database: Database, token: str, credentials: Sequence[str], lifetime: Lifetime, *, by_person: bool
) -> ConsoleSession | None:
    """The session of a browser; None: it has not logged in. One statement.

    Args:
        token: the browser's token.
        credentials: those that are valid now. A session with another one ends for good.
        lifetime: how long a session lasts.
        by_person: whether the person uses it, which is noted; otherwise a page refreshes itself.

    Raises:
        BackMarketError: as for `Database.transaction`.
    """
    values = asdict(lifetime) | {"hash": _hash(token), "valid": list(credentials), "by_person": by_person}
    with database.transaction() as transaction:
        row = transaction.execute(_USE, values).fetchone()
    return None if row is None else ConsoleSession(*row)


def end(transaction: Transaction, token: str) -> bool:
    """End the session of a browser for good; return whether there was one."""
    found = transaction.execute("DELETE FROM backmarket.console_sessions WHERE token_hash = %s", (_hash(token),))
    return found.rowcount > 0


def end_all(transaction: Transaction, person: str | None = None) -> int:
    """End all sessions for good, or those of one person; return their number."""
    return transaction.execute(_END_ALL, {"person": person}).rowcount


def open_sessions(database: Database) -> list[ConsoleSession]:
    """The sessions that have not ended, the last used first.

    Raises:
        BackMarketError: as for `Database.transaction`.
    """
    with database.transaction() as transaction:
        return [ConsoleSession(*row) for row in transaction.execute(_OPEN).fetchall()]


def drop_expired(database: Database) -> int:
    """Remove the sessions whose time is over; return their number.

    Raises:
        BackMarketError: as for `Database.transaction`.
    """
    with database.transaction() as transaction:
        return transaction.execute("DELETE FROM backmarket.console_sessions WHERE expires_at <= now()").rowcount


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


_START = """
WITH replaced AS (DELETE FROM backmarket.console_sessions WHERE token_hash = %(replaced)s)
INSERT INTO backmarket.console_sessions
    (token_hash, person, role, proved_by, credential, client_address, expires_at)
VALUES (%(hash)s, %(person)s, %(role)s, %(proved_by)s, %(credential)s, %(client_address)s,
    now() + make_interval(secs => least(%(max_seconds)s, %(idle_seconds)s)))
"""

_USE = """
WITH found AS (
    SELECT *, expires_at > now() AND credential = ANY(%(valid)s::text[]) AS is_valid
    FROM backmarket.console_sessions WHERE token_hash = %(hash)s
),
ended AS (
    DELETE FROM backmarket.console_sessions s USING found f WHERE s.token_hash = f.token_hash AND NOT f.is_valid
),
seen AS (
    -- at most once a minute, and ten times before it would end
    UPDATE backmarket.console_sessions s SET last_seen_at = now(), expires_at = least(
        s.created_at + make_interval(secs => %(max_seconds)s), now() + make_interval(secs => %(idle_seconds)s))
    FROM found f
    WHERE s.token_hash = f.token_hash AND f.is_valid AND %(by_person)s
      AND s.last_seen_at < now() - make_interval(secs => least(60, %(idle_seconds)s / 10))
)
SELECT person, role, proved_by, client_address, created_at, last_seen_at, expires_at FROM found WHERE is_valid
"""

_END_ALL = "DELETE FROM backmarket.console_sessions WHERE %(person)s::text IS NULL OR person = %(person)s"

_OPEN = """
SELECT person, role, proved_by, client_address, created_at, last_seen_at, expires_at
FROM backmarket.console_sessions WHERE expires_at > now() ORDER BY last_seen_at DESC, created_at DESC
"""
