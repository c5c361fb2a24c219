"""Databases for tests, on a server that is set up as badly as PostgreSQL allows, and owned by an ordinary role.

What a server, a database or a role may set otherwise than we expect, the role of the tests does set otherwise.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from shutil import disk_usage
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from backmarket.database import Database
from backmarket.database.schema import apply_schema
from backmarket.settings import Settings
from backmarket.standalone.embedded import Stack
from backmarket.standalone.embedded.postgres import ROLE as SUPERUSER
from backmarket.testing import databases
from tests.support.examples import QUICK
from tests.support.waiting import wait_until

OWNER = "ordinary"
"""The role that owns the tests' databases and connects to them; it can make neither roles nor databases."""
READER = "backmarket_reader"
PROCESSES = {process: f"{OWNER}_{process}" for process in ("worker", "console", "metrics")}
"""The login of each process, a member of `backmarket_worker` and so on. An administrator makes their roles and READER
before `backmarket db init`, as OWNER may not."""
HOSTILE = {
    "timezone": "Pacific/Chatham",  # 12:45 or 13:45 ahead of UTC
    "datestyle": "German, DMY",
    "intervalstyle": "sql_standard",
    "bytea_output": "escape",
    "default_transaction_isolation": "serializable",
    "client_encoding": "LATIN1",
    "search_path": "nowhere",
    "extra_float_digits": 0,
    "transform_null_equals": "on",
}
"""The settings of OWNER's sessions, and of the processes'."""
_PINNED = {
    "timezone": "UTC",
    "datestyle": "ISO,MDY",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "client_encoding": "UTF8",
    "default_transaction_isolation": r"read\ committed",
    "backmarket.worker": "on",
}

ELSEWHERE = os.environ.get("TEST_DATABASE_URL", "")
"""A superuser's URL of the server that the tests use in place of the embedded one; it trusts every role."""
POOLER = os.environ.get("TEST_POOLER_ADDRESS", "")
"""Host and port by which the program under test reaches that server, such as PgBouncer's; empty: directly."""
PROCESS = os.environ.get("TEST_PROCESS", "")
"""One of PROCESSES, whose login the program under test takes; empty: the owner's."""
AS_REPLICA = "-c session_replication_role=replica"
"""Option of a superuser's session in which no trigger fires and no foreign key is checked."""
_MEMORY = Path("/dev/shm")
_MEMORY_BYTES = 4 << 30
"""Free memory from which the files of `make test` are kept there; four stacks took 0.5 GB."""
_LARGE_BYTES = 1_000_000
"""Size of a table from which it is truncated."""
_SIZES = "SELECT oid::regclass::text, pg_relation_size(oid) FROM pg_class WHERE relkind = 'r' AND relnamespace >= 16384"
_RESET_SEQUENCES = """
SELECT setval(pg_sequence.seqrelid::regclass, seqstart, false) FROM pg_sequence
JOIN pg_depend ON objid = seqrelid AND deptype IN ('a', 'i') WHERE refobjid = ANY(%s::regclass[])
"""
_OF_ORGANIZATIONS = """
SELECT attrelid::regclass::text FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
WHERE attname = 'organization_id' AND relkind = 'r' AND relnamespace = 'backmarket'::regnamespace
"""

_redis_numbers = itertools.count(1)


@contextmanager
def running_stack() -> Iterator[Stack]:
    """The stack of a session; without PostgreSQL where the tests use another one.

    `make test` keeps its files in memory where there is room: the tests make and drop tables all the time, and making a
    file on ext4 gets slow after many were removed (a tenth of all CPU).
    """
    stack = Stack(settings=Settings(database_url=ELSEWHERE)) if ELSEWHERE else Stack()
    with ExitStack() as at_end:
        with pytest.MonkeyPatch.context() as patch:
            if os.environ.get(QUICK) and _MEMORY.is_dir() and disk_usage(_MEMORY).free >= _MEMORY_BYTES:
                patch.setattr(tempfile, "tempdir", str(_MEMORY))
            at_end.enter_context(stack)
        yield stack


def revive_postgres(stack: Stack) -> None:
    """Whatever a test did to the embedded PostgreSQL, let it run. Another server is never stopped."""
    if not ELSEWHERE:
        stack.postgres.resume()
        stack.postgres.start()


def make_roles(stack: Stack) -> None:
    """Make the roles that all tests' databases need; once for a stack."""
    with psycopg.connect(stack.addresses.database_url, autocommit=True) as connection:
        there = {name for (name,) in connection.execute("SELECT rolname FROM pg_roles")}
        logins = [OWNER, *PROCESSES.values()]
        for role in [READER, *(f"backmarket_{process}" for process in PROCESSES), *logins]:
            if role not in there:
                rights = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE" if role in logins else "NOLOGIN"
                connection.execute(f"CREATE ROLE {role} {rights}".encode())
        for process, login in PROCESSES.items():
            connection.execute(f"GRANT backmarket_{process} TO {login}".encode())
        for login, (name, value) in itertools.product(logins, HOSTILE.items()):
            connection.execute(sql.SQL("ALTER ROLE {} SET {} = {}").format(sql.Identifier(login), sql.SQL(name), value))


