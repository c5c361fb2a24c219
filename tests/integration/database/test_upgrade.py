"""An upgrade in the middle of everything: the new version finishes what the one before began, and repeats nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from celery import Celery

from backmarket import BackMarket
from backmarket.bulk.engine.slice import run_slice as run_bulk
from backmarket.database import SCHEMA_VERSION, Database
from backmarket.database.schema import apply_schema
from backmarket.organizations.probes import probe_due
from backmarket.sandbox.control.client import SandboxControl
from backmarket.settings import Settings
from backmarket.standalone.embedded import Stack
from backmarket.writes.engine.slice import run_slice as run_writes
from tests.integration.database.test_schema import OLDER
from tests.support.bulk_files import hurry, submit
from tests.support.databases import as_superuser, new_database, open_connection
from tests.support.sellers import Shop, let_time_pass

ORG, WRITER, REFUSED = ORGANIZATIONS = ("auth0|1", "writer", "refused")
WALKER = "walker"
ORDERS, PAGES = 1000, 20
LINES, PARTS = 12, 3
BEFORE = SCHEMA_VERSION - 1
COLUMNS_BEFORE = {("bulk_parts", "odd_since"): "unexplained_since"}
"""Columns of the version before that have another name now."""

MESSAGES: Sequence[tuple[str, dict[str, Any]]] = (
    *((f"backmarket.sync_{name}", {"nudge": True}) for name in ("orders", "listings", "deliveries", "returns")),
    *((f"backmarket.{name}", {"nudge": True}) for name in ("fetch_labels", "send_writes", "run_bulk")),
    ("backmarket.sync_orders", {}),
    ("backmarket.fetch_labels", {}),
    ("backmarket.send_writes", {}),
    ("backmarket.run_bulk", {}),
)
"""What the version before put into the queues, for one organization: its nudges, and messages of applications."""
MODULES = ("bucket", "bulk", "dispatch", "labels", "sync", "upkeep", "writes")

OPEN = """
SELECT 'write', state FROM backmarket.api_writes WHERE state IN ('pending', 'sending', 'unknown')
UNION ALL SELECT 'part', state FROM backmarket.bulk_parts WHERE ended_at IS NULL
UNION ALL SELECT 'job', state FROM backmarket.bulk_jobs WHERE ended_at IS NULL OR report_due_at IS NOT NULL
UNION ALL SELECT 'label', state FROM backmarket.labels WHERE state <> 'stored'
UNION ALL SELECT 'walk', resource FROM backmarket.walks
UNION ALL SELECT 'sync', resource FROM backmarket.sync_state WHERE requested > served OR sync_due_at <= now()
"""


@pytest.fixture
def shop(settings: Settings, sandbox: SandboxControl) -> Iterator[Shop]:
    changes = {"rate_limit": 100_000, "task_budget_pages": 10, "fetch_threads": 4, "bulk_poll_initial_seconds": 0.01}
    shop = Shop(settings.model_copy(update=changes), sandbox, ("orders", "listings", "deliveries", "returns"))
    yield shop
    shop.services.close()


@pytest.fixture
def url_before(stack: Stack) -> Iterator[str]:
    """A database of the version before, empty."""
    with new_database(stack, "version_before") as url:
        with open_connection(url, autocommit=True) as connection:
            connection.execute((OLDER / f"{BEFORE}.sql").read_bytes())
        yield url


def copy_rows(new: str, older: str) -> None:
    """Copy every row into the tables of an older version, with the columns that it has."""
    with open_connection(as_superuser(new)) as source, open_connection(as_superuser(older)) as target:
        target.execute("SET session_replication_role = replica")
        tables = [
            (name, columns)
            for name, columns in target.execute(
                "SELECT table_name, array_agg(column_name::text) FROM information_schema.columns c"
                " WHERE table_schema = 'backmarket' AND is_generated = 'NEVER' AND NOT EXISTS (SELECT FROM pg_class"
                "   WHERE oid = format('backmarket.%I', table_name)::regclass AND (relispartition OR relkind = 'v'))"
                " GROUP BY 1"
            )
            if name != "schema_version"
        ]
        target.execute("TRUNCATE " + ", ".join(f"backmarket.{name}" for name, _ in tables))
        for name, columns in tables:
            now = ", ".join(COLUMNS_BEFORE.get((name, column), column) for column in columns)
            into = f"COPY backmarket.{name} ({', '.join(columns)}) FROM STDIN"
            with (
                source.cursor().copy(f"COPY (SELECT {now} FROM backmarket.{name}) TO STDOUT") as rows,
                target.cursor().copy(into) as copied,
            ):
                for data in rows:
                    copied.write(data)
        for name in ("api_writes", "bulk_jobs"):
            target.execute(
                f"SELECT setval(pg_get_serial_sequence('backmarket.{name}', 'id'), max(id)) FROM backmarket.{name}"
            )


def begin_walk(shop: Shop) -> None:
    """Listings and deliveries are stored, the walk of the orders is in mid-list, the returns are due."""
    shop.sell(ORG, orders=ORDERS, listings=30, deliveries=6, returns=6)
    shop.sync(ORG, "listings")
    shop.sync(ORG, "deliveries")
    assert shop.run_slice(ORG, "orders").end == "handed_on"


def begin_bulk(shop: Shop) -> None:
    """A job with a part that Back Market has, one whose worker was killed with its request open, and one unsent."""
    listings = shop.sandbox.truth(ORG, "listings")[:LINES]
    rows = [{"sku": row["sku"], "quantity": row["quantity"] + 7} for row in listings]
    submit(shop, ORG, rows, part_lines=LINES // PARTS)
    for number in (1, 2):
        if number == 2:
            shop.sandbox.add_fault("reset", operation="listings.bulk", count=1, applied=True)
        shop.execute(
            "UPDATE backmarket.bulk_parts SET due_at = now() + make_interval(days => (number <> %s)::int)", number
        )
        shop.execute("UPDATE backmarket.work SET due_at = now() WHERE kind = 'bulk'")
        run_bulk(shop.services, ORG)
    shop.execute(
        "UPDATE backmarket.bulk_parts SET state = 'submitting', error_code = NULL, error = NULL WHERE state = 'unknown'"
    )
    states = shop.execute("SELECT state FROM backmarket.bulk_parts ORDER BY number")
    assert states == [("submitted",), ("submitting",), ("pending",)]


def begin_writes(shop: Shop) -> None:
    """A write that arrived without an answer, one whose worker was killed before it arrived, and one unsent."""
    shop.sell(WRITER, orders=3, listings=3)
    shop.sync(WRITER, "listings")
    skus = [row["sku"] for row in shop.sandbox.truth(WRITER, "listings")]
    with BackMarket(shop.settings) as market:
        for sku, arrived in zip(skus, (True, False, None), strict=True):
            market.update_listing(WRITER, sku=sku, quantity=77)
            if arrived is not None:
                shop.sandbox.add_fault("reset", operation="listings.update", count=1, applied=arrived)
                run_writes(shop.services, WRITER)
    shop.execute(
        "UPDATE backmarket.api_writes SET state = 'sending', error_code = NULL, error = NULL"
        " WHERE id = (SELECT max(id) FROM backmarket.api_writes WHERE state = 'unknown')"
    )
    states = shop.execute("SELECT state FROM backmarket.api_writes ORDER BY id")
    assert states == [("unknown",), ("sending",), ("pending",)]


def begin_refusal(shop: Shop) -> None:
    """An organization whose key the API refuses."""
    shop.sell(REFUSED, orders=3)
    shop.sandbox.patch_seller(REFUSED, revoked=True)
    assert shop.run_slice(REFUSED).end == "failed"
    let_time_pass(shop, 31)
    assert probe_due(shop.services, seconds=60) == 1


@pytest.fixture
def app(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Celery:
    """The tasks as this version has them, in the test's own process."""
    monkeypatch.setattr("backmarket.services.current", lambda: shop.services)
    app = Celery("upgraded", include=[f"tasks.{name}" for name in MODULES], set_as_current=False)
    app.loader.import_default_modules()
    return app


