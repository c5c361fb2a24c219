"""Row-level security, where it can be seen: in a database whose owner is an ordinary role. A superuser passes by it."""

from __future__ import annotations

import itertools
import json
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import errors as pg
from psycopg import sql
from psycopg_pool import ConnectionPool
from pydantic import SecretStr

from backmarket.bulk.engine.slice import run_slice as run_bulk
from backmarket.bulk.models import PartState
from backmarket.connections.health import lock
from backmarket.database import Database, Transaction, schema
from backmarket.database.schema import apply_schema
from backmarket.doctor.servers import _login
from backmarket.errors import DatabaseUnavailable, SchemaMissing, SettingsError
from backmarket.facade import BackMarket
from backmarket.labels.engine import run_slice as fetch_labels
from backmarket.limits import sku_quota
from backmarket.organizations.probes import probe_due
from backmarket.resources import ORDERS, RESOURCES, parse_page
from backmarket.services import Services
from backmarket.settings import Settings
from backmarket.standalone.embedded import Stack
from backmarket.sync import leases
from backmarket.sync.requests import claim_due
from backmarket.sync.upsert import compare, store
from backmarket.writes.engine.slice import run_slice as send_writes
from tests.support.databases import as_process, as_role
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop
from tests.support.waiting import wait_until

OWNER, APPLICATION, STRANGER = "ordinary_owner", "host_application", "stranger"
TEMPLATE = "owned_template"
READABLE = {
    "api_writes",
    "bulk_jobs",
    "bulk_parts",
    "changes",
    "connections",
    "deliveries",
    "labels",
    "listing_markets",
    "listings",
    "orderlines",
    "orders",
    "returns",
    "sync_runs",
    "sync_state",
    "work",
}
ROOT = Path(__file__).parents[3]
DOCUMENT = ROOT / "docs" / "applications.md"
_numbers = itertools.count(1)


@dataclass
class _Services:
    """What a claim of a probe needs."""

    database: Database
    stopping: threading.Event = field(default_factory=threading.Event)


def in_database(url: str, name: str) -> str:
    return urlsplit(url)._replace(path=f"/{name}").geturl()


@contextmanager
def superuser(url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


@contextmanager
def new_database(admin_url: str, *, template: str = "template1") -> Iterator[str]:
    """A database that the ordinary role owns, by the superuser's URL."""
    name = f"owned_{next(_numbers)}"
    with superuser(admin_url) as connection:
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}")
        connection.execute(create.format(*map(sql.Identifier, (name, template, OWNER))))
    try:
        yield in_database(admin_url, name)
    finally:
        with superuser(admin_url) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def apply_as(url: str) -> None:
    database = Database(url, size=1)
    try:
        apply_schema(database)
    finally:
        database.close()


@pytest.fixture(scope="module")
def server(stack: Stack) -> str:
    """The superuser's URL of a server with the roles of these tests, and a database to be copied."""
    url = stack.addresses.database_url
    with superuser(url) as connection:
        for role in (OWNER, APPLICATION, STRANGER):
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
        if connection.execute("SELECT to_regrole('backmarket_reader')").fetchone() == (None,):
            connection.execute("CREATE ROLE backmarket_reader NOLOGIN")
        connection.execute(sql.SQL("GRANT backmarket_reader TO {}").format(sql.Identifier(APPLICATION)))
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(*map(sql.Identifier, (TEMPLATE, OWNER))))
    apply_as(as_role(in_database(url, TEMPLATE), OWNER))
    return url


@pytest.fixture
def admin_url(server: str) -> Iterator[str]:
    with new_database(server, template=TEMPLATE) as url:
        yield url


@pytest.fixture
def database_url(admin_url: str) -> str:
    """As everywhere else a database of the test's own, but of an ordinary owner; `settings` takes it from here."""
    return as_role(admin_url, OWNER)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url, size=1)
    yield database
    database.close()


@pytest.fixture
def filled(database: Database) -> Database:
    """Two organizations, `a` and `b`, each with one row in every table that has organizations."""
    fill(database)
    return database


@pytest.fixture(scope="module")
def shelf(server: str) -> Iterator[str]:
    """The same for all tests that only read; the owner's URL."""
    with new_database(server, template=TEMPLATE) as admin_url:
        database = Database(as_role(admin_url, OWNER), size=1)
        fill(database)
        database.close()
        yield database.url


@pytest.fixture(scope="module")
def pool(shelf: str) -> Iterator[ConnectionPool]:
    """A host application's own pool, of one connection: whoever comes next gets what the last one left."""
    with ConnectionPool(as_role(shelf, APPLICATION), min_size=1, max_size=1) as pool:
        yield pool