def open_connection(url: str, *, autocommit: bool = False, **options: Any) -> psycopg.Connection[Any]:
    """A connection of the test itself: it sees every organization, and its settings are the usual ones."""
    pinned = " ".join(f"-c {name}={value}" for name, value in _PINNED.items())
    return psycopg.connect(unpooled(not_as_process(url)), autocommit=autocommit, options=pinned, **options)


def as_role(url: str, role: str) -> str:
    """The same database for another role."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"{role}@{parts.netloc.rpartition('@')[2]}").geturl()


def as_owner(url: str) -> str:
    """The same database as the program under test reaches it."""
    parts = urlsplit(as_role(url, OWNER))
    return parts._replace(netloc=f"{OWNER}@{POOLER}").geturl() if POOLER else parts.geturl()


def as_process(url: str, process: str) -> str:
    """The same database as a process reaches it whose login is its own.

    Args:
        process: of PROCESSES; empty: the owner's login, which may serve all.
    """
    return as_role(url, PROCESSES[process]) if process else url


def not_as_process(url: str) -> str:
    """The same database for the test itself: for the superuser, if it is a process's URL."""
    return as_superuser(url) if urlsplit(url).username in PROCESSES.values() else url


def as_superuser(url: str) -> str:
    """The same database for the server's superuser, whose sessions are set up as usual."""
    return as_role(unpooled(url), urlsplit(ELSEWHERE).username or SUPERUSER)


def unpooled(url: str) -> str:
    """The same database and role, without a pooler in between."""
    parts = urlsplit(url)
    if not POOLER or parts.netloc.rpartition("@")[2] != POOLER:
        return url
    role, address = parts.netloc.partition("@")[0], urlsplit(ELSEWHERE).netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{role}@{address}").geturl()


@contextmanager
def new_database(stack: Stack, name: str, *, template: str = "template1") -> Iterator[str]:
    """A database of OWNER, for as long as the `with` block.

    Yields:
        Its URL for OWNER.
    """
    with databases.new_database(stack.addresses.database_url, name, template=template, owner=OWNER) as url:
        yield as_owner(url)
        revive_postgres(stack)


def own_redis(stack: Stack) -> str:
    """The URL of a Valkey database that nobody had before and nobody gets again: no straggler's message lies in it.

    Args:
        stack: where.
    """
    return urlsplit(stack.addresses.redis_url)._replace(path=f"/{next(_redis_numbers)}").geturl()


@contextmanager
def shared_database(stack: Stack, name: str) -> Iterator[str]:
    """A database with the schema, which the tests of one module share: many small tests, and one `CREATE DATABASE`.

    Args:
        stack: where.
        name: of the module.
    """
    with new_database(stack, name) as url:
        database = Database(url)
        apply_schema(database)
        database.close()
        yield url


def empty(url: str) -> None:
    """Remove what belongs to organizations, and give the schedule its first values."""
    with psycopg.connect(as_superuser(url), autocommit=True, options=AS_REPLICA) as connection:
        delete_rows(connection, [name for (name,) in connection.execute(_OF_ORGANIZATIONS)])
        connection.execute(
            "UPDATE backmarket.schedule"
            " SET enabled = DEFAULT, interval_seconds = DEFAULT, full_interval_seconds = DEFAULT"
        )


def delete_rows(connection: psycopg.Connection[Any], tables: Sequence[str]) -> None:
    """Delete the rows of tables, and let sequences begin again.

    `TRUNCATE` makes new files for each table and index, which takes seven times as long. It is for large tables, whose
    dead rows would slow down the tests that follow.

    Args:
        connection: of a superuser, with AS_REPLICA: no trigger fires, no foreign key is checked.
        tables: their names, as SQL has them.
    """
    # without a size: a temporary table of another session, gone meanwhile
    large = {table for table, size in connection.execute(_SIZES) if size and size > _LARGE_BYTES}
    emptied = (f"TRUNCATE {table} CASCADE" if table in large else f"DELETE FROM {table}" for table in tables)
    connection.execute("; ".join(emptied).encode())
    connection.execute(_RESET_SEQUENCES, (list(tables),))


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
        revive_postgres(stack)
        with psycopg.connect(stack.addresses.database_url, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM RESET autovacuum")
            connection.execute("SELECT pg_reload_conf()")