def take_old_messages(shop: Shop, app: Celery) -> None:
    """Run the task of each old message, with nothing left to wait for."""
    for name, kwargs in MESSAGES:
        hurry(shop)
        shop.execute("UPDATE backmarket.work SET due_at = now() WHERE due_at < 'infinity'")
        shop.execute(
            "UPDATE backmarket.api_writes SET due_at = now(), settle_at = LEAST(settle_at, now())"
            " WHERE state IN ('pending', 'sending', 'unknown') AND due_at < 'infinity'"
        )
        shop.execute("UPDATE backmarket.sync_state SET next_due_at = now() WHERE next_due_at < 'infinity'")
        for organization in ORGANIZATIONS:
            app.tasks[name](organization, **kwargs)


@pytest.mark.slow
def test_work_in_flight_is_finished_by_the_next_version_and_nothing_is_sent_twice(
    shop: Shop, app: Celery, url_before: str
) -> None:
    begin_refusal(shop)
    begin_walk(shop)
    begin_bulk(shop)
    begin_writes(shop)
    copy_rows(shop.settings.need("database_url"), url_before)
    database = Database(url_before)
    assert apply_schema(database) == [SCHEMA_VERSION]
    database.close()
    shop.restart(database_url=url_before)

    shop.sandbox.patch_seller(REFUSED, revoked=False)
    let_time_pass(shop, 2 * 3600)
    assert probe_due(shop.services, seconds=60) == 1
    for _ in range(10):
        take_old_messages(shop, app)
        if (left := shop.execute(OPEN)) == []:
            break
    assert left == []

    for organization in ORGANIZATIONS:
        shop.assert_equals_truth(organization)
        for resource in ("listings", "deliveries", "returns"):
            shop.assert_rows_equal_truth(organization, resource)
    stats = shop.sandbox.stats()
    assert stats.count("listings.bulk", ORG) == PARTS
    assert shop.execute("SELECT state, lines_done FROM backmarket.bulk_parts") == [("done", LINES // PARTS)] * PARTS
    assert shop.execute("SELECT state, sent FROM backmarket.api_writes ORDER BY id") == [
        ("succeeded", 1), ("succeeded", 2), ("succeeded", 1)
    ]  # fmt: skip
    for organization, changes in ((ORG, LINES), (WRITER, 3)):
        changed = [each["object"] for each in shop.sandbox.truth(organization, "writes")]
        assert len(changed) == len(set(changed)) == changes, "each change was applied once"
    (walked,) = shop.execute(
        "SELECT requests, rows_created FROM backmarket.sync_runs WHERE organization_id = %s AND resource = 'orders'",
        ORG,
    )
    assert walked == (PAGES, ORDERS), "the walk went on from its checkpoint"
    assert set(stats.sellers[ORG].labels.values()) == {1}


def test_walks_in_flight_go_on_after_the_migration_and_cursors_stay_valid(shop: Shop, url_before: str) -> None:
    """Two walks are between their pages: the new version requests the rest, and no page again."""
    shop.restart(task_budget_pages=2, fetch_threads=1)
    shop.sell(WALKER, orders=300, listings=300)
    for resource in ("orders", "listings"):
        assert shop.run_slice(WALKER, resource).end == "handed_on"
    seen = shop.execute("SELECT resource, next_page FROM backmarket.walks ORDER BY 1")
    assert seen == [("listings", 3), ("orders", 3)]
    with BackMarket(shop.settings) as market:
        cursor = market.changes_cursor()
        told = market.changes(limit=10).items[-1].cursor
    copy_rows(shop.settings.need("database_url"), url_before)
    database = Database(url_before)
    assert apply_schema(database) == [SCHEMA_VERSION]
    database.close()
    shop.restart(database_url=url_before, task_budget_pages=200)
    assert shop.execute("SELECT resource, market, next_page FROM backmarket.walks ORDER BY 1") == [
        ("listings", "", 3), ("orders", "", 3)
    ]  # fmt: skip
    shop.sandbox.reset()
    for resource in ("orders", "listings"):
        shop.make_due(WALKER, resource)
        assert shop.run_slice(WALKER, resource, ask=False).end == "done"
    pages = shop.sandbox.stats().sellers[WALKER].pages
    assert {name: sorted(each) for name, each in pages.items()} == {
        "orders.list": [3, 4, 5, 6], "listings.list": [3, 4, 5, 6]
    }  # fmt: skip
    shop.assert_equals_truth(WALKER)
    shop.assert_rows_equal_truth(WALKER, "listings")
    with BackMarket(shop.settings) as market:
        assert len(market.changes(told, limit=1000).items) == 590
        assert len(market.changes(cursor, limit=1000).items) == 400
        connection = market.update_connection(WALKER, markets=["de-de"])
        assert connection.markets == ["de-de"]
    assert shop.sync(WALKER, "listings", market="de-de").end == "done"
    shop.assert_market_equals_truth(WALKER, "de-de")
