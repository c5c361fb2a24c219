"""The change feed: each event once, in order, none skipped, whatever commits when and whatever is cut."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import pytest

from backmarket import BackMarket
from backmarket.changes import CHANNEL, Change, ChangeFilter, ChangesMissed, announce, get_changes, get_cursor, watch
from backmarket.database import Database, Transaction
from backmarket.database.schema import apply_schema
from backmarket.errors import ENV_PREFIX, DatabaseUnavailable, InvalidArgument
from backmarket.settings import Settings
from backmarket.standalone.embedded import Stack
from tests.support.databases import open_connection, without_autovacuum
from tests.support.examples import some
from tests.support.waiting import PATIENCE_SECONDS, wait_until

ORG, OTHER = "auth0|1", "a/../b é"
COMMAND = str(Path(sys.executable).with_name("backmarket"))


@pytest.fixture(scope="module", autouse=True)
def _alone(stack: Stack) -> Iterator[None]:
    with without_autovacuum(stack):
        yield


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


class Writer:
    """A transaction that the test commits when it likes."""

    def __init__(self, url: str) -> None:
        self.connection = open_connection(url)

    def write(self, *ids: int | str, organization: str = ORG, resource: str = "orders") -> Writer:
        for external_id in ids:
            self.connection.execute(
                "INSERT INTO backmarket.changes (organization_id, resource, external_id, kind, fields)"
                " VALUES (%s, %s, %s, 'updated', '{state}')",
                (organization, resource, str(external_id)),
            )
        return self

    def commit(self) -> None:
        self.connection.commit()

    def close(self) -> None:
        self.connection.close()


@pytest.fixture
def writer(database_url: str) -> Iterator[Callable[[], Writer]]:
    made: list[Writer] = []

    def make() -> Writer:
        made.append(Writer(database_url))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


@pytest.fixture
def following(database: Database, pool: ThreadPoolExecutor) -> Iterator[Callable[..., list[str]]]:
    """Begins to follow in a thread; the list of ids that came grows."""
    stop = Event()
    running: list[Future[None]] = []

    def follow(after: str | None = "now", **options: Any) -> list[str]:
        came: list[str] = []
        events = watch(database, after, stop=stop, **options)

        def run() -> None:
            for change in events:
                came.append(change.external_id)  # noqa: PERF401 - it is read meanwhile

        running.append(pool.submit(run))
        return came

    yield follow
    stop.set()
    for each in running:
        each.result(PATIENCE_SECONDS)


def ids(found: Any) -> list[str]:
    return [change.external_id for change in found]


def listeners(url: str) -> list[int]:
    """The backends of those who follow."""
    with open_connection(url, autocommit=True) as connection:
        found = connection.execute(
            "SELECT pid FROM pg_stat_activity"
            " WHERE application_name = 'backmarket-listen' AND datname = current_database()"
        )
        return [pid for (pid,) in found]


class TestReading:
    def test_an_event_says_what_and_never_a_value(self, database: Database, writer: Callable[[], Writer]) -> None:
        writer().write(7).commit()
        (change,) = get_changes(database)
        assert (change.organization_id, change.resource, change.external_id) == (ORG, "orders", "7")
        assert (change.kind, change.fields) == ("updated", ["state"])
        assert change.recorded_at.tzinfo is not None

    def test_pages_follow_each_other_and_the_end_moves_on(
        self, database: Database, writer: Callable[[], Writer]
    ) -> None:
        for number in range(5):
            writer().write(2 * number, 2 * number + 1).commit()
        came, after, more = [], None, True
        while more:
            page = get_changes(database, after, limit=3)
            came += ids(page)
            after, more = page.next_cursor, page.more
        assert came == [str(number) for number in range(10)]
        assert get_changes(database, after).items == []
        writer().write("new").commit()
        assert ids(get_changes(database, after)) == ["new"]

    def test_one_transaction_is_read_in_parts(self, database: Database, writer: Callable[[], Writer]) -> None:
        writer().write(1, 2, 3).commit()
        first = get_changes(database, limit=2)
        assert (ids(first), first.more) == (["1", "2"], True)
        assert ids(get_changes(database, first.next_cursor)) == ["3"]
        assert ids(get_changes(database, first.items[0].cursor)) == ["2", "3"]

    def test_filters_and_a_cursor_that_moves_on_where_nothing_matches(
        self, database: Database, writer: Callable[[], Writer]
    ) -> None:
        writer().write(1).commit()
        writer().write(2, organization=OTHER).commit()
        writer().write(3, organization=OTHER, resource="listings").commit()
        assert ids(get_changes(database, where=ChangeFilter(OTHER))) == ["2", "3"]
        assert ids(get_changes(database, where=ChangeFilter(resource="listings"))) == ["3"]
        assert ids(get_changes(database, where=ChangeFilter(OTHER, "orders"))) == ["2"]
        nothing = get_changes(database, where=ChangeFilter("nobody"))
        assert (nothing.items, nothing.more) == ([], False)
        assert get_changes(database, nothing.next_cursor).items == [], "the others were passed over"

    def test_now_is_the_end_of_the_feed(self, database: Database, writer: Callable[[], Writer]) -> None:
        empty = get_cursor(database)
        writer().write(1).commit()
        now = get_cursor(database)
        writer().write(2).commit()
        assert ids(get_changes(database, empty)) == ["1", "2"]
        assert ids(get_changes(database, now)) == ["2"]
        assert get_changes(database, "now").items == []

    @pytest.mark.parametrize(
        "cursor",
        some(
            [
                "",
                "7",
                "a:b",
                "1:2:3",
                "1:2:3-",
                "1:2:x-1",
                "-1:2",
                "1:-2",
                "1: 2",
                "٣:1",
                f"{2**63}:1",
                f"1:{2**63}",
                "0" * 20 + ":1",
            ]
        ),
    )
    def test_what_is_no_cursor_is_refused(self, database: Database, cursor: str) -> None:
        with pytest.raises(InvalidArgument, match="unchanged"):
            get_changes(database, cursor)

    def test_a_cursor_of_another_database_is_refused(self, database: Database) -> None:
        with pytest.raises(InvalidArgument, match=r'Read the tables again.*after="now"'):
            get_changes(database, f"{2**62}:1")

    def test_figures_and_names_that_cannot_be_meant(self, database: Database) -> None:
        for limit in (0, 10_001):
            with pytest.raises(InvalidArgument, match="1 to 10000"):
                get_changes(database, limit=limit)
        with pytest.raises(InvalidArgument, match="Choose one of orders"):
            ChangeFilter(resource="parcels")
        with pytest.raises(InvalidArgument, match="poll"):
            watch(database, poll=0)


class TestOrder:
    def test_transactions_that_commit_in_reverse_order_of_their_numbers(
        self, database: Database, writer: Callable[[], Writer]
    ) -> None:
        first, second = writer().write("first"), writer().write("second")
        second.commit()
        early = get_changes(database)
        assert early.items == [], "the first one may still come, and comes before"
        first.commit()
        assert ids(get_changes(database, early.next_cursor)) == ["first", "second"]

    def test_a_long_transaction_holds_back_what_began_after_it_and_nothing_else(
        self, database: Database, writer: Callable[[], Writer]
    ) -> None:
        writer().write("before").commit()
        long = writer().write("long")
        for number in range(3):
            writer().write(number).commit()
        page = get_changes(database)
        assert ids(page) == ["before"]
        assert get_changes(database, page.next_cursor).next_cursor == page.next_cursor
        long.write("its end")
        long.commit()
        rest = get_changes(database, page.next_cursor)
        assert ids(rest) == ["long", "its end", "0", "1", "2"]

    def test_a_transaction_that_is_undone_holds_back_no_longer(
        self, database: Database, writer: Callable[[], Writer]
    ) -> None:
        undone = writer().write("undone")
        writer().write("kept").commit()
        assert get_changes(database).items == []
        undone.close()
        wait_until(lambda: ids(get_changes(database)) == ["kept"], "the next one is read")

    def test_the_cursor_of_a_quiet_reader_never_names_a_transaction_that_a_crash_may_undo(
        self, database: Database, writer: Callable[[], Writer]
    ) -> None:
        writer().write(1).commit()
        (change,) = get_changes(database)
        for _ in range(3):  # takes transaction numbers, and leaves nothing
            writer().write("undone").close()
        assert get_changes(database, change.cursor).next_cursor == change.cursor
        assert get_cursor(database) == change.cursor


class TestWatching:
    def test_what_was_missed_comes_first_and_then_what_happens(
        self, database: Database, writer: Callable[[], Writer]
    ) -> None:
        writer().write(1, 2).commit()
        events = watch(database, None, poll=0.1)
        assert ids(itertools.islice(events, 2)) == ["1", "2"]
        writer().write(3).commit()
        assert next(events).external_id == "3"
        events.close()  # type: ignore[attr-defined]

    def test_now_is_the_moment_of_the_call_not_of_the_first_step(
        self, database: Database, writer: Callable[[], Writer]
    ) -> None:
        writer().write("old").commit()
        events = watch(database, timeout=PATIENCE_SECONDS)
        writer().write("new").commit()
        assert next(events).external_id == "new"

    def test_it_is_told_at_once_and_does_not_wait_for_the_next_look(
        self, database: Database, database_url: str, writer: Callable[[], Writer], following: Callable[..., list[str]]
    ) -> None:
        came = following(poll=600)
        wait_until(lambda: listeners(database_url), "it listens")
        writer().write(1).commit()
        assert announce(database)
        wait_until(lambda: came == ["1"], "the announcement was heard")

    def test_it_finds_events_that_were_not_announced(
        self, writer: Callable[[], Writer], following: Callable[..., list[str]]
    ) -> None:
        came = following(poll=0.1)
        writer().write(1).commit()
        wait_until(lambda: came == ["1"], "it looked again")

    def test_it_ends_after_so_many_seconds_without_an_event(
        self, database: Database, writer: Callable[[], Writer]
    ) -> None:
        writer().write(1).commit()
        began = monotonic()
        assert ids(watch(database, None, timeout=0)) == ["1"]
        assert ids(watch(database, timeout=0.3)) == []
        assert 0.3 <= monotonic() - began < PATIENCE_SECONDS

    def test_closing_it_ends_its_connection(
        self, database: Database, database_url: str, writer: Callable[[], Writer]
    ) -> None:
        writer().write(1).commit()
        events = watch(database, None)
        next(events)
        assert len(listeners(database_url)) == 1
        events.close()  # type: ignore[attr-defined]
        wait_until(lambda: listeners(database_url) == [], "the connection is gone")

    def test_filters(self, writer: Callable[[], Writer], following: Callable[..., list[str]]) -> None:
        came = following(poll=0.1, where=ChangeFilter(OTHER, "listings"))
        everything = following(poll=0.1)
        writer().write(1).write(2, organization=OTHER).write(3, organization=OTHER, resource="listings").commit()
        wait_until(lambda: everything == ["1", "2", "3"], "all of them came")
        wait_until(lambda: came == ["3"], "the one came")

    def test_without_postgresql_it_does_not_begin(self, tmp_path: Path) -> None:
        nowhere = Database(f"postgresql:///none?host={tmp_path}", timeout=0.1)
        with pytest.raises(DatabaseUnavailable):
            watch(nowhere)
        nowhere.close()


class TestLosses:
    def test_a_cut_connection_loses_and_repeats_nothing(
        self, database_url: str, writer: Callable[[], Writer], following: Callable[..., list[str]]
    ) -> None:
        came = following(poll=0.1)
        source = writer()
        for number in range(40):
            source.write(number).commit()
            if number % 8 == 4:
                wait_until(lambda: listeners(database_url), "it is connected")
                cut(database_url, listeners(database_url))
        wait_until(lambda: len(came) >= 40, "all of them came")
        assert came == [str(number) for number in range(40)]

    def test_a_cut_between_a_held_back_event_and_its_predecessor(
        self, database_url: str, writer: Callable[[], Writer], following: Callable[..., list[str]]
    ) -> None:
        came = following(poll=0.1)
        wait_until(lambda: listeners(database_url), "it is connected")
        first, second = writer().write("first"), writer().write("second")
        second.commit()
        (before,) = listeners(database_url)
        cut(database_url, [before])
        wait_until(lambda: listeners(database_url) not in ([], [before]), "it is connected again")
        first.commit()
        wait_until(lambda: came == ["first", "second"], "both came")

    def test_a_restart_of_postgresql(
        self, stack: Stack, database_url: str, writer: Callable[[], Writer], following: Callable[..., list[str]]
    ) -> None:
        came = following(poll=0.1)
        writer().write("before").commit()
        wait_until(lambda: came == ["before"], "it follows")
        stack.postgres.stop()
        stack.postgres.start()
        writer().write("after").commit()
        wait_until(lambda: came == ["before", "after"], "it follows again")

    def test_a_crash_of_postgresql(
        self, stack: Stack, writer: Callable[[], Writer], following: Callable[..., list[str]]
    ) -> None:
        came = following(poll=0.1)
        writer().write("before").commit()
        wait_until(lambda: came == ["before"], "it follows")
        for _ in range(5):
            writer().write("undone").close()
        stack.postgres.kill()
        stack.postgres.start()
        for number in range(5):
            writer().write(number).commit()
        wait_until(lambda: came == ["before", *map(str, range(5))], "it follows again")

    def test_many_writers_one_watcher_each_event_once(
        self, database_url: str, pool: ThreadPoolExecutor, following: Callable[..., list[str]]
    ) -> None:
        came = following(poll=0.05)
        filtered = following(poll=0.05, where=ChangeFilter(ORG))
        wait_until(lambda: len(listeners(database_url)) == 2, "both listen")
        written = [pool.submit(write_many, database_url, number) for number in range(6)]
        cut(database_url, listeners(database_url))
        expected = [key for each in written for key in each.result(PATIENCE_SECONDS)]
        wait_until(lambda: len(came) >= len(expected), "all of them came")
        assert sorted(came) == sorted(expected)
        mine = [key for key in came if key.startswith("0-")]
        assert mine == [key for key in expected if key.startswith("0-")], "in the order of their transactions"
        wait_until(lambda: filtered == mine, "those of one organization came, too")


def write_many(url: str, number: int) -> list[str]:
    """Transactions of several events, with pauses in between, as syncs write them; some are undone."""
    dice = random.Random(number)
    written = []
    organization = ORG if number == 0 else f"{OTHER}{number}"
    writer = Writer(url)
    for slice_ in range(25):
        keys = [f"{number}-{slice_}-{part}" for part in range(dice.randrange(1, 4))]
        for key in keys:
            writer.write(key, organization=organization)
            writer.connection.execute("SELECT pg_sleep(%s)", (dice.random() / 100,))
        if dice.random() < 0.2:
            writer.connection.rollback()
        else:
            writer.commit()
            written += keys
    writer.close()
    return written


def cut(url: str, backends: list[int]) -> None:
    with open_connection(url, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", (backends,))


class TestAnnouncing:
    def test_only_what_is_visible_and_new(
        self, database: Database, database_url: str, writer: Callable[[], Writer]
    ) -> None:
        assert not announce(database), "nothing ever happened"
        held = writer().write(1)
        writer().write(2).commit()
        assert not announce(database), "nobody could read it"
        held.commit()
        with open_connection(database_url, autocommit=True) as listener:
            listener.execute(f"LISTEN {CHANNEL}")
            assert announce(database)
            assert not announce(database)
            assert len(list(listener.notifies(timeout=1, stop_after=1))) == 1

    def test_a_quiet_tick_writes_nothing(self, database_url: str, writer: Callable[[], Writer]) -> None:
        writer().write(1).commit()
        asked = Asked(database_url)
        announce(asked)
        announce(asked)
        asked.close()
        assert [number is not None for number in asked.numbers] == [True, False], "the first one wrote, and only that"

    def test_several_beats_announce_once(
        self, database: Database, pool: ThreadPoolExecutor, writer: Callable[[], Writer]
    ) -> None:
        for number in range(10):
            writer().write(number).commit()
            assert sum(pool.map(lambda _: announce(database), range(4))) == 1


class Asked(Database):
    """Remembers of each transaction its number; None: it wrote nothing."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.numbers: list[str | None] = []

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        with super().transaction() as transaction:
            yield transaction
            self.numbers += transaction.execute("SELECT pg_current_xact_id_if_assigned()::text").fetchone() or ()


