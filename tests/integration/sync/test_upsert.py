"""Rows into their tables: what is written, what is not, and what is said about it in the change feed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg import Rollback

from backmarket.database import Database, Transaction, savepoint
from backmarket.errors import BackMarketError, InvalidArgument
from backmarket.resources import ORDERS, Row, parse_page
from backmarket.sync.upsert import UpsertCounts, compare, stage, store, write
from tests.support.databases import open_connection

ORG = "auth0|1"
OTHER = "auth0|2"
HOSTILE = "\\N \\. \\\\ ' '' \" \t \n \r \r\n \b\v\f {} ,;|%s $1 é 中 🙂 \u202e \ufffd \x01 \x7f"


def order(key: int, **fields: Any) -> dict[str, Any]:
    return {"order_id": key, "state": 1, "date_modification": "2026-05-01T10:00:00Z", "orderlines": [], **fields}


def line(key: int, **fields: Any) -> dict[str, Any]:
    return {"id": key, "state": 1, "price": "10.00", **fields}


def rows(*orders: dict[str, Any]) -> list[Row]:
    return parse_page(ORDERS, json.dumps({"count": len(orders), "results": orders}).encode()).rows


def raw(text: str) -> list[Row]:
    """Rows from the very bytes of their objects."""
    return parse_page(ORDERS, b'{"results":[' + text.encode() + b"]}").rows


class Stored:
    """What a test writes and reads."""

    def __init__(self, url: str) -> None:
        self.database = Database(url)

    def store(self, *orders: dict[str, Any], organization: str = ORG) -> UpsertCounts:
        return self.store_rows(rows(*orders), organization)

    def store_rows(self, given: list[Row], organization: str = ORG) -> UpsertCounts:
        with self.database.transaction() as transaction:
            return store(transaction, ORDERS, organization, given)

    def execute(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.database.transaction() as transaction:
            cursor = transaction.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def order(self, key: int, columns: str, organization: str = ORG) -> Any:
        """The columns of one order; the value alone where it is one."""
        statement = f"SELECT {columns} FROM backmarket.orders WHERE organization_id = %s AND order_id = %s"
        ((*values,),) = self.execute(statement, organization, key)
        return values[0] if len(values) == 1 else tuple(values)

    def keys(self) -> list[int]:
        return [key for (key,) in self.execute("SELECT order_id FROM backmarket.orders ORDER BY 1")]

    def lines(self) -> dict[int, tuple[Any, ...]]:
        """Each line's order, price, and whether it was removed."""
        found = self.execute(
            "SELECT orderline_id, order_id, price::text, removed_at IS NOT NULL FROM backmarket.orderlines"
        )
        return {key: tuple(rest) for key, *rest in found}

    def versions(self) -> dict[Any, str]:
        """The transaction that last wrote each row."""
        return dict(
            self.execute(
                "SELECT 'order ' || order_id, xmin::text FROM backmarket.orders"
                " UNION ALL SELECT 'line ' || orderline_id, xmin::text FROM backmarket.orderlines"
            )
        )

    def news(self) -> list[tuple[Any, ...]]:
        """The events since this was last asked."""
        found = self.execute("SELECT external_id, kind, fields FROM backmarket.changes ORDER BY id")
        self.execute("DELETE FROM backmarket.changes")
        return found


@pytest.fixture
def stored(database_url: str) -> Iterator[Stored]:
    stored = Stored(database_url)
    yield stored
    stored.database.close()


