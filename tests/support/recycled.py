"""Databases that tests use one after the other: making one costs half a second, emptying it some milliseconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from backmarket.standalone.embedded import Stack
from tests.support.databases import AS_REPLICA, OWNER, as_owner, delete_rows, revive_postgres

_SPARE = "spare"


class DatabaseRecycler:
    """Lends copies of a template, each under a name of its own, so that no straggler of a test finds it again.

    A database that a test has changed in any other way than by writing rows is dropped, and the next test gets a copy.

    Args:
        stack: of the server.
        template: name of the database with the schema.
    """

    def __init__(self, stack: Stack, template: str) -> None:
        self._stack = stack
        self._template = template
        self._spare: _Pristine | None = None
        self._admin: psycopg.Connection[Any] | None = None

    @contextmanager
    def lend(self, name: str) -> Iterator[str]:
        """A database for one test.

        Args:
            name: that it has meanwhile.

        Yields:
            Its URL for OWNER.
        """
        admin = self._server()
        if self._spare is None:
            _run(admin, "CREATE DATABASE {} TEMPLATE {} OWNER {}", name, self._template, OWNER)
            with self._connect(name) as own:
                pristine = _Pristine(own)
        else:
            pristine, self._spare = self._spare, None
            _run(admin, "ALTER DATABASE {} RENAME TO {}", _SPARE, name)
        yield as_owner(self._url(name))
        revive_postgres(self._stack)
        self._spare = pristine if self._emptied(self._server(), name, pristine) else None

    def close(self) -> None:
        """Drop what is kept for the next test."""
        admin = self._server()
        if self._spare is not None:
            _run(admin, "DROP DATABASE {} WITH (FORCE)", _SPARE)
        admin.close()

    def _emptied(self, admin: psycopg.Connection[Any], name: str, pristine: _Pristine) -> bool:
        """Empty it under its new name, under which no straggler of the test writes any more."""
        try:
            admin.execute(_END_SESSIONS, (name,))
            _run(admin, "ALTER DATABASE {} RENAME TO {}", name, _SPARE)
        except psycopg.Error:  # a straggler connects again and again
            _run(admin, "DROP DATABASE {} WITH (FORCE)", name)
            return False
        try:
            with self._connect(_SPARE) as own:
                if pristine.restore(own):
                    return True
        except psycopg.Error:  # the test has broken it
            pass
        _run(admin, "DROP DATABASE {} WITH (FORCE)", _SPARE)
        return False

    def _server(self) -> psycopg.Connection[Any]:
        """A connection to the server, opened again if a test has ended it."""
        try:
            if self._admin is not None:
                self._admin.execute("SELECT 1")
                return self._admin
        except psycopg.Error:
            pass
        self._admin = self._connect()
        return self._admin

    def _connect(self, name: str | None = None) -> psycopg.Connection[Any]:
        url = self._stack.addresses.database_url if name is None else self._url(name)
        return psycopg.connect(url, autocommit=True, options=AS_REPLICA)

    def _url(self, name: str) -> str:
        return urlsplit(self._stack.addresses.database_url)._replace(path=f"/{name}").geturl()


class _Pristine:
    """What a database is like before any test has used it.

    Args:
        connection: to it, of a superuser.
    """

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._made_at = self._now(connection)
        self._counts = self._catalogs(connection)
        self._tables = [row[0] for row in connection.execute(_TABLES)]
        self._rows = {table: self._copy(connection, table) for table in self._tables}

    def restore(self, connection: psycopg.Connection[Any]) -> bool:
        """Make its rows what they were; whether nothing but rows was changed."""
        changed = connection.execute(_CHANGED, {"since": self._made_at}).fetchone()
        if changed != (False,) or self._catalogs(connection) != self._counts:
            return False
        delete_rows(connection, self._tables)
        for table, rows in self._rows.items():
            if rows:
                with connection.cursor().copy(f"COPY {table} FROM STDIN".encode()) as copy:
                    copy.write(rows)
        self._made_at = self._now(connection)
        return True

    def _now(self, connection: psycopg.Connection[Any]) -> int:
        row = connection.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint").fetchone()
        assert row is not None
        return int(row[0])

    def _catalogs(self, connection: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
        return connection.execute(_COUNTS).fetchall()

    def _copy(self, connection: psycopg.Connection[Any], table: str) -> bytes:
        with connection.cursor().copy(f"COPY {table} TO STDOUT".encode()) as copy:
            return b"".join(bytes(part) for part in copy)


def _run(connection: psycopg.Connection[Any], statement: str, *names: str) -> None:
    connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


_END_SESSIONS = "SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity WHERE datname = %s"

_TABLES = """
SELECT oid::regclass::text FROM pg_class
WHERE relkind = 'r' AND relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname IN ('backmarket', 'public'))
ORDER BY 1
"""

# A temporary table leaves no row behind, and its schema is none of the test's.
_CATALOGS = (
    "pg_attribute", "pg_attrdef", "pg_constraint", "pg_description", "pg_event_trigger", "pg_extension", "pg_index",
    "pg_policy", "pg_proc", "pg_trigger", "pg_type", "pg_default_acl", "pg_publication",
)  # fmt: skip
_COUNTS = " UNION ALL ".join(f"SELECT '{name}', count(*) FROM {name}" for name in (*_CATALOGS, "pg_class")) + (
    " UNION ALL SELECT nspname::text, 1 FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp_'"
)

# Statistics count as a change: another test's would decide over plans.
_CHANGED = f"""
SELECT {" OR ".join(f"EXISTS (SELECT FROM {name} WHERE xmin::text::bigint >= %(since)s)" for name in _CATALOGS)}
    OR EXISTS (SELECT FROM pg_class WHERE xmin::text::bigint >= %(since)s)
    OR EXISTS (
        SELECT FROM pg_class WHERE relkind = 'r' AND relnamespace >= 16384 AND reltuples >= 0
    )
    OR EXISTS (
        SELECT FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp_' AND xmin::text::bigint >= %(since)s
    )
    OR EXISTS (
        SELECT FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase WHERE datname = current_database()
    )
    OR EXISTS (
        SELECT FROM pg_database WHERE datname = current_database() AND (datconnlimit <> -1 OR datacl IS NOT NULL)
    )
"""