def fill(database: Database) -> None:
    with database.transaction() as transaction:
        for organization in ("a", "b"):
            fill_one(transaction, organization)


def fill_one(transaction: Transaction, organization: str) -> None:
    rows = {
        "connections": ("api_key, account, environment, region, locale", "'key', 'hash', 'sandbox', 'EU', 'fr-fr'"),
        "sync_state": ("resource", "'orders'"),
        "sync_runs": (
            "resource, kind, outcome, started_at, serving, requests,"
            " rows_created, rows_updated, rows_unchanged, rows_removed, rows_rejected",
            "'orders', 'full', 'done', now(), 0, 1, 0, 0, 0, 0, 0",
        ),
        "orders": ("order_id, raw, content", "1, '{}', 1"),
        "orderlines": ("orderline_id, order_id, raw", "1, 1, '{}'"),
        "listings": ("listing_id, raw, content", "gen_random_uuid(), '{}', 1"),
        "listing_markets": ("market, listing_id, raw, content", "'de-de', gen_random_uuid(), '{}', 1"),
        "deliveries": ("shipment_id, raw, content", "1, '{}', 1"),
        "returns": ("shipment_id, raw, content", "1, '{}', 1"),
        "api_writes": (
            "kind, object_id, lane, request, locale, environment, region",
            "'update_order', '1', 'order/1', '{}', 'fr-fr', 'production', 'EU'",
        ),
        "bulk_jobs": (
            "id, object_prefix, locale, environment, region, header, lines, fingerprint",
            "1, 'bulk/1/', 'fr-fr', 'production', 'EU', 'sku', 1, 'hash'",
        ),
        "bulk_parts": ("job_id, number, byte_offset, byte_length, lines, line_numbers", "1, 1, 0, 1, 1, '{1}'"),
        "work": ("kind, due_at", "'labels', now()"),
        "labels": ("resource, shipment_id, url, state", "'returns', 1, '/label', 'wanted'"),
        "changes": ("resource, external_id, kind", "'orders', '1', 'created'"),
    }
    assert set(rows) == READABLE
    for table, (columns, values) in rows.items():
        statement = f"INSERT INTO backmarket.{table} (organization_id, {columns}) VALUES (%s, {values})"
        transaction.execute(statement.encode(), (organization,))


def bind(connection: psycopg.Connection[Any], organization: str) -> None:
    connection.execute("SELECT set_config('backmarket.organization_id', %s, true)", (organization,))


def seen(connection: psycopg.Connection[Any], table: str) -> list[str]:
    """The organizations whose rows a table shows."""
    rows = connection.execute(f"SELECT organization_id FROM backmarket.{table} ORDER BY 1".encode()).fetchall()
    return [organization for (organization,) in rows]


def guarded_tables(connection: psycopg.Connection[Any]) -> set[str]:
    rows = connection.execute(
        "SELECT relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
        " WHERE relnamespace = 'backmarket'::regnamespace AND attname = 'organization_id'"
        " AND relkind IN ('r', 'p') AND NOT relispartition"
    ).fetchall()
    return {name for (name,) in rows}


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes(inner)


def plan_of(notice: str) -> dict[str, Any]:
    plan: dict[str, Any] = json.loads(notice[notice.index("{") :])["Plan"]
    return plan