class TestFates:
    def test_new_changed_and_unchanged_rows_are_told_apart(self, stored: Stored) -> None:
        assert stored.store(order(1), order(2)) == UpsertCounts(created=2)
        assert stored.store(order(1), order(2, state=3), order(3)) == UpsertCounts(created=1, updated=1, unchanged=1)
        assert stored.order(2, "state") == 3

    def test_no_rows_are_no_work(self, stored: Stored) -> None:
        assert stored.store() == UpsertCounts()

    def test_an_unchanged_row_is_not_written(self, stored: Stored) -> None:
        stored.store(order(1, orderlines=[line(11)]), order(2, orderlines=[line(21)]))
        before = stored.versions()
        stored.store(order(1, orderlines=[line(11)]), order(2, state=3, orderlines=[line(21)]))
        after = stored.versions()
        assert {key for key in after if after[key] != before[key]} == {"order 2"}

    def test_the_same_meaning_in_other_bytes_is_not_written(self, stored: Stored) -> None:
        stored.store_rows(raw('{"order_id": 1, "state": 1, "x": {"a": 1, "b": 2}}'))
        before = stored.versions()
        assert stored.news() == [("1", "created", [])]
        assert stored.store_rows(raw('{"x":{"b":2,"a":1},"state":1,"order_id":1}')) == UpsertCounts(unchanged=1)
        assert stored.versions() == before
        assert stored.news() == []

    def test_a_value_becomes_null(self, stored: Stored) -> None:
        address = {"city": "Paris"}
        stored.store(order(1, currency="EUR", price="1.20", shipping_address=address, billing_address=address))
        assert stored.order(1, "currency, price::text, shipping_address") == ("EUR", "1.20", address)
        assert stored.store(order(1, currency=None, shipping_address=None)) == UpsertCounts(updated=1)
        assert stored.order(1, "currency, price, shipping_address, billing_address") == (None, None, None, None)

    def test_a_row_that_comes_twice_counts_once_and_the_later_version_wins(self, stored: Stored) -> None:
        newer = order(1, state=3, date_modification="2026-05-02T10:00:00Z")
        assert stored.store(newer, order(1, state=1)) == UpsertCounts(created=1)
        assert stored.order(1, "state") == 3
        assert len(stored.news()) == 1

    def test_of_two_versions_with_the_same_time_the_last_one_wins(self, stored: Stored) -> None:
        stored.store(order(1, state=1), order(1, state=3))
        assert stored.order(1, "state") == 3

    def test_an_older_version_is_passed_over(self, stored: Stored) -> None:
        stored.store(order(1, state=3, date_modification="2026-05-02T10:00:00Z", orderlines=[line(11)]))
        before = stored.versions()
        assert stored.store(order(1, state=1, date_modification="2026-05-01T10:00:00Z")) == UpsertCounts(unchanged=1)
        assert stored.versions() == before

    def test_a_version_without_a_time_is_taken(self, stored: Stored) -> None:
        stored.store(order(1, state=1))
        assert stored.store(order(1, state=3, date_modification=None)) == UpsertCounts(updated=1)

    def test_a_removed_row_that_reappears_is_created_again(self, stored: Stored) -> None:
        stored.store(order(1, orderlines=[line(11)]))
        stored.execute("UPDATE backmarket.orders SET removed_at = now()")
        stored.execute("UPDATE backmarket.orderlines SET removed_at = now()")
        stored.news()
        assert stored.store(order(1, orderlines=[line(11)])) == UpsertCounts(created=1)
        assert stored.order(1, "removed_at") is None
        assert stored.lines() == {11: (1, "10.00", False)}
        assert stored.news() == [("1", "created", [])]

    def test_rows_that_were_sent_before_another_transaction_stored_them_are_compared_again(
        self, stored: Stored
    ) -> None:
        sent = rows(order(1, state=1), order(2, state=1))
        with stored.database.transaction() as late:
            staged = stage(late, ORDERS, compare(late, ORDERS, ORG, sent))
            assert staged == sent
            stored.store(order(1, state=1), order(2, state=0))
            compared = compare(late, ORDERS, ORG, sent)
            assert write(late, ORDERS, ORG, compared, staged=staged) == UpsertCounts(updated=1, unchanged=1)
        assert [(key, kind) for key, kind, _ in stored.news()] == [("1", "created"), ("2", "created"), ("2", "updated")]
        assert stored.order(2, "state") == 1

    def test_organizations_do_not_touch_each_other(self, stored: Stored) -> None:
        stored.store(order(1, state=1, orderlines=[line(11)]))
        assert stored.store(order(1, state=3), organization=OTHER) == UpsertCounts(created=1)
        assert stored.order(1, "state") == 1
        assert stored.lines() == {11: (1, "10.00", False)}

    def test_what_differs_is_told_before_anything_is_written(self, stored: Stored) -> None:
        stored.store(order(1))
        with stored.database.transaction() as transaction:
            assert not compare(transaction, ORDERS, ORG, rows(order(1))).differing
            assert compare(transaction, ORDERS, ORG, rows(order(1, state=3))).differing
            assert compare(transaction, ORDERS, OTHER, rows(order(1))).differing


