"""The connections of a process: used again, and found out when they have died meanwhile."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from time import monotonic
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from backmarket.database import Database, DatabaseError, Transaction, savepoint
from backmarket.database.connection import PREPARE_AFTER
from backmarket.errors import DatabaseUnavailable
from backmarket.settings import Settings
from tests.support.databases import OWNER, open_connection
from tests.support.waiting import PATIENCE_SECONDS, wait_until

SIZE = 4


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    database = Database(settings.need("database_url"), size=SIZE)
    yield database
    database.close()


def fill(database: Database) -> set[int]:
    """Have the pool hold all the connections that it may; their backends."""
    together = threading.Barrier(SIZE)

    def hold(_: int) -> int:
        with database.transaction() as transaction:
            found = backend(transaction)
            together.wait(PATIENCE_SECONDS)
            return found

    with ThreadPoolExecutor(SIZE) as threads:
        return set(threads.map(hold, range(SIZE)))


def backend(transaction: psycopg.Connection[tuple[int]]) -> int:
    row = transaction.execute("SELECT pg_backend_pid()").fetchone()
    assert row is not None
    return row[0]


def prepared(transaction: Transaction) -> int:
    """Statements that this session of the server has prepared."""
    for _ in range(PREPARE_AFTER + 1):
        transaction.execute("SELECT %s::integer", (1,))
    row = transaction.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()
    assert row is not None
    return int(row[0])


def test_a_statement_that_comes_again_is_prepared_unless_a_pooler_stands_between(database: Database) -> None:
    with database.transaction() as transaction:
        assert (prepared(transaction) > 0) == ("TEST_POOLER_ADDRESS" not in os.environ)


def test_nothing_is_prepared_behind_a_pooler(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psycopg.ConnectionInfo, "backend_pid", 4711)  # a pooler names itself, not the server's process
    with database.transaction() as transaction:
        assert prepared(transaction) == 0


def test_a_statement_prepared_before_a_migration_fails_at_most_once(database: Database) -> None:
    """Its result has a column more; the failed transaction forgets what was prepared."""
    name = sql.Identifier("backmarket", f"grown_{uuid4().hex}")
    every = sql.SQL("SELECT * FROM {}").format(name)
    with open_connection(database.url, autocommit=True) as owner:
        owner.execute(sql.SQL("CREATE TABLE {} (id integer)").format(name))
        try:
            with database.transaction() as transaction:
                for _ in range(PREPARE_AFTER + 1):
                    transaction.execute(every)
            owner.execute(sql.SQL("ALTER TABLE {} ADD name text").format(name))
            with suppress(DatabaseError), database.transaction() as transaction:
                transaction.execute(every)
            with database.transaction() as transaction:
                assert transaction.execute(every).fetchall() == []
        finally:
            owner.execute(sql.SQL("DROP TABLE {}").format(name))


def test_no_connection_that_the_server_ended_costs_a_transaction(database: Database) -> None:
    """A restart of PostgreSQL ends all of them; each that was handed out then would fail whoever got it."""
    before = fill(database)
    assert len(before) == SIZE
    with open_connection(database.url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", ([*before],))
        gone = "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(%s)"
        wait_until(lambda: other.execute(gone, ([*before],)).fetchone() == (0,), "they are gone")
    assert fill(database).isdisjoint(before)


def test_connections_that_are_well_are_used_again(database: Database) -> None:
    before = fill(database)
    for _ in range(3 * SIZE):
        with database.transaction() as transaction:
            assert backend(transaction) in before


def test_after_an_outage_a_connection_is_had_at_once(database: Database, admin_url: str) -> None:
    """The pool's pauses between its tries double: after an outage of minutes it would sleep on for as long."""
    role = f"late_{uuid4().hex}"
    name = sql.Identifier(role)
    with open_connection(admin_url, autocommit=True) as other:
        create = sql.SQL("CREATE ROLE {} LOGIN IN ROLE {} CONNECTION LIMIT 0")
        other.execute(create.format(name, sql.Identifier(OWNER)))
        late = Database(make_conninfo(database.url, user=role), size=1, timeout=0.5)
        try:
            outage_ends = monotonic() + 3.2  # tries at 0, 1, 3 and 7 s, if the pauses went on doubling
            while monotonic() < outage_ends:
                with pytest.raises(DatabaseUnavailable), late.transaction():
                    pass
            other.execute(sql.SQL("ALTER ROLE {} CONNECTION LIMIT -1").format(name))
            wait_until(lambda: can_be_had(late), "a connection")
        finally:
            late.close()
            other.execute(sql.SQL("DROP ROLE {}").format(name))


def fail_with_a_cut_connection(transaction: Transaction) -> None:
    transaction.close()
    raise psycopg.InternalError


def fail_in_a_copy_that_was_cut(transaction: Transaction) -> None:
    """As psycopg does where PgBouncer hands on the server's last words, and adds its own."""
    transaction.close()
    raise ValueError("too many values to unpack (expected 1)")


def write_to_a_standby(transaction: Transaction) -> None:
    transaction.execute("SET TRANSACTION READ ONLY")
    transaction.execute("UPDATE backmarket.schedule SET enabled = enabled")


@pytest.mark.parametrize("work", [fail_with_a_cut_connection, fail_in_a_copy_that_was_cut, write_to_a_standby])
@pytest.mark.parametrize("saved", [False, True])
def test_it_is_an_outage(database: Database, work: Callable[[Transaction], None], saved: bool) -> None:
    """A pooler cuts clients with errors of its own, and an address may lead to a standby until a failover is over."""

    def run() -> None:
        with database.transaction() as transaction, savepoint(transaction) if saved else nullcontext():
            work(transaction)

    with pytest.raises(DatabaseUnavailable):
        run()


def can_be_had(database: Database) -> bool:
    try:
        with database.transaction():
            return True
    except DatabaseUnavailable:
        return False
