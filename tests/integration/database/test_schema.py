"""The schema: both ways to it end equal, no row is lost on the way, and another version is said to be that."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.types.json import Jsonb

from backmarket.database import SCHEMA_VERSION, Database, schema
from backmarket.database.schema import apply_schema
from backmarket.doctor import servers
from backmarket.errors import DatabaseUnavailable, SchemaDiffers, SchemaMissing, SettingsError
from backmarket.facade import BackMarket
from backmarket.services import Services
from backmarket.settings import Settings
from backmarket.standalone.embedded import Stack
from tests.support.databases import OWNER, as_role, new_database, open_connection
from tests.support.waiting import PATIENCE_SECONDS
from workers import lifecycle

OLDER = Path(__file__).parents[2] / "schemas"
ORG = "auth0|1"
RECORDED = {"shipper": "Carrier 1", "psp_reference": "PSP-1", "paypal_reference": "PAYPAL-1"}
"""Fields of an order that versions before `COLUMNS_SINCE` kept in raw only."""
COLUMNS_SINCE = 4

CATALOGUE = """
SELECT 'relation', c.relname, c.relkind::text, concat_ws(' ', c.relpersistence, c.relrowsecurity, c.relforcerowsecurity,
    c.reloptions, obj_description(c.oid, 'pg_class'), c.relacl, pg_get_userbyid(c.relowner))
FROM pg_class c WHERE relnamespace = 'backmarket'::regnamespace
UNION ALL SELECT 'column', attrelid::regclass::text, attname, concat_ws(' ', attnum, format_type(atttypid, atttypmod),
    attnotnull, attidentity, attgenerated, attacl, pg_get_expr(adbin, adrelid), col_description(attrelid, attnum))
FROM pg_attribute JOIN pg_class c ON c.oid = attrelid LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE relnamespace = 'backmarket'::regnamespace AND attnum > 0 AND NOT attisdropped AND c.relkind IN ('r', 'p', 'v')
UNION ALL SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid)
FROM pg_constraint WHERE connamespace = 'backmarket'::regnamespace
UNION ALL SELECT 'index', indrelid::regclass::text, indexrelid::regclass::text, pg_get_indexdef(indexrelid)
FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE relnamespace = 'backmarket'::regnamespace
UNION ALL SELECT 'function', oid::regprocedure::text, prosrc, concat_ws(' ', provolatile, proconfig, proacl)
FROM pg_proc WHERE pronamespace = 'backmarket'::regnamespace
UNION ALL SELECT 'trigger', tgrelid::regclass::text, tgname, pg_get_triggerdef(t.oid)
FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid
WHERE relnamespace = 'backmarket'::regnamespace AND NOT tgisinternal
UNION ALL SELECT 'policy', tablename, policyname, concat_ws(' ', permissive, roles, cmd, qual, with_check)
FROM pg_policies WHERE schemaname = 'backmarket'
UNION ALL SELECT 'schedule', resource, concat_ws(' ', enabled, interval_seconds, full_interval_seconds), ''
FROM backmarket.schedule
ORDER BY 1, 2, 3
"""


@pytest.fixture
def url(stack: Stack) -> Iterator[str]:
    with new_database(stack, "schema_of_a_test") as url:
        yield url


@contextmanager
def opened(url: str) -> Iterator[Database]:
    database = Database(url)
    yield database
    database.close()


def make_older(url: str, version: int) -> None:
    """As a program of that version made it, with a row in it."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute((OLDER / f"{version}.sql").read_bytes())
    with opened(url) as database, database.transaction() as transaction:
        transaction.execute(
            b"INSERT INTO backmarket.connections (organization_id, environment, region, locale)"
            b" VALUES (%s, 'production', 'EU', 'fr-fr')",
            (ORG,),
        )
        transaction.execute(
            b"INSERT INTO backmarket.labels (organization_id, resource, shipment_id, url, state)"
            b" SELECT %s, 'returns', n, '/label', 'wanted' FROM generate_series(1, 100) n",
            (ORG,),
        )
        transaction.execute(
            b"INSERT INTO backmarket.orders (organization_id, order_id, raw, content)"
            b" VALUES (%s, 1, %s, 0), (%s, 2, %s, 0)",
            (ORG, Jsonb(RECORDED), ORG, Jsonb({"shipper": "Carrier 1", "paypal_reference": None})),
        )
        transaction.execute(
            b"INSERT INTO backmarket.orderlines (organization_id, orderline_id, order_id, raw)"
            b" VALUES (%s, 10, 1, '{\"shipper\": \"Carrier 2\"}'), (%s, 11, 1, '{}')",
            (ORG, ORG),
        )


def catalogue(url: str) -> set[tuple[str, ...]]:
    with open_connection(url) as connection:
        return set(connection.execute(CATALOGUE.encode()).fetchall())