class TestEvents:
    def test_one_event_for_each_row_that_was_written(self, stored: Stored) -> None:
        stored.store(order(1), order(2))
        assert sorted(stored.news()) == [("1", "created", []), ("2", "created", [])]
        stored.store(order(1), order(2, state=3, tracking_number="secret", new_field={"deep": 1}))
        assert stored.news() == [("2", "updated", ["new_field", "state", "tracking_number"])]

    def test_values_are_told_of_short_columns_that_are_not_personal(self, stored: Stored) -> None:
        stored.store(order(1, price="10.00", delivery_note="ring", shipping_address={"city": "Paris"}, new_field=1))
        changed = {"state": 3, "price": None, "delivery_note": "knock", "shipping_address": None, "new_field": 2}
        stored.store(order(1, **changed, shipper="DHL", tracking_number="1Z", payment_method="x" * 500))
        told = stored.execute("SELECT kind, field_values FROM backmarket.changes ORDER BY id")
        assert told == [
            ("created", None),
            ("updated", {"state": [1, 3], "price": ["10.00", None], "shipper": [None, "DHL"]}),
        ]
        assert "payment_method" in stored.news()[1][2]

    def test_a_field_that_is_gone_is_named(self, stored: Stored) -> None:
        stored.store(order(1, extra="x"))
        stored.news()
        stored.store(order(1))
        assert stored.news() == [("1", "updated", ["extra"])]

    def test_changed_lines_are_a_field_of_their_order(self, stored: Stored) -> None:
        stored.store(order(1, orderlines=[line(11)]))
        stored.news()
        stored.store(order(1, orderlines=[line(11, price="12.00")]))
        assert stored.news() == [("1", "updated", ["orderlines"])]

    def test_events_are_undone_with_their_rows(self, stored: Stored) -> None:
        with stored.database.transaction() as transaction:
            store(transaction, ORDERS, ORG, rows(order(1)))
            raise Rollback
        assert stored.keys() == []
        assert stored.news() == []


class TestLines:
    def test_lines_are_added_changed_and_removed(self, stored: Stored) -> None:
        stored.store(order(1, orderlines=[line(11), line(12)]), order(2, orderlines=[line(21)]))
        stored.store(order(1, orderlines=[line(12, price="9.50"), line(13)]))
        assert stored.lines() == {
            11: (1, "10.00", True),
            12: (1, "9.50", False),
            13: (1, "10.00", False),
            21: (2, "10.00", False),
        }

    def test_a_removed_line_comes_back(self, stored: Stored) -> None:
        for lines in ([line(11)], [], [line(11)]):
            stored.store(order(1, orderlines=lines))
        assert stored.lines() == {11: (1, "10.00", False)}

    def test_an_unchanged_line_of_a_changed_order_is_not_written(self, stored: Stored) -> None:
        stored.store(order(1, orderlines=[line(11), line(12)]))
        before = stored.versions()
        stored.store(order(1, orderlines=[line(11), line(12, price="8.00")]))
        after = stored.versions()
        assert {key for key in after if after[key] != before[key]} == {"order 1", "line 12"}

    def test_a_line_that_comes_twice_is_stored_once(self, stored: Stored) -> None:
        stored.store(order(1, orderlines=[line(11), line(11)]), order(2, orderlines=[line(11), line(21)]))
        assert set(stored.lines()) == {11, 21}

    def test_a_line_moves_to_another_order(self, stored: Stored) -> None:
        stored.store(order(1, orderlines=[line(11)]), order(2))
        stored.store(order(1), order(2, orderlines=[line(11)]))
        assert stored.lines() == {11: (2, "10.00", False)}


class TestExactness:
    def test_hostile_text_is_stored_as_it_came(self, stored: Stored) -> None:
        stored.store(order(1, delivery_note=HOSTILE, odd={HOSTILE: [HOSTILE]}, orderlines=[line(11, product=HOSTILE)]))
        assert stored.order(1, "delivery_note, raw->'odd'") == (HOSTILE, {HOSTILE: [HOSTILE]})
        assert stored.execute("SELECT product, raw->>'product' FROM backmarket.orderlines") == [(HOSTILE, HOSTILE)]

    @pytest.mark.parametrize("text", ["\\N", "\\.", "\\", "", "NULL", "\t", "\n"])
    def test_a_text_is_never_taken_for_a_null_or_an_end(self, stored: Stored, text: str) -> None:
        stored.store(order(1, delivery_note=text), order(2))
        assert stored.order(1, "delivery_note") == text
        assert stored.order(2, "delivery_note") is None

    def test_a_hostile_organization_is_only_a_name(self, stored: Stored) -> None:
        name = "o'; DROP TABLE backmarket.orders; --\\"
        assert stored.store(order(1), organization=name) == UpsertCounts(created=1)
        assert stored.order(1, "state", name) == 1

    def test_a_text_with_a_nul_and_a_lone_surrogate_is_stored_marked(self, stored: Stored) -> None:
        stored.store_rows(raw(r'{"order_id": 1, "delivery_note": "a\u0000b\ud800c"}'))
        assert stored.order(1, "delivery_note, raw->>'delivery_note'") == ("a\ufffdb\ufffdc", "a\ufffdb\ufffdc")

    def test_money_keeps_its_digits(self, stored: Stored) -> None:
        stored.store(order(1, price="12345678901234.50", sales_taxes="0.10"))
        assert stored.order(1, "price::text, sales_taxes::text") == ("12345678901234.50", "0.10")

    @pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo"])
    def test_a_time_without_an_offset_is_utc_whatever_the_servers_zone(
        self, database_url: str, stored: Stored, zone: str
    ) -> None:
        with open_connection(database_url, autocommit=True) as connection:
            name = connection.info.dbname
            connection.execute(f"ALTER ROLE CURRENT_USER IN DATABASE {name} SET timezone = '{zone}'".encode())
        with psycopg.connect(database_url) as unpinned:
            assert unpinned.execute("SHOW timezone").fetchone() == (zone,)
        created, paid = "2026-05-01T10:00:00.123456", "2026-05-01T12:00:00+02:00"
        stored.store(order(1, date_creation=created, date_payment=paid, orderlines=[line(11, date_creation=created)]))
        assert stored.order(1, "date_creation") == datetime(2026, 5, 1, 10, 0, 0, 123456, UTC)
        assert stored.order(1, "date_payment") == datetime(2026, 5, 1, 10, tzinfo=UTC)
        assert stored.execute("SELECT date_creation = '2026-05-01T10:00:00.123456Z' FROM backmarket.orderlines") == [
            (True,)
        ]