class TestReader:
    @pytest.mark.parametrize("table", sorted(READABLE))
    def test_it_sees_the_organization_that_its_transaction_names_and_else_nothing(
        self, pool: ConnectionPool, table: str
    ) -> None:
        with pool.connection() as connection:
            assert seen(connection, table) == []
            bind(connection, "a")
            assert seen(connection, table) == ["a"]
            bind(connection, "b")
            assert seen(connection, table) == ["b"]
            bind(connection, "nobody")
            assert seen(connection, table) == []
            bind(connection, "")
            assert seen(connection, table) == []

    def test_a_pooled_connection_is_bound_to_nothing_after_a_commit(self, pool: ConnectionPool) -> None:
        with pool.connection() as connection:
            bind(connection, "a")
            assert seen(connection, "orders") == ["a"]
        with pool.connection() as connection:
            assert seen(connection, "orders") == []

    def test_a_pooled_connection_is_bound_to_nothing_after_an_error(self, pool: ConnectionPool) -> None:
        with pytest.raises(pg.DivisionByZero):
            self.fail_bound(pool)
        with pool.connection() as connection:
            assert seen(connection, "orders") == []

    @staticmethod
    def fail_bound(pool: ConnectionPool) -> None:
        with pool.connection() as connection:
            bind(connection, "a")
            connection.execute("SELECT 1 / 0")

    def test_a_pooled_connection_is_bound_to_nothing_after_a_rollback(self, pool: ConnectionPool) -> None:
        with pool.connection() as connection:
            bind(connection, "a")
            connection.rollback()
            assert seen(connection, "orders") == []

    def test_a_binding_inside_a_savepoint_ends_with_it(self, pool: ConnectionPool) -> None:
        with pool.connection() as connection:
            bind(connection, "a")
            with connection.transaction(force_rollback=True):
                bind(connection, "b")
                assert seen(connection, "orders") == ["b"]
            assert seen(connection, "orders") == ["a"]

    def test_saying_that_one_is_a_worker_helps_a_reader_nothing(self, pool: ConnectionPool) -> None:
        with pool.connection() as connection:
            connection.execute("SET LOCAL backmarket.worker = 'on'")
            assert seen(connection, "orders") == []

    @pytest.mark.parametrize("column", ["api_key", "account", "*"])
    def test_keys_are_out_of_its_sight(self, pool: ConnectionPool, column: str) -> None:
        with pool.connection() as connection:
            bind(connection, "a")
            with pytest.raises(pg.InsufficientPrivilege):
                connection.execute(f"SELECT {column} FROM backmarket.connections".encode())

    @pytest.mark.parametrize(
        "statement",
        [
            "INSERT INTO backmarket.orders (organization_id, order_id, raw, content) VALUES ('a', 2, '{}', 2)",
            "UPDATE backmarket.orders SET state = 1",
            "UPDATE backmarket.connections SET enabled = false",
            "DELETE FROM backmarket.orders",
            "TRUNCATE backmarket.orders",
            "SELECT order_id FROM backmarket.orders FOR UPDATE",
            "ALTER TABLE backmarket.orders DISABLE ROW LEVEL SECURITY",
            "CREATE TABLE backmarket.mine ()",
        ],
    )
    def test_it_writes_nothing(self, pool: ConnectionPool, statement: str) -> None:
        with pool.connection() as connection:
            bind(connection, "a")
            with pytest.raises(pg.InsufficientPrivilege):
                connection.execute(statement.encode())

    def test_nothing_else_is_granted_partitions_included(self, shelf: str) -> None:
        with psycopg.connect(shelf) as connection:
            granted = connection.execute(
                "SELECT relname FROM pg_class WHERE relnamespace = 'backmarket'::regnamespace"
                " AND relkind IN ('r', 'p', 'v', 'm', 'f')"
                " AND has_any_column_privilege('backmarket_reader', oid, 'SELECT, INSERT, UPDATE, REFERENCES')"
            ).fetchall()
        assert {name for (name,) in granted} == READABLE

    def test_a_query_without_a_where_reads_the_index(self, database: Database) -> None:
        with database.transaction() as transaction:
            transaction.execute(
                "INSERT INTO backmarket.orders (organization_id, order_id, raw, content)"
                " SELECT 'org ' || n % 100, n, '{}', n FROM generate_series(1, 20000) n"
            )
            transaction.execute("ANALYZE backmarket.orders")
        with psycopg.connect(as_role(database.url, APPLICATION)) as connection:
            bind(connection, "org 7")
            rows = connection.execute("EXPLAIN (ANALYZE, FORMAT json) SELECT * FROM backmarket.orders").fetchall()
        scans = [node for node in nodes(rows[0][0][0]["Plan"]) if node.get("Relation Name") == "orders"]
        assert [scan["Actual Rows"] for scan in scans] == [200]
        assert "Seq Scan" not in {scan["Node Type"] for scan in scans}
        assert "organization_id" in str(list(nodes(rows[0][0][0]["Plan"])))
        assert all("Rows Removed by Filter" not in scan for scan in scans), "the index finds them, no filter does"

    def test_every_table_that_it_reads_has_an_index_by_organization(self, shelf: str) -> None:
        with psycopg.connect(shelf) as connection:
            indexed = connection.execute(
                "SELECT DISTINCT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid"
                " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]"
                " WHERE c.relnamespace = 'backmarket'::regnamespace AND a.attname = 'organization_id'"
            ).fetchall()
        assert {name for (name,) in indexed} >= READABLE

    def test_a_login_of_its_own_holds_where_statements_can_not_be_trusted(self, filled: Database) -> None:
        """The recipe of docs/applications.md, as it stands there."""
        (recipe,) = re.findall(r"(?ms)^```sql\n(-- a login for each organization.*?)^```", DOCUMENT.read_text())
        with psycopg.connect(filled.url) as connection:
            connection.execute(recipe.replace("shop_1_login", APPLICATION).replace("'shop-1'", "'a'").encode())
            connection.execute("INSERT INTO backmarket_logins VALUES ('another_login', 'b')")
        with psycopg.connect(as_role(filled.url, APPLICATION)) as connection:
            bind(connection, "a")
            assert seen(connection, "orders") == ["a"]
            bind(connection, "b")
            assert seen(connection, "orders") == []
            names = connection.execute("SELECT login FROM backmarket_logins").fetchall()
            assert names == [(APPLICATION,)], "a login sees no other's name and organization"
            connection.execute("SET ROLE backmarket_reader")
            assert seen(connection, "orders") == []

    def test_what_it_locks_nobody_waits_for(self, filled: Database) -> None:
        """Every login can take any advisory lock, and share a lock on what it may read."""
        mark = "&" if "?" in filled.url else "?"
        impatient = Database(f"{filled.url}{mark}options=-c%20lock_timeout%3D2s", size=1)
        with closing(impatient), psycopg.connect(as_role(filled.url, APPLICATION)) as connection:
            for name in ("schema", "partitions", "probes", "connections/a", "sku_quota/hash"):
                advisory = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
                connection.execute(advisory, (f"backmarket.{name}",))
            for table in READABLE - {"connections"}:
                connection.execute(f"LOCK TABLE backmarket.{table} IN ACCESS SHARE MODE".encode())
            apply_schema(impatient)
            with impatient.transaction() as transaction:
                transaction.execute("SELECT backmarket.make_partitions()")
                lock(transaction, "a")
                transaction.execute("UPDATE backmarket.connections SET enabled = false WHERE organization_id = 'a'")
                assert sku_quota.reserve(transaction, "hash", 1, limit=10, window=60).granted == 1
            assert probe_due(cast(Services, _Services(impatient)), seconds=1) == 0

    @pytest.mark.parametrize(
        "statement",
        [
            "SELECT FROM backmarket.locks FOR KEY SHARE",
            "SELECT backmarket.take_lock('connections', 'a')",
            "LOCK TABLE backmarket.locks IN ACCESS SHARE MODE",
            "LOCK TABLE backmarket.schema_version IN ACCESS SHARE MODE",
            "SELECT backmarket.make_partitions()",
        ],
    )
    def test_it_takes_none_of_our_locks(self, pool: ConnectionPool, statement: str) -> None:
        with pool.connection() as connection, pytest.raises(pg.InsufficientPrivilege):
            connection.execute(statement.encode())

    def test_no_statement_of_ours_takes_an_advisory_lock(self) -> None:
        sources = [ROOT / "schema.sql", *(ROOT / "backmarket").rglob("*.py")]
        assert len(sources) > 100
        assert [path for path in sources if re.search(r"pg_(try_)?advisory", path.read_text())] == []


