"""A database that the tests of one module share, emptied for each: many small tests, and one `CREATE DATABASE`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from backmarket.database import Database
from backmarket.database.schema import apply_schema
from backmarket.standalone.embedded import Stack
from tests.support.waiting import wait_until

_redis_numbers = itertools.count(1)


def own_redis(stack: Stack) -> str:
    """The URL of a Valkey database that nobody had before and nobody gets again: no straggler's message lies in it.

    Args:
        stack: where.
    """
    return urlsplit(stack.addresses.redis_url)._replace(path=f"/{next(_redis_numbers)}").geturl()


@contextmanager
def shared_database(stack: Stack, name: str) -> Iterator[str]:
    """A database with the schema, for as long as the `with` block.

    Args:
        stack: where.
        name: of the module.
    """
    url = stack.addresses.database_url
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        shared = urlsplit(url)._replace(path=f"/{name}").geturl()
        database = Database(shared)
        apply_schema(database)
        database.close()
        yield shared
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def empty(url: str) -> None:
    """Remove what belongs to organizations, and give the schedule its first values."""
    with psycopg.connect(url, autocommit=True) as connection:
        tables = connection.execute(
            "SELECT table_name FROM information_schema.columns"
            " WHERE table_schema = 'backmarket' AND column_name = 'organization_id'"
        ).fetchall()
        names = sql.SQL(", ").join(sql.Identifier("backmarket", table) for (table,) in tables)
        connection.execute(sql.SQL("TRUNCATE {} RESTART IDENTITY").format(names))
        connection.execute(
            "UPDATE backmarket.schedule"
            " SET enabled = DEFAULT, interval_seconds = DEFAULT, full_interval_seconds = DEFAULT"
        )


@contextmanager
def without_autovacuum(stack: Stack) -> Iterator[None]:
    """A server whose transactions are the test's own: one of autovacuum's would hold back the change feed for a moment.

    Args:
        stack: where.
    """
    with psycopg.connect(stack.addresses.database_url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET autovacuum = off")
        connection.execute("SELECT pg_reload_conf()")
        workers = "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'autovacuum%'"
        wait_until(lambda: connection.execute(workers).fetchone() == (0,), "autovacuum has ended")
    try:
        yield
    finally:
        if stack.postgres.pid is None:
            stack.postgres.start()
        with psycopg.connect(stack.addresses.database_url, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM RESET autovacuum")
            connection.execute("SELECT pg_reload_conf()")