@pytest.fixture
def entered(monkeypatch: pytest.MonkeyPatch) -> list[Transaction]:
    """Grows by one with each savepoint that `store` makes."""
    entered: list[Transaction] = []

    def counted(transaction: Transaction) -> AbstractContextManager[None]:
        entered.append(transaction)
        return savepoint(transaction)

    monkeypatch.setattr("backmarket.sync.upsert.savepoint", counted)
    return entered


FINE = "2026-02-01T00:00:00Z"
DATED = f'{{"order_id": 66, "date_shipping": "{FINE}"}}'
DATED_LINE = f'{{"order_id": 66, "orderlines": [{{"id": 666, "date_creation": "{FINE}"}}]}}'
DEEP = '{"order_id": 66, "deep": ' + "[" * 50_000 + "]" * 50_000 + "}"
NUMBER = '{"order_id": 66, "new": 1e999999}'
NUMBER_IN_LINE = '{"order_id": 66, "orderlines": [{"id": 666, "new": 1e999999}]}'


def poisoned(text: str, time: str = FINE) -> Row:
    """A row that the parser should not have let through, perhaps: its times are replaced after it was read."""
    (row,) = raw(text)
    row.values = tuple(time if value == FINE else value for value in row.values)
    row.lines = [(tuple(time if value == FINE else value for value in line), text) for line, text in row.lines]
    return row


POISON = {
    "a number beyond numeric": lambda: poisoned(NUMBER),
    "such a number in a line": lambda: poisoned(NUMBER_IN_LINE),
    "a day that is not in the calendar": lambda: poisoned(DATED, "2026-02-31T00:00:00Z"),
    "an hour that is not on the clock": lambda: poisoned(DATED, "2026-02-01T29:00:00Z"),
    "an offset beyond the poles": lambda: poisoned(DATED, "2026-02-01T10:00:00+19:00"),
    "such a day in a line": lambda: poisoned(DATED_LINE, "2026-02-31T00:00:00"),
    "nesting without end": lambda: replace(poisoned('{"order_id": 66}'), raw=DEEP),
}


