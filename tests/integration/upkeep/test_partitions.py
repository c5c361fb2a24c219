"""Retention: partitions are there before they are needed, and gone when all of them is too old; nobody waits for it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backmarket import BackMarket
from backmarket.changes import ChangesMissed, announce, get_changes, get_cursor
from backmarket.database import Database
from backmarket.database.schema import apply_schema
from backmarket.errors import ENV_PREFIX
from backmarket.settings import Settings
from backmarket.standalone.embedded import Stack
from backmarket.status.sync_status import get_all_sync_status
from backmarket.upkeep import hourly
from backmarket.upkeep.partitions import Retained, retain
from tests.support.databases import open_connection, without_autovacuum

ORG = "auth0|1"
KEEP = {"changes": 30, "sync_runs": 90, "audit": 365}
TABLES = pytest.mark.parametrize("table", ["changes", "sync_runs", "audit"])


class Stored:
    """What a test writes and reads."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.database = Database(url)

    def execute(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.database.transaction() as transaction:
            cursor = transaction.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def write(self, table: str, *days_ago: float) -> None:
        """A row of each age; each in a transaction of its own."""
        for days in days_ago:
            at = datetime.now(UTC) - timedelta(days=days)
            if table == "changes":
                self.execute(
                    "INSERT INTO backmarket.changes (organization_id, resource, external_id, kind, recorded_at)"
                    " VALUES (%s, 'orders', %s, 'updated', %s)",
                    ORG,
                    str(days),
                    at,
                )
            elif table == "audit":
                self.execute(
                    "INSERT INTO backmarket.audit (recorded_at, proved_by, action, organization_id, outcome)"
                    " VALUES (%s, 'cli', 'connection.add', %s, 'done')",
                    at,
                    ORG,
                )
            else:
                self.execute(
                    "INSERT INTO backmarket.sync_runs (organization_id, resource, kind, outcome, started_at,"
                    " finished_at, serving, requests, rows_created, rows_updated, rows_unchanged, rows_removed,"
                    " rows_rejected) VALUES (%s, 'orders', 'full', 'done', %s, %s, 1, 1, 1, 1, 1, 1, 1)",
                    ORG,
                    at,
                    at,
                )

    def partitions(self, table: str) -> dict[str, int]:
        """The partitions of a table, and how many rows each has."""
        found = self.execute(
            "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = %s::regclass ORDER BY 1",
            f"backmarket.{table}",
        )
        return {name: self.count(name) for (name,) in found}

    def count(self, table: str) -> int:
        ((count,),) = self.execute(f"SELECT count(*) FROM backmarket.{table}")
        return int(count)


@pytest.fixture(scope="module", autouse=True)
def _alone(stack: Stack) -> Iterator[None]:
    with without_autovacuum(stack):
        yield


@pytest.fixture
def stored(database_url: str) -> Iterator[Stored]:
    stored = Stored(database_url)
    yield stored
    stored.database.close()


def monday(days_ago: float = 0) -> datetime:
    today = (datetime.now(UTC) - timedelta(days=days_ago)).replace(hour=0, minute=0, second=0, microsecond=0)
    return today - timedelta(days=today.weekday())


def partition(table: str, days_ago: float = 0) -> str:
    """The name of the partition of that day."""
    return f"{table}_{monday(days_ago):%Y_%m_%d}"


@TABLES
class TestMaking:
    def test_the_schema_makes_this_week_and_four_more(self, stored: Stored, table: str) -> None:
        weeks = [partition(table, -7 * week) for week in range(5)]
        assert set(stored.partitions(table)) == {*weeks, f"{table}_default"}
        stored.write(table, 0, -8)
        found = stored.partitions(table)
        assert (found[weeks[0]], found[f"{table}_default"]) == (1, 0)
        assert sum(found.values()) == 2

    def test_the_weeks_are_those_of_utc_whatever_the_session_says(self, stored: Stored, table: str) -> None:
        stored.execute(
            f"ALTER DATABASE {stored.execute('SELECT current_database()')[0][0]} SET timezone = 'Asia/Tokyo'"
        )
        stored.database.close()
        again = Stored(stored.url)
        assert again.execute("SELECT backmarket.make_partitions('60 days')")[0][0] > 0
        for days in range(0, 56, 7):
            assert partition(table, -days) in again.partitions(table)
        again.write(table, -((monday(-35) - datetime.now(UTC)) / timedelta(days=1) + 0.001))
        assert again.partitions(table)[partition(table, -35)] == 1
        again.database.close()

    def test_making_them_again_makes_none(self, stored: Stored, table: str) -> None:
        before = stored.partitions(table)
        apply_schema(stored.database)
        assert retain(stored.database, KEEP) == Retained()
        assert stored.partitions(table) == before

    def test_rows_without_a_partition_get_one_and_stay_the_same(self, stored: Stored, table: str) -> None:
        stored.write(table, 20, 13, 13, 0, -60)
        assert stored.partitions(table)[f"{table}_default"] == 4
        before = stored.execute(f"SELECT t::text FROM backmarket.{table} t ORDER BY id")
        assert retain(stored.database, KEEP).made == len({monday(20), monday(13), monday(-60)})
        found = stored.partitions(table)
        assert found[f"{table}_default"] == 0
        assert (found[partition(table, 13)], found[partition(table, -60)]) == (2, 1)
        assert stored.execute(f"SELECT t::text FROM backmarket.{table} t ORDER BY id") == before
        stored.write(table, 13, 0)
        newest = stored.execute(f"SELECT count(DISTINCT id), count(*) FROM backmarket.{table}")
        assert newest == [(7, 7)], "numbers go on"

    def test_two_upkeeps_at_once(self, stored: Stored, table: str) -> None:
        stored.write(table, *range(0, 70, 7))
        with ThreadPoolExecutor(4) as pool:
            done = list(pool.map(lambda _: retain(stored.database, {table: 35}), range(4)))
        assert sum(each.dropped for each in done) == 4
        assert sum(each.put_off for each in done) == 0
        assert sum(each.made for each in done) == 9


class TestDropping:
    @pytest.mark.parametrize("table", ["changes", "sync_runs"])
    def test_a_partition_goes_when_all_of_it_is_older(self, stored: Stored, table: str) -> None:
        stored.write(table, 50, 30, 8, 0)
        retain(stored.database, {table: 0})
        edge = (datetime.now(UTC) - monday(30)).days  # of the week that holds the 30th day: it began so long ago
        assert retain(stored.database, {table: edge}).dropped == 1
        assert partition(table, 50) not in stored.partitions(table)
        assert stored.partitions(table)[partition(table, 30)] == 1, "its last day is younger"
        assert retain(stored.database, {table: edge - 7}).dropped == 1
        assert stored.count(table) == 2

    @TABLES
    def test_zero_days_keep_everything(self, stored: Stored, table: str) -> None:
        stored.write(table, 5000)
        assert retain(stored.database, {table: 0}).dropped == 0
        assert stored.count(table) == 1

    def test_a_reader_that_was_away_is_told_and_one_at_the_end_is_not(self, stored: Stored) -> None:
        stored.write("changes", 50, 49)
        first, second = get_changes(stored.database)
        assert retain(stored.database, KEEP).dropped in (1, 2)
        with pytest.raises(ChangesMissed):
            get_changes(stored.database, first.cursor)
        assert get_cursor(stored.database) == second.cursor
        stored.write("changes", 0)
        assert [each.external_id for each in get_changes(stored.database, second.cursor)] == ["0"]

    def test_a_reader_holds_the_drop_off_and_the_writers_do_not_wait_long(self, stored: Stored) -> None:
        stored.write("changes", 50)
        retain(stored.database, {"changes": 0})
        with open_connection(stored.url) as reader:
            reader.execute("SELECT count(*) FROM backmarket.changes")
            retained = retain(stored.database, KEEP)
            assert retained == Retained(put_off=1)
            stored.write("changes", 0)
        assert retain(stored.database, KEEP).dropped == 1
        assert retain(stored.database, KEEP) == Retained()

    def test_the_runs_that_are_asked_for_are_still_found(self, settings: Settings, stored: Stored) -> None:
        with BackMarket(settings) as bm:
            bm.upsert_connection(ORG, "key")
            handle = bm.sync_orders(ORG)
            stored.write("sync_runs", 50, 20, 0)
            stored.execute("UPDATE backmarket.sync_state SET served = 1 WHERE resource = 'orders'")
            outcome = handle.done()
            assert outcome is not None
            assert outcome.requests == 1
            assert get_all_sync_status(stored.database)


class TestRestored:
    """A dump was restored into another server, whose transactions have smaller numbers."""

    @pytest.fixture(autouse=True)
    def _restored(self, stored: Stored) -> None:
        stored.write("changes", 1)
        for external_id, number in (("foreign", 9_000_000_000), ("later", 9_000_000_001)):
            stored.execute(
                "INSERT INTO backmarket.changes (transaction_id, organization_id, resource, external_id, kind)"
                " VALUES (%s::text::xid8, %s, 'orders', %s, 'created')",
                str(number),
                ORG,
                external_id,
            )
        stored.execute("INSERT INTO backmarket.feed_marks VALUES ('announced', '9000000000', 1)")

    def test_events_of_the_other_server_never_come_up_and_readers_are_told(self, stored: Stored) -> None:
        page = get_changes(stored.database)
        assert [each.external_id for each in page] == ["1"]
        retain(stored.database, KEEP)
        assert stored.count("changes") == 1
        with pytest.raises(ChangesMissed, match="restored from"):
            get_changes(stored.database, page.next_cursor)
        now = get_cursor(stored.database)
        stored.write("changes", 0)
        assert [each.external_id for each in get_changes(stored.database, now)] == ["0"]
        assert announce(stored.database)
        before = stored.execute("SELECT mark, transaction_id::text, id FROM backmarket.feed_marks ORDER BY 1")
        retain(stored.database, KEEP)
        assert stored.execute("SELECT mark, transaction_id::text, id FROM backmarket.feed_marks ORDER BY 1") == before

    def test_a_transaction_that_runs_meanwhile_is_neither_lost_nor_refused(self, stored: Stored) -> None:
        with open_connection(stored.url) as running:
            running.execute(
                "INSERT INTO backmarket.changes (organization_id, resource, external_id, kind)"
                " VALUES (%s, 'orders', 'running', 'created')",
                (ORG,),
            )
            stored.write("changes", 2)
            retain(stored.database, {})
            now = get_cursor(stored.database)
            assert get_changes(stored.database, now).items == []
        assert [each.external_id for each in get_changes(stored.database, now)] == ["running", "2"]


class TestUpkeep:
    def test_by_hand(self, settings: Settings, stored: Stored) -> None:
        stored.write("changes", 50)
        stored.write("sync_runs", 50, 120)
        with BackMarket(settings) as bm:
            done = bm.upkeep()
            assert (done.partitions_made, done.partitions_dropped, done.orders_erased) == (3, 2, 0)
            assert bm.upkeep() == hourly.Upkeep(0, 0, 0, 0)

    def test_it_is_due_once_an_hour_for_all_processes(self, stored: Stored) -> None:
        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(lambda _: hourly.claim(stored.database), range(8))) == 1
        stored.execute("UPDATE backmarket.upkeep SET due_at = now()")
        assert hourly.claim(stored.database)
        assert not hourly.claim(stored.database)
        ((minutes,),) = stored.execute("SELECT round(extract(epoch FROM due_at - now()) / 60) FROM backmarket.upkeep")
        assert minutes == 60

    def test_the_command(self, stored: Stored) -> None:
        stored.write("changes", 50)
        ran = subprocess.run(
            [str(Path(sys.executable).with_name("backmarket")), "db", "upkeep"],
            env={**os.environ, f"{ENV_PREFIX}DATABASE_URL": stored.url},
            capture_output=True,
            text=True,
            check=True,
        )
        assert (ran.stdout, ran.stderr) == (
            "",
            "1 partitions made, 1 dropped, 0 put off; 0 orders erased, 0 writes dropped.\n",
        )
