"""The connections of a process: used again, and found out when they have died meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from backmarket.database import Database
from backmarket.settings import Settings
from tests.sellers import wait_until

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
            together.wait(30)
            return found

    with ThreadPoolExecutor(SIZE) as threads:
        return set(threads.map(hold, range(SIZE)))


def backend(transaction: psycopg.Connection[tuple[int]]) -> int:
    row = transaction.execute("SELECT pg_backend_pid()").fetchone()
    assert row is not None
    return row[0]


def test_no_connection_that_the_server_ended_costs_a_transaction(database: Database) -> None:
    """A restart of PostgreSQL ends all of them; each that was handed out then would fail whoever got it."""
    before = fill(database)
    assert len(before) == SIZE
    with psycopg.connect(database.url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", ([*before],))
        gone = "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(%s)"
        wait_until(lambda: other.execute(gone, ([*before],)).fetchone() == (0,), 10, "they are gone")
    assert fill(database).isdisjoint(before)


def test_connections_that_are_well_are_used_again(database: Database) -> None:
    before = fill(database)
    for _ in range(3 * SIZE):
        with database.transaction() as transaction:
            assert backend(transaction) in before
