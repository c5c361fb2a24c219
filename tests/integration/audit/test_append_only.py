"""A process may insert and read, and cannot change or remove a line; the owner's function drops what is old enough."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from backmarket.audit import Act, Actor, ProvedBy, acting, queries, record
from backmarket.audit.queries import AuditFilter
from backmarket.database import Database
from backmarket.errors import InvalidArgument
from tests.support.databases import as_process

INSERT = (
    "INSERT INTO backmarket.audit (proved_by, action, organization_id, outcome)"
    " VALUES ('cli', 'connection.remove', 'shop-1', 'done')"
)


@pytest.fixture
def process(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A session of a worker's login."""
    url = as_process(database_url, "worker")
    with psycopg.connect(url, autocommit=True, options="-c backmarket.worker=on") as connection:
        yield connection


def test_a_process_inserts_and_reads_and_that_is_all(process: psycopg.Connection[Any]) -> None:
    process.execute(INSERT.encode())
    assert process.execute("SELECT action FROM backmarket.audit").fetchall() == [("connection.remove",)]
    ((partition,),) = process.execute("SELECT DISTINCT tableoid::regclass::text FROM backmarket.audit").fetchall()
    for table in ("backmarket.audit", partition):
        for statement in ("UPDATE {} SET actor = 'another'", "DELETE FROM {}", "TRUNCATE {}", "DROP TABLE {}"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                process.execute(statement.format(table).encode())


def test_workers_drop_old_partitions_by_the_owner_s_function(process: psycopg.Connection[Any], admin_url: str) -> None:
    with psycopg.connect(admin_url, autocommit=True) as admin:
        for days in (60, 0):
            admin.execute(
                "INSERT INTO backmarket.audit (recorded_at, proved_by, action, outcome)"
                " VALUES (now() - make_interval(days => %s), 'cli', 'keys.rotate', 'done')",
                (days,),
            )
        admin.execute("SELECT backmarket.make_partitions()")
    rows = "SELECT tableoid::regclass::text, count(*) FROM backmarket.audit GROUP BY 1 ORDER BY min(recorded_at)"
    (old, _), (young, _) = process.execute(rows).fetchall()
    drop = "SELECT backmarket.drop_partition(%s, %s, %s)"
    for table, days in (("audit", 29), ("audit", 0), ("connections", 400), ("changes", 0)):
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            process.execute(drop, (table, old.removeprefix("backmarket."), days))
    for partition in (young, "backmarket.audit_default", "backmarket.orders"):
        assert process.execute(drop, ("audit", partition.removeprefix("backmarket."), 30)).fetchone() == (False,)
    assert process.execute(drop, ("audit", old.removeprefix("backmarket."), 30)).fetchone() == (True,)
    assert process.execute(rows).fetchall() == [(young, 1)]


def test_a_host_application_s_reader_sees_none_of_it(database_url: str, admin_url: str) -> None:
    with psycopg.connect(admin_url) as admin:
        found = admin.execute("SELECT has_table_privilege('backmarket_reader', 'backmarket.audit', 'SELECT')")
        assert found.fetchone() == (False,)


class TestReading:
    @pytest.fixture
    def database(self, database_url: str) -> Iterator[Database]:
        database = Database(database_url)
        for number in range(5):
            with acting(Actor(f"p{number % 2}", ProvedBy.CLI, "host")), database.transaction() as transaction:
                record(transaction, Act("connection.change", f"shop-{number}"))
                record(transaction, Act("keys.rotate"))
        yield database
        database.close()

    def test_pages_skip_and_repeat_nothing_even_within_one_transaction(self, database: Database) -> None:
        cursor, seen = None, []
        while True:
            page = queries.page(database, AuditFilter(), limit=3, cursor=cursor)
            seen += [entry.id for entry in page]
            if (cursor := page.next_cursor) is None:
                break
        assert len(seen) == 10
        assert seen == sorted(seen, reverse=True)

    def test_the_filters(self, database: Database) -> None:
        def found(**where: Any) -> int:
            return len(queries.page(database, AuditFilter(**where), limit=100))

        now = datetime.now(UTC)
        assert found(organization_id="shop-1") == 1
        assert found(actor="p1") == 4
        assert found(what="keys") == found(what="keys.rotate") == 5
        assert found(since=now - timedelta(hours=1)) == 10
        assert found(until=now - timedelta(hours=1)) == found(since=now + timedelta(hours=1)) == 0
        with pytest.raises(InvalidArgument, match=r"no action 'connection\.'"):
            AuditFilter(what="connection.")

    def test_a_hostile_text_is_entered_as_one_line(self, database: Database) -> None:
        hostile = Actor("a\0\n\ud800" + "x" * 300, ProvedBy.CONSOLE_PROXY, "\x1b[2J")
        with acting(hostile), database.transaction() as transaction:
            record(transaction, Act("connection.remove", "o\0" * 300, "connection", "\n"))
        entry = queries.page(database, AuditFilter(what="connection.remove")).items[0]
        assert entry.actor == "a???" + "x" * 196
        assert (entry.origin, entry.object_id) == ("?[2J", "?")

    def test_an_action_that_is_not_listed_cannot_be_entered(self, database: Database) -> None:
        with pytest.raises(KeyError), database.transaction() as transaction:
            record(transaction, Act("connection.explode"))