@pytest.mark.parametrize("older", range(1, SCHEMA_VERSION))
def test_an_older_database_ends_equal_to_a_new_one_and_loses_no_row(stack: Stack, url: str, older: int) -> None:
    make_older(url, older)
    with opened(url) as database:
        assert apply_schema(database) == list(range(older + 1, SCHEMA_VERSION + 1))
        assert schema.version(database) == SCHEMA_VERSION
        assert apply_schema(database) == [], "harmless to repeat"
        with database.transaction() as transaction:
            rows = transaction.execute(b"SELECT count(*) FROM backmarket.labels WHERE state = 'wanted'").fetchone()
            orders = transaction.execute(
                b"SELECT shipper, psp_reference, paypal_reference FROM backmarket.orders ORDER BY order_id"
            ).fetchall()
            lines = transaction.execute(b"SELECT shipper FROM backmarket.orderlines ORDER BY orderline_id").fetchall()
        assert rows == (100,)
        if older < COLUMNS_SINCE:
            assert orders == [tuple(RECORDED.values()), ("Carrier 1", None, None)]
            assert lines == [("Carrier 2",), (None,)]
    with new_database(stack, "schema_made_anew") as anew:
        with opened(anew) as database:
            assert apply_schema(database) == []
        assert catalogue(url) ^ catalogue(anew) == set()
    assert len(catalogue(url)) > 300


def test_the_schema_as_a_file_says_the_version_that_the_program_needs() -> None:
    said = re.findall(
        r"found <> (\d+)|makes version (\d+)|schema_version \(version\) VALUES \((\d+)\)", schema.schema_text()
    )
    assert [int("".join(each)) for each in said] == [SCHEMA_VERSION] * 3
    assert {path.stem for path in OLDER.glob("*.sql")} == {str(each) for each in range(1, SCHEMA_VERSION)}


def test_two_at_once_take_turns(url: str) -> None:
    make_older(url, 1)
    passed: list[int] = []

    def migrate() -> None:
        with opened(url) as database:
            passed.extend(apply_schema(database))

    threads = [threading.Thread(target=migrate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert sorted(passed) == list(range(2, SCHEMA_VERSION + 1))


def test_a_step_that_fails_leaves_the_version_before(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make_older(url, 1)
    text = schema.migration_text(2)
    monkeypatch.setattr(schema, "migration_text", lambda to: f"{text}; SELECT 1 / 0")
    with opened(url) as database:
        with pytest.raises(Exception, match="DivisionByZero"):
            apply_schema(database)
        assert schema.version(database) == 1
        monkeypatch.undo()
        assert apply_schema(database) == list(range(2, SCHEMA_VERSION + 1))


def test_a_table_in_use_is_waited_for_and_then_given_up(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make_older(url, 1)
    monkeypatch.setattr(schema, "LOCK_SECONDS", 1)
    with open_connection(url) as other, opened(url) as database:
        other.execute("LOCK TABLE backmarket.labels")
        with pytest.raises(DatabaseUnavailable, match="LockNotAvailable"):
            apply_schema(database)
        assert schema.version(database) == 1
        other.rollback()
        apply_schema(database)


def test_init_leaves_older_tables_to_migrate(url: str, settings: Settings) -> None:
    make_older(url, 1)
    with BackMarket(settings.model_copy(update={"database_url": url})) as market:
        with pytest.raises(
            SchemaDiffers, match=rf"version 1, and this program needs {SCHEMA_VERSION}: .*`backmarket db migrate`"
        ):
            market.apply_schema(migrate=False)
        assert market.apply_schema() == [*range(2, SCHEMA_VERSION + 1)]
        assert market.apply_schema(migrate=False) == []


def test_newer_tables_are_left_alone(url: str) -> None:
    with opened(url) as database:
        apply_schema(database)
        with database.transaction() as transaction:
            transaction.execute(b"INSERT INTO backmarket.schema_version (version) VALUES (99)")
        with pytest.raises(SchemaDiffers, match=r"version 99, and this program knows .* newer version of it"):
            apply_schema(database)
        with pytest.raises(SchemaDiffers, match="version 99"):
            schema.check(database)


def test_the_file_alone_refuses_older_tables(url: str) -> None:
    make_older(url, 1)
    with (
        psycopg.connect(url, autocommit=True) as connection,
        pytest.raises(psycopg.errors.RaiseException, match="migrate"),
    ):
        connection.execute(schema.schema_text().encode())


def test_tables_that_lack_a_column_are_said_to_be_of_another_version(database_url: str) -> None:
    with opened(database_url) as database:
        with database.transaction() as transaction:
            transaction.execute(b"ALTER TABLE backmarket.labels DROP COLUMN due_at")
        with pytest.raises(SchemaMissing, match="another version"):
            apply_schema(database)


def test_without_tables_what_is_missing_is_said(url: str) -> None:
    with opened(url) as database:
        assert schema.version(database) is None
        with pytest.raises(SchemaMissing, match="db init"):
            schema.check(database)


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_of_another_encoding_is_refused_everywhere(
    stack: Stack, settings: Settings, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    name, admin = f"encoded_{encoding.lower()}", stack.addresses.database_url
    made = f"{name} OWNER {OWNER} ENCODING '{encoding}' LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0"
    with open_connection(admin, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {made}".encode())
        url = as_role(urlsplit(admin)._replace(path=f"/{name}").geturl(), OWNER)
        services = Services(settings.model_copy(update={"database_url": url}))
        try:
            for refuse in (apply_schema, schema.check):
                with pytest.raises(SettingsError, match=f"encoding is {encoding}.*ENCODING 'UTF8'"):
                    refuse(services.database)
            (found,) = (each for each in servers.database(services) if each.check == "schema")
            assert (found.verdict, encoding in found.found) == ("fault", True)
            monkeypatch.setattr("backmarket.services.current", lambda: services)
            with pytest.raises(SystemExit, match=encoding):
                lifecycle._schema_fault()
        finally:
            services.close()
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