class TestForAHostApplication:
    def test_tables_first_then_the_feed(self, settings: Settings, writer: Callable[[], Writer]) -> None:
        with BackMarket(settings) as bm:
            writer().write(1).commit()
            cursor = bm.changes_cursor()
            writer().write(2, organization=OTHER).commit()
            page = bm.changes(cursor, organization_id=OTHER, resource="orders")
            assert ids(page) == ["2"]
            assert ids(bm.watch(cursor, organization_id=OTHER, timeout=0)) == ["2"]
            assert bm.changes(page.next_cursor).items == []

    def test_who_was_away_for_too_long_is_told(self, database: Database, writer: Callable[[], Writer]) -> None:
        writer().write(1, 2).commit()
        first, second = get_changes(database)
        with database.transaction() as transaction:
            transaction.execute(
                "INSERT INTO backmarket.feed_marks SELECT 'dropped', transaction_id, id FROM backmarket.changes"
                " ORDER BY transaction_id DESC, id DESC LIMIT 1"
            )
            transaction.execute("DELETE FROM backmarket.changes")
        for call in (get_changes, watch):
            with pytest.raises(ChangesMissed, match=r"BACKMARKET_CHANGES_RETENTION_DAYS.*Read the tables again"):
                call(database, first.cursor)
        assert get_cursor(database) == second.cursor, "the end of the feed does not go back"
        writer().write(3).commit()
        assert ids(get_changes(database, second.cursor)) == ["3"]
        assert ids(get_changes(database)) == ["3"], "from the oldest event that is kept"

    def test_the_command_follows_until_ctrl_c(self, database_url: str, writer: Callable[[], Writer]) -> None:
        writer().write(1, organization=f"{OTHER}\n").commit()
        environment = {**os.environ, f"{ENV_PREFIX}DATABASE_URL": database_url}
        running = [
            subprocess.Popen(
                [COMMAND, "changes", "--after", "0:0", "--follow", *options],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for options in ((), ("--json",))
        ]
        try:
            told, document = (each.stdout.readline() for each in running if each.stdout)
            assert "orders 1 updated state" in told
            assert f"{OTHER}\\n" in told, "in one line"
            assert json.loads(document)["external_id"] == "1"
            wait_until(lambda: len(listeners(database_url)) == 2, "they wait")
            for each in running:
                each.send_signal(signal.SIGINT)
            ends = [(*each.communicate(timeout=PATIENCE_SECONDS), each.returncode) for each in running]
            assert ends[0] == ("", f"Later events: --after {json.loads(document)['cursor']}\n", 130)
            assert ends[1] == ("", "", 130)
        finally:
            for each in running:
                each.kill()
                each.communicate()

    def test_the_command_shows_a_page(self, database_url: str, writer: Callable[[], Writer]) -> None:
        writer().write(1, 2).commit()
        environment = {**os.environ, f"{ENV_PREFIX}DATABASE_URL": database_url}
        shown = subprocess.run(
            [COMMAND, "changes", "--organization", ORG, "--limit", "1"],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert "updated  state" in shown.stdout
        assert shown.stderr.startswith("There are more: --after ")
        cursor = shown.stderr.split()[-1]
        rest = subprocess.run(
            [COMMAND, "changes", "--after", cursor, "--json"], env=environment, capture_output=True, check=True
        )
        page = json.loads(rest.stdout)
        assert ([each["external_id"] for each in page["items"]], page["more"], rest.stderr) == (["2"], False, b"")


def test_the_events_of_a_page_are_changes(database: Database, writer: Callable[[], Writer]) -> None:
    writer().write(1).commit()
    page = get_changes(database)
    assert len(page) == 1
    assert all(isinstance(each, Change) for each in page)


class TestFailover:
    """Transactions that were lost with a server give their numbers to others."""

    def test_a_cursor_of_another_timeline_is_refused_and_one_of_this_goes_on(
        self, database: Database, writer: Callable[[], Writer]
    ) -> None:
        writer().write(1).commit()
        first = get_changes(database, limit=1)
        position, _, timeline = first.next_cursor.rpartition("-")
        assert get_changes(database, first.items[0].cursor).items == []
        for other in (f"{position}-{int(timeline) + 1}", first.next_cursor.replace(":", ":7", 2)):
            with pytest.raises(ChangesMissed, match="failover or a restore"):
                get_changes(database, other)

    def test_a_cursor_of_an_older_version_is_still_read(self, database: Database, writer: Callable[[], Writer]) -> None:
        writer().write(1, 2).commit()
        old = get_changes(database, limit=1).items[0].cursor.rpartition(":")[0]
        assert [change.external_id for change in get_changes(database, old)] == ["2"]

    @pytest.mark.slow
    def test_a_server_that_was_promoted_has_another_timeline(self) -> None:
        """Recovery from an archive ends in a new timeline, as a promotion does."""
        with Stack() as stack:
            url = stack.addresses.database_url
            with open_connection(url, autocommit=True) as connection:
                connection.execute("CREATE ROLE backmarket_reader NOLOGIN")
                connection.execute("ALTER SYSTEM SET restore_command = 'false'")
            database = Database(url)
            apply_schema(database)
            before = get_cursor(database)
            stack.postgres.stop()
            (stack.postgres.directory / "recovery.signal").touch()
            shutil.chown(stack.postgres.directory / "recovery.signal", stack.postgres.directory.owner())
            stack.postgres.start()
            with open_connection(url, autocommit=True) as connection:
                recovering = "SELECT pg_is_in_recovery()"
                wait_until(lambda: connection.execute(recovering).fetchone() == (False,), "it is the primary")
            with pytest.raises(ChangesMissed):
                get_changes(database, before)
            assert get_changes(database, get_cursor(database)).items == []
            database.close()
