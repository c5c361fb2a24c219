"""What Find takes with 1,000,000 orders of 10,000 organizations, and what its indexes cost when orders are stored.

    python -m bench.find [--orders 1000000] [--runs 5]

Storing: the same 20,000 orders of the sandbox, in batches, into databases that take turns: with all indexes, without
the column and the index of names, and with the indexes that there were before Find and figures. CPU is PostgreSQL's.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from time import perf_counter
from urllib.parse import urlsplit

import psycopg

from backmarket import BackMarket
from backmarket.database import Database
from backmarket.database.schema import schema_text
from backmarket.resources import ORDERS, Row, parse_page
from backmarket.sandbox.server import SandboxServer
from backmarket.sandbox.world.sellers import SellerSpec
from backmarket.settings import Settings
from backmarket.standalone.embedded import Stack
from backmarket.sync.upsert import store
from bench.setting import machine, percentile, tree_cpu
from tests.support.many import fill

ORGANIZATIONS = 10_000
STORED, BATCH = 20_000, 800
TRIES = 100
TEXTS = {
    "order number": "400000",
    "IMEI": "350000000400000",
    "serial number": "sn400001",
    "tracking number of an order": "T-400000",
    "of a delivery and a return": "D-400000",
    "SKU, 50 orders and a listing": "sku-778",
    "last name, 1,500 orders": "bamilyk",
    "first and last name": "namec bamilyk",
    "beginning of names, 40,000 orders": "ba",
    "beginnings of both": "namec bam",
    "both, of which there is none": "namezz bam",
    "what matches nothing": "nothing-at-all",
}


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=5, help="of storing, for each database")
    options = parser.parse_args()
    print(f"Measured on {machine()}; PostgreSQL shares it.")
    with Stack(services=("postgres",)) as stack:
        _storing(stack, options.runs)
        _finding(stack, options.orders)


def _storing(stack: Stack, runs: int) -> None:
    schemas = {
        "with all": schema_text(),
        "without names": f"{schema_text()}; {_NO_NAMES}",
        "without both": f"{schema_text()}; {_NO_NAMES}; {_INDEXES_OF_7}",
    }
    databases = {name: _database(stack, name.replace(" ", "_"), schema) for name, schema in schemas.items()}
    batches = _batches()
    figures: dict[str, list[tuple[float, float, int]]] = {name: [] for name in databases}
    for _ in range(runs + 1):
        for name, database in databases.items():
            figures[name].append(_store(stack, database, batches))
    for name, all_runs in figures.items():
        cpu, wall, wal = (statistics.median(column) for column in zip(*all_runs[1:], strict=True))
        print(f"{STORED} orders stored, {name:14} {cpu:5.2f} s CPU, {wall:5.2f} s wall, {wal / 2**20:5.0f} MB of WAL")
    for database in databases.values():
        database.close()


def _database(stack: Stack, name: str, schema: str) -> Database:
    url = urlsplit(stack.addresses.database_url)._replace(path=f"/{name}").geturl()
    with psycopg.connect(stack.addresses.database_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(schema.encode())
    return Database(url, size=1)


def _batches() -> list[list[Row]]:
    """The sandbox's orders as a sync has them."""
    spec = SellerSpec(name="seller", token="token-of-the-bench", orders=STORED)
    with SandboxServer([spec], limit=1_000_000) as sandbox:
        orders = sandbox.control.truth("seller")
    page = {"count": len(orders), "next": None, "results": orders}
    rows = parse_page(ORDERS, json.dumps(page).encode()).rows
    return [rows[at : at + BATCH] for at in range(0, len(rows), BATCH)]


def _store(stack: Stack, database: Database, batches: Sequence[list[Row]]) -> tuple[float, float, int]:
    """CPU and wall seconds, and bytes of WAL."""
    with database.transaction() as transaction:
        transaction.execute("TRUNCATE backmarket.orders, backmarket.orderlines, backmarket.changes")
    with psycopg.connect(stack.addresses.database_url, autocommit=True) as connection:
        connection.execute("CHECKPOINT")
        lsn = "SELECT pg_current_wal_lsn() - '0/0'"
        before, began, cpu = connection.execute(lsn).fetchone(), perf_counter(), tree_cpu(stack.postgres.pid)
        for batch in batches:
            with database.transaction() as transaction:
                store(transaction, ORDERS, "org", batch)
        cpu, wall, after = (
            tree_cpu(stack.postgres.pid) - cpu,
            perf_counter() - began,
            connection.execute(lsn).fetchone(),
        )
    assert before is not None
    assert after is not None
    return cpu, wall, int(after[0] - before[0])


def _finding(stack: Stack, orders: int) -> None:
    url = stack.addresses.database_url
    with BackMarket(Settings(database_url=url)) as bm:
        bm.apply_schema()
        fill(url, organizations=ORGANIZATIONS, orders=orders)
        with psycopg.connect(url) as connection:
            for name, size in connection.execute(_SIZES).fetchall():
                print(f"{name:30} {size}")
        for name, text in TEXTS.items():
            took = []
            for _ in range(TRIES):
                began = perf_counter()
                found = bm.find(text)
                took.append((perf_counter() - began) * 1000)
            print(
                f"{name:34} {statistics.median(took):6.1f} ms, 99th percentile {percentile(took[1:], 0.99):6.1f},"
                f" first {took[0]:6.1f}; found {found.counts}, more {found.more}"
            )


_NO_NAMES = "ALTER TABLE backmarket.orders DROP COLUMN name_key"

_INDEXES_OF_7 = """
DROP INDEX backmarket.orders_number, backmarket.orderlines_imei, backmarket.orderlines_serial_number,
    backmarket.orders_newest, backmarket.orderlines_order;
CREATE INDEX ON backmarket.orders (
    organization_id, (CASE WHEN date_creation IS NULL THEN '-infinity' ELSE date_creation END) DESC, order_id DESC);
CREATE INDEX ON backmarket.orderlines (organization_id, order_id)
"""

_SIZES = """
SELECT relname, pg_size_pretty(pg_relation_size(oid)) FROM pg_class
WHERE relname IN ('orders', 'orderlines', 'orders_pkey', 'orders_number', 'orders_tracking', 'orders_name',
    'orderlines_sku', 'orderlines_imei', 'orderlines_serial_number', 'listings_sku', 'deliveries_tracking',
    'returns_tracking') ORDER BY relname
"""


if __name__ == "__main__":
    main()