class TestLocks:
    def test_a_wait_for_one_ends(self, filled: Database) -> None:
        with psycopg.connect(filled.url) as other:
            other.execute("ALTER FUNCTION backmarket.take_lock SET lock_timeout = '100ms'")
            other.commit()
            other.execute("SELECT backmarket.take_lock('connections', 'a')")
            with pytest.raises(DatabaseUnavailable, match="LockNotAvailable"), filled.transaction() as transaction:
                lock(transaction, "a")

    def test_a_wait_for_another_migration_ends(self, filled: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(schema, "TURN_SECONDS", 1)
        with psycopg.connect(filled.url) as other:
            other.execute("LOCK TABLE backmarket.schema_version IN SHARE ROW EXCLUSIVE MODE")
            with pytest.raises(DatabaseUnavailable, match="LockNotAvailable"):
                apply_schema(filled)

    def test_a_missing_row_is_named(self, filled: Database) -> None:
        with psycopg.connect(filled.url) as other:
            other.execute("DELETE FROM backmarket.locks WHERE kind = 'probes'")
        with pytest.raises(SchemaMissing, match="lock probes is missing"), filled.transaction() as transaction:
            transaction.execute("SELECT backmarket.take_lock('probes')")
        apply_schema(filled)
        with filled.transaction() as transaction:
            transaction.execute("SELECT backmarket.take_lock('probes')")


class TestOwner:
    def test_every_table_with_organizations_binds_its_owner_too(self, shelf: str) -> None:
        with psycopg.connect(shelf) as connection:
            guarded = connection.execute(
                "SELECT relname FROM pg_class c WHERE relrowsecurity AND relforcerowsecurity"
                " AND 5 = (SELECT count(*) FROM pg_policy WHERE polrelid = c.oid)"
            ).fetchall()
            tables = guarded_tables(connection)
        assert {name for (name,) in guarded} == tables
        assert tables >= READABLE | {"walks", "walk_seen"}

    @pytest.mark.parametrize("table", sorted(READABLE))
    def test_it_sees_nothing_unless_it_says_that_it_is_a_worker(self, shelf: str, table: str) -> None:
        with psycopg.connect(shelf) as connection:
            assert seen(connection, table) == []
            bind(connection, "b")
            assert seen(connection, table) == ["b"]
            connection.rollback()
            connection.execute("SET LOCAL backmarket.worker = 'on'")
            assert seen(connection, table) == ["a", "b"]

    def test_it_writes_nothing_unless_it_says_that_it_is_a_worker(self, filled: Database) -> None:
        insert = "INSERT INTO backmarket.orders (organization_id, order_id, raw, content) VALUES (%s, 2, '{}', 2)"
        with psycopg.connect(filled.url, autocommit=True) as connection:
            assert connection.execute("DELETE FROM backmarket.orders").rowcount == 0
            with pytest.raises(pg.InsufficientPrivilege):
                connection.execute(insert, ("a",))
            with connection.transaction():
                bind(connection, "a")
                assert connection.execute("UPDATE backmarket.orders SET state = 3").rowcount == 1
                with pytest.raises(pg.InsufficientPrivilege), connection.transaction():
                    connection.execute(insert, ("b",))

    def test_the_mark_ends_with_the_transaction(self, filled: Database) -> None:
        with filled.transaction() as transaction:
            assert seen(transaction, "orders") == ["a", "b"]
        assert seen(transaction, "orders") == [], "the same connection, as the next one behind a pooler gets it"

    def test_an_error_undoes_what_was_done_and_ends_the_mark(self, filled: Database) -> None:
        open_ones: list[Transaction] = []
        with pytest.raises(ZeroDivisionError):
            self.delete_and_fail(filled, open_ones)
        assert seen(open_ones[0], "orders") == []
        with filled.transaction() as transaction:
            assert seen(transaction, "orders") == ["a", "b"]

    @staticmethod
    def delete_and_fail(database: Database, open_ones: list[Transaction]) -> float:
        with database.transaction() as transaction:
            open_ones.append(transaction)
            transaction.execute("DELETE FROM backmarket.orders")
            return 1 / 0

    def test_a_rollback_on_purpose_is_quiet(self, filled: Database) -> None:
        with filled.transaction() as transaction:
            transaction.execute("DELETE FROM backmarket.orders")
            raise psycopg.Rollback
        with filled.transaction() as transaction:
            assert seen(transaction, "orders") == ["a", "b"]

    def test_another_role_is_told_so_instead_of_seeing_nothing(self, admin_url: str, filled: Database) -> None:
        database = Database(as_role(filled.url, STRANGER), size=1)
        grant = f'GRANT backmarket_worker TO "{STRANGER}"'
        with pytest.raises(SettingsError, match=re.escape(grant)), database.transaction():
            pytest.fail("it got in")
        with superuser(admin_url) as connection:
            connection.execute(grant.encode())
            try:
                with database.transaction() as transaction:
                    assert seen(transaction, "orders") == ["a", "b"]
            finally:
                database.close()
                connection.execute(f'REVOKE backmarket_worker FROM "{STRANGER}"'.encode())

    def test_the_guard_follows_the_tables_to_another_owner(self, admin_url: str, filled: Database) -> None:
        filled.close()
        with superuser(admin_url) as connection:
            connection.execute(f'REASSIGN OWNED BY "{OWNER}" TO "{STRANGER}"'.encode())
            connection.execute(f'ALTER DATABASE "{connection.info.dbname}" OWNER TO "{STRANGER}"'.encode())
        apply_as(admin_url)
        database = Database(as_role(filled.url, STRANGER), size=1)
        with database.transaction() as transaction:
            assert seen(transaction, "orders") == ["a", "b"]
        database.close()
        with psycopg.connect(database.url) as connection:
            assert seen(connection, "orders") == []


class TestWork:
    """Everything of ours, as a role that row-level security binds: the owner, and a login of the workers' own."""

    @pytest.fixture(params=["", "worker"], ids=["owner", "worker"])
    def settings(self, settings: Settings, request: pytest.FixtureRequest) -> Settings:
        url = as_process(settings.need("database_url"), request.param)
        return settings.model_copy(update={"database_url": SecretStr(url)})

    @pytest.fixture
    def shop(self, settings: Settings) -> Iterator[Shop]:
        with fresh_sandbox(limit=100_000) as sandbox:
            settings = settings.model_copy(update={"rate_limit": 100_000})
            shop = Shop(settings, sandbox.control, resources=tuple(RESOURCES))
            yield shop
            shop.services.close()

    @pytest.fixture
    def bm(self, shop: Shop) -> Iterator[BackMarket]:
        with BackMarket(shop.settings) as bm:
            yield bm

    def test_a_seller_from_its_connection_to_its_removal(self, shop: Shop, bm: BackMarket) -> None:
        shop.sell("a", orders=120)
        shop.sell("b", orders=60)
        assert {nudge.organization_id for nudge in claim_due(shop.services.database, "orders")} == {"a", "b"}
        for resource in RESOURCES:
            assert shop.sync("a", resource, full=True).end == "done"
        shop.assert_equals_truth("a")
        for resource in ("listings", "deliveries", "returns"):
            shop.assert_rows_equal_truth("a", resource)
        assert bm.get_connection_status("a").resources["returns"].last_success_at
        assert {each.organization_id for each in bm.get_status()} == {"a", "b"}
        assert {each.organization_id for each in bm.get_connections()} == {"a", "b"}
        bm.disconnect("a", clear_api_key=True)
        shop.connect("a", "token-of-a")
        assert shop.sync("a").end == "done"
        bm.rotate_keys()
        gone = shop.sandbox.change("a", resource="listings", remove=1).removed
        assert shop.sync("a", "listings", full=True).end == "done"
        assert shop.sync("a", "listings", full=True).end == "done"
        marked = shop.execute("SELECT listing_id::text FROM backmarket.listings WHERE removed_at IS NOT NULL")
        assert marked == [(str(listing),) for listing in gone]
        assert bm.remove_connection("a") >= 100
        assert [each.organization_id for each in bm.get_connections()] == ["b"]
        assert shop.one("SELECT count(*) FROM backmarket.orders") == 0
        assert shop.sync("b").end == "done"
        shop.assert_equals_truth("b")

    def test_a_write_a_bulk_file_and_labels(self, shop: Shop, bm: BackMarket) -> None:
        shop.sell("a", orders=20, listings=20, deliveries=5)
        for resource in RESOURCES:
            shop.sync("a", resource)
        listing, other, *_ = shop.sandbox.truth("a", "listings")
        bm.update_listing("a", listing["id"], price="99.50")
        assert send_writes(shop.services, "a").succeeded == 1
        job = bm.create_or_update_listings("a", f"sku;quantity\n{other['sku']};77")
        assert run_bulk(shop.services, "a").requests == 1
        assert [part.state for part in bm.get_bulk_parts("a", job.id)] == [PartState.SUBMITTED]
        labels = int(shop.one("SELECT count(*) FROM backmarket.labels"))
        assert fetch_labels(shop.services, "a").stored == labels > 0

    def test_the_feed_the_schedule_and_the_upkeep(self, shop: Shop, bm: BackMarket) -> None:
        shop.sell("a", orders=60)
        shop.sync("a")
        listed = shop.one("SELECT count(*) FROM backmarket.orders")
        assert len(bm.changes(organization_id="a")) == listed
        assert len(list(bm.watch(after=None, timeout=0))) == listed
        assert bm.update_schedule("orders", organization_id="a", interval=60).interval == 60
        assert bm.get_schedule("a")["orders"].interval == 60
        newest = bm.get_orders("a", limit=1).items[0]
        assert bm.fetch_order("a", newest.order_id).order_id == newest.order_id
        bm.erase_order("a", newest.order_id)
        erased = bm.get_order_by_id("a", newest.order_id)
        assert erased is not None
        assert not erased.shipping_address
        shop.execute(
            "INSERT INTO backmarket.changes (organization_id, resource, external_id, kind, recorded_at)"
            " VALUES ('a', 'orders', '1', 'created', now() - interval '60 days')"
        )
        done = bm.upkeep()
        assert (done.partitions_made, done.partitions_dropped) == (1, 1)


class TestPlans:
    """Behind a policy only a leakproof comparison may use an index, and the planner's estimates may go astray."""

    @pytest.fixture
    def explained_url(self, admin_url: str) -> str:
        """Many rows; half of the orders are one organization's. PostgreSQL explains every statement."""
        with superuser(admin_url) as connection:
            name = sql.Identifier(connection.info.dbname)
            for setting, value in (
                ("session_preload_libraries", "auto_explain"),
                ("auto_explain.log_min_duration", "0"),
                ("auto_explain.log_format", "json"),
                ("auto_explain.log_level", "notice"),
            ):
                change = sql.SQL("ALTER DATABASE {} SET {} = {}")
                connection.execute(change.format(name, sql.SQL(setting), sql.Literal(value)))
            connection.execute(MANY)
        return admin_url

    def test_the_main_queries_are_answered_as_without_row_security(
        self, explained_url: str, settings: Settings
    ) -> None:
        free = self.answer(settings, explained_url)
        bound = self.answer(settings, as_role(explained_url, OWNER))
        assert bound == free
        read = {question: {index for _, index in scans} for question, scans in bound.items()}
        assert {question for question, indexes in INDEXES.items() if indexes - read[question]} == set()
        assert not [scan for scans in bound.values() for scan in scans if scan[1] in {"orders", "orderlines"}]

    def test_no_index_needs_a_comparison_that_may_tell_of_rows(self, shelf: str) -> None:
        """COALESCE and most functions may, to PostgreSQL; CASE, and the operators of the types that we have, do not."""
        with psycopg.connect(shelf) as connection:
            found = connection.execute(LEAKY).fetchall()
        assert found == []

    @staticmethod
    def answer(settings: Settings, url: str) -> dict[str, list[tuple[str, str]]]:
        """How each question was answered: the scans of its statements, each with its index or its whole table."""
        bm = BackMarket(settings.model_copy(update={"database_url": SecretStr(url), "database_pool_size": 1}))
        plans: list[dict[str, Any]] = []
        with bm._services.database.transaction() as transaction:
            transaction.add_notice_handler(lambda notice: plans.append(plan_of(notice.message_primary or "")))
        scans = {}
        for question, ask in QUESTIONS.items():
            plans.clear()
            ask(bm)
            read = [node for plan in plans for node in nodes(plan) if node["Node Type"] in SCANS]
            scans[question] = [
                (
                    node["Node Type"].replace(" Only", ""),
                    node["Index Name"] if "Index Name" in node else node["Relation Name"],
                )
                for node in read
            ]
        bm.close()
        return scans


LEAKY = """
SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class ON pg_class.oid = indrelid
WHERE relnamespace = 'backmarket'::regnamespace AND pg_get_expr(indexprs, indrelid) ~ '\\w\\('
UNION SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class ON pg_class.oid = indrelid
CROSS JOIN unnest(indclass) AS key_class JOIN pg_opclass ON pg_opclass.oid = key_class
JOIN pg_amop ON amopfamily = opcfamily AND amoplefttype = opcintype AND amoprighttype = opcintype
JOIN pg_operator ON pg_operator.oid = amopopr JOIN pg_proc ON pg_proc.oid = oprcode
WHERE relnamespace = 'backmarket'::regnamespace AND NOT proleakproof
ORDER BY 1
"""
SCANS = {"Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Index Scan"}
MANY = """
ALTER TABLE backmarket.connections SET (autovacuum_enabled = false);
ALTER TABLE backmarket.sync_state SET (autovacuum_enabled = false);
INSERT INTO backmarket.connections (organization_id, api_key, account, environment, region, locale)
SELECT 'org ' || n, 'key', 'hash', 'sandbox', 'EU', 'fr-fr' FROM generate_series(0, 4999) n;
INSERT INTO backmarket.sync_state (organization_id, resource, next_due_at)
SELECT organization_id, resource, now() + (row_number() OVER () % 300 - 6.5) * interval '1 second'
FROM backmarket.connections CROSS JOIN backmarket.schedule;
INSERT INTO backmarket.orders (organization_id, order_id, state, date_creation, raw, content)
SELECT 'org ' || CASE n % 2 WHEN 1 THEN 7 ELSE n % 100 END, n, n % 10,
    timestamptz '2026-01-01' + n * interval '7 minutes', '{}', n
FROM generate_series(1, 20000) n;
INSERT INTO backmarket.orderlines (organization_id, orderline_id, order_id, listing, raw)
SELECT organization_id, order_id + 20000 * n, order_id, 'SKU-' || order_id, '{}'
FROM backmarket.orders, generate_series(0, 1) n;
ANALYZE;
"""


def incoming(bm: BackMarket, meet: Callable[..., object]) -> None:
    """A page with one order comes in; what that does is undone."""
    order = {"order_id": 7, "state": 1, "orderlines": [{"id": 7, "listing": "SKU-7"}]}
    page = parse_page(ORDERS, json.dumps({"count": 1, "next": None, "results": [order]}).encode())
    with bm._services.database.transaction() as transaction:
        meet(transaction, ORDERS, "org 7", page.rows)
        raise psycopg.Rollback


QUESTIONS: dict[str, Callable[[BackMarket], object]] = {
    "newest": lambda bm: bm.get_orders("org 7"),
    "by state": lambda bm: bm.get_orders("org 7", state=1),
    "one": lambda bm: bm.get_order_by_id("org 7", 7),
    "lines": lambda bm: bm.get_orderlines("org 7", order_id=7),
    "one line": lambda bm: bm.get_orderline_by_id("org 7", 7),
    "lines of a SKU": lambda bm: bm.get_orderlines_by_listing("org 7", "sku-4207"),
    "orders of a SKU": lambda bm: bm.get_orders("org 7", sku="sku-4207"),
    "due": lambda bm: claim_due(bm._services.database, "orders"),
    "lease": lambda bm: leases.probe(bm._services.database, "org 7", ORDERS),
    "status": lambda bm: bm.get_connection_status("org 7"),
    "compared": lambda bm: incoming(bm, compare),
    "written": lambda bm: incoming(bm, store),
    "changes": lambda bm: bm.changes(),
}
INDEXES = {
    "newest": {"orders_newest"},
    "one": {"orders_pkey"},
    "lines": {"orderlines_order"},
    "one line": {"orderlines_pkey"},
    "lines of a SKU": {"orderlines_sku"},
    "orders of a SKU": {"orderlines_sku"},
    "due": {"sync_state_due"},
    "lease": {"sync_state_pkey"},
    "compared": {"orders_pkey"},
}
"""What a question must at least read, whoever asks."""


class TestRole:
    """Roles belong to the whole server, not to a database."""

    def test_applying_the_schema_again_changes_nothing(self, database: Database) -> None:
        before = self.policies(database)
        apply_schema(database)
        assert self.policies(database) == before

    def test_a_role_that_may_not_make_it_is_told_who_may(self, server: str) -> None:
        with self.without_role(server, "backmarket_reader"), new_database(server) as url:
            with pytest.raises(SchemaMissing, match=f"{OWNER} may not make it.*CREATE ROLE backmarket_reader NOLOGIN"):
                apply_as(as_role(url, OWNER))
            with superuser(server) as connection:
                connection.execute("CREATE ROLE backmarket_reader NOLOGIN")
            apply_as(as_role(url, OWNER))

    def test_the_role_of_a_process_is_not_required_and_gets_its_grants_later(self, server: str) -> None:
        with self.without_role(server, "backmarket_metrics"), new_database(server) as url:
            apply_as(as_role(url, OWNER))
            with closing(Database(as_role(url, OWNER), size=1)) as database, database.transaction() as transaction:
                assert "run `CREATE ROLE backmarket_metrics NOLOGIN`, and the owner" in _login(transaction).found
            with superuser(server) as connection:
                connection.execute("CREATE ROLE backmarket_metrics NOLOGIN")
                connection.execute(f"GRANT backmarket_metrics TO {STRANGER}".encode())
            with closing(Database(as_role(url, STRANGER), size=1)) as database:
                with pytest.raises(SettingsError, match="the owner `backmarket db migrate`"), database.transaction():
                    pytest.fail("it got in")
                apply_as(as_role(url, OWNER))
                with database.transaction() as transaction:
                    transaction.execute("SELECT state FROM backmarket.labels")

    def test_an_owner_that_may_create_roles_creates_them(self, server: str) -> None:
        with self.without_role(server, "backmarket_worker"), new_database(server) as url:
            apply_as(url)
            with superuser(server) as connection:
                assert connection.execute("SELECT to_regrole('backmarket_worker')").fetchone() != (None,)

    def test_two_databases_at_once_both_get_it(self, server: str) -> None:
        """Both meet a role that a third one makes and commits meanwhile."""
        with (
            self.without_role(server, "backmarket_reader"),
            new_database(server) as one,
            new_database(server) as two,
            ThreadPoolExecutor(2) as threads,
            psycopg.connect(server) as third,
            superuser(server) as watching,
        ):
            third.execute("CREATE ROLE backmarket_reader NOLOGIN")
            waiting = [threads.submit(apply_as, url) for url in (one, two)]
            wait_until(lambda: self.blocked(watching) == 2, "both wait for the third")
            third.commit()
            for each in waiting:
                each.result()

    @staticmethod
    def policies(database: Database) -> list[Any]:
        with database.transaction() as transaction:
            return transaction.execute("SELECT oid, xmin::text FROM pg_policy ORDER BY oid").fetchall()

    @staticmethod
    def blocked(connection: psycopg.Connection[Any]) -> int:
        (row,) = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'").fetchall()
        return int(row[0])

    @staticmethod
    @contextmanager
    def without_role(server: str, role: str) -> Iterator[None]:
        """The server's role goes by another name meanwhile; a new one goes, whose databases must be gone by then."""
        with superuser(server) as connection:
            connection.execute(f"ALTER ROLE {role} RENAME TO {role}_kept".encode())
            try:
                yield
            finally:
                connection.execute(f"DROP ROLE IF EXISTS {role}".encode())
                connection.execute(f"ALTER ROLE {role}_kept RENAME TO {role}".encode())