class TestPoison:
    @pytest.mark.parametrize("poison", POISON.values(), ids=POISON.keys())
    def test_a_row_that_postgresql_refuses_is_rejected_and_its_neighbours_are_kept(
        self, stored: Stored, poison: Callable[[], Row]
    ) -> None:
        neighbours = [order(key, orderlines=[line(10 * key)]) for key in range(1, 8)]
        batch = [*rows(*neighbours[:4]), poison(), *rows(*neighbours[4:])]
        assert stored.store_rows(batch) == UpsertCounts(created=7, rejected=1)
        assert stored.keys() == [1, 2, 3, 4, 5, 6, 7]
        assert set(stored.lines()) == {10, 20, 30, 40, 50, 60, 70}
        assert len(stored.news()) == 7

    def test_rows_that_cannot_be_sent_ahead_are_sent_later(self, stored: Stored) -> None:
        sent = [poisoned(NUMBER), *rows(order(2))]
        with stored.database.transaction() as transaction:
            compared = compare(transaction, ORDERS, ORG, sent)
            staged = stage(transaction, ORDERS, compared)
            assert staged == []
            assert write(transaction, ORDERS, ORG, compared, staged=staged) == UpsertCounts(created=1, rejected=1)

    def test_every_row_of_a_batch_may_be_poisonous(self, stored: Stored) -> None:
        batch = [raw(f'{{"order_id": {key}, "new": 1e999999}}')[0] for key in range(1, 6)]
        assert stored.store_rows(batch) == UpsertCounts(rejected=5)
        assert stored.keys() == []

    def test_a_stored_row_whose_next_version_is_poisonous_stays_as_it_is(self, stored: Stored) -> None:
        stored.store(order(1, orderlines=[line(11)]), order(2, orderlines=[line(21)]))
        poison = raw('{"order_id": 1, "state": 3, "new": 1e999999}')
        assert stored.store_rows(poison + rows(order(2))) == UpsertCounts(updated=1, rejected=1)
        assert stored.order(1, "state") == 1
        assert stored.lines() == {11: (1, "10.00", False), 21: (2, "10.00", True)}

    def test_what_the_transaction_did_before_stays(self, stored: Stored) -> None:
        with stored.database.transaction() as transaction:
            assert store(transaction, ORDERS, ORG, rows(order(1))) == UpsertCounts(created=1)
            assert store(transaction, ORDERS, ORG, raw(NUMBER)) == UpsertCounts(rejected=1)
            assert store(transaction, ORDERS, ORG, rows(order(2))) == UpsertCounts(created=1)
        assert stored.keys() == [1, 2]

    def test_a_batch_without_poison_costs_one_savepoint(self, stored: Stored, entered: list[Transaction]) -> None:
        stored.store(*(order(key) for key in range(1, 101)))
        assert len(entered) == 1
        stored.store(*(order(key) for key in range(1, 101)))
        assert len(entered) == 1, "nothing differs: nothing is sent"

    def test_a_poisonous_row_among_many_does_not_cost_a_savepoint_for_each(
        self, stored: Stored, entered: list[Transaction]
    ) -> None:
        batch = rows(*(order(key) for key in range(100, 355))) + raw(NUMBER)
        assert stored.store_rows(batch) == UpsertCounts(created=255, rejected=1)
        assert len(entered) == 2 * 8 + 1


class TestSavepoint:
    def test_a_refused_value_is_undone_alone(self, stored: Stored) -> None:
        with stored.database.transaction() as transaction:
            store(transaction, ORDERS, ORG, rows(order(1)))
            with pytest.raises(InvalidArgument), savepoint(transaction):
                transaction.execute("DELETE FROM backmarket.orders; SELECT '2026-02-31'::date")
        assert stored.keys() == [1]

    @pytest.mark.parametrize(
        "statement",
        [
            "SELECT '1e999999'::jsonb",
            "SELECT repeat('[', 100000)::jsonb",
            "SELECT 'a'::integer",
            "CREATE TEMPORARY TABLE t (x text PRIMARY KEY);"
            "INSERT INTO t SELECT string_agg(md5(n::text), '') FROM generate_series(1, 1000) n",
        ],
    )
    def test_a_value_that_does_not_fit_is_an_argument_of_ours_never_an_outage(
        self, stored: Stored, statement: str
    ) -> None:
        with pytest.raises(InvalidArgument), stored.database.transaction() as transaction:
            transaction.execute(statement.encode())

    def test_the_error_names_no_value(self, stored: Stored) -> None:
        with (
            stored.database.transaction() as transaction,
            pytest.raises(BackMarketError) as caught,
            savepoint(transaction),
        ):
            transaction.execute("SELECT 'a secret'::integer")
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("known", [0, 10])
def test_a_batch_reads_no_other_rows_of_its_organization_though_nothing_was_analyzed(
    stored: Stored, known: int
) -> None:
    stored.execute("ALTER TABLE backmarket.orders SET (autovacuum_enabled = false)")
    many = 3000
    stored.store(*(order(key) for key in range(many)))
    coming = rows(*(order(key, state=2) for key in range(many - known, many - known + 50)))
    with stored.database.transaction() as transaction:
        found = compare(transaction, ORDERS, ORG, coming)
        before = _read(transaction)
        written = write(transaction, ORDERS, ORG, found)
        assert (written.created, written.updated) == (50 - known, known)
        assert _read(transaction) - before <= 3 * 50


def _read(transaction: Transaction) -> int:
    """Rows of `orders` that this transaction has read."""
    found = transaction.execute(
        "SELECT COALESCE(seq_tup_read, 0) + COALESCE(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables"
        " WHERE relid = 'backmarket.orders'::regclass"
    ).fetchone()
    return int(found[0]) if found else 0
