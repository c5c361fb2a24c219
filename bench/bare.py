"""The floor: a script that does nothing but fetch concurrently, decode and COPY into the same tables.

No retries, no limiter, no checkpoint, no lease: what is left is what the work itself costs. It prints one JSON line
with its wall and CPU seconds, counted after its imports.

    python bench/bare.py --database-url URL --base-url URL [--resource listings] [--upsert] ORGANIZATION=TOKEN ...

With `--upsert` it could run twice: it COPYs into temporary tables, and INSERTs from there ON CONFLICT.
"""

from __future__ import annotations

import argparse
import json
import resource
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
from typing import Any

import httpx
import msgspec
import psycopg

PAGE_SIZE = 50
THREADS = 16

ORDER = (
    "order_id state country_code date_creation date_modification date_shipping date_payment expected_dispatch_date"
    " tracking_number tracking_url shipper_display is_backship delivery_note price shipping_price currency"
    " payment_method sales_taxes"
).split()
LINE = (
    "id state date_creation price shipping_price shipping_delay currency return_reason return_message listing"
    " listing_id orderline_fee product quantity brand product_id backcare backcare_price sales_taxes imei"
    " serial_number condition"
).split()
LISTING = (
    "id listing_id sku product_id backmarket_id title price currency min_price max_price quantity publication_state"
    " state grade comment warranty_delay new_battery"
).split()
COLUMNS = ", ".join(["orderline_id", *LINE[1:]])
LISTING_COLUMNS = ", ".join(["listing_id", "legacy_listing_id", *LISTING[2:]])


class Envelope(msgspec.Struct):
    results: list[msgspec.Raw]
    count: int


Order = msgspec.defstruct(
    "Order",
    [*((name, Any, None) for name in ORDER), ("shipping_address", msgspec.Raw, msgspec.Raw(b"null")),
     ("billing_address", msgspec.Raw, msgspec.Raw(b"null")), ("orderlines", list[msgspec.Raw], [])],
)  # fmt: skip
Line = msgspec.defstruct("Line", [(name, Any, None) for name in LINE])
Listing = msgspec.defstruct(
    "Listing", [*((name, Any, None) for name in LISTING), ("shippings", msgspec.Raw, msgspec.Raw(b"null"))]
)
ENVELOPE = msgspec.json.Decoder(Envelope)
ORDERS, LINES, LISTINGS = (msgspec.json.Decoder[Any](kind) for kind in (Order, Line, Listing))
local = threading.local()

Page = tuple[str, Envelope]
"""An organization, and one of its pages."""
KEYS = {"orders": "order_id", "orderlines": "orderline_id", "listings": "listing_id"}


class Target:
    """Where rows are written: the tables themselves, or temporary ones whose rows are then upserted."""

    upsert = False


@contextmanager
def copy_into(cursor: psycopg.Cursor[Any], table: str, columns: str) -> Iterator[psycopg.Copy]:
    """COPY rows into a table."""
    into = f"backmarket.{table}"
    if Target.upsert:
        into = f"incoming_{table}"
        cursor.execute(
            f"CREATE TEMPORARY TABLE IF NOT EXISTS {into} ON COMMIT DELETE ROWS AS"
            f" SELECT {columns} FROM backmarket.{table} LIMIT 0"
        )
    with cursor.copy(f"COPY {into} ({columns}) FROM STDIN") as copy:
        yield copy
    if Target.upsert:
        key = KEYS[table]
        kept = [name for name in columns.split(", ") if name not in {"organization_id", key}]
        cursor.execute(
            f"INSERT INTO backmarket.{table} ({columns}) SELECT {columns} FROM {into}"
            f" ON CONFLICT (organization_id, {key}) DO UPDATE"
            f" SET {', '.join(f'{name} = excluded.{name}' for name in kept)}"
        )


def fetch(base_url: str, path: str, token: str, page: int) -> Envelope:
    """One page, on this thread's own client."""
    if not hasattr(local, "client"):
        local.client = httpx.Client(base_url=base_url, trust_env=False, timeout=30)
    headers = {"Authorization": f"Basic {token}", "User-Agent": "BM-Bench-Bare;dev@bench.example"}
    answer = local.client.get(path, params={"page": page, "page-size": PAGE_SIZE}, headers=headers)
    answer.raise_for_status()
    return ENVELOPE.decode(answer.content)


def store_orders(connection: psycopg.Connection[Any], pages: list[Page]) -> None:
    """Some pages into the three tables, in one transaction."""
    orders = [(organization, ORDERS.decode(raw), raw) for organization, page in pages for raw in page.results]
    with connection.transaction(), connection.cursor() as cursor:
        columns = ", ".join(ORDER)
        every = f"organization_id, {columns}, shipping_address, billing_address, raw, content"
        with copy_into(cursor, "orders", every) as copy:
            for organization, order, raw in orders:
                values = msgspec.structs.astuple(order)
                addresses = (bytes(values[-3]).decode(), bytes(values[-2]).decode())
                copy.write_row((organization, *values[:-3], *addresses, bytes(raw).decode(), 0))
        with copy_into(cursor, "orderlines", f"organization_id, {COLUMNS}, raw, order_id") as copy:
            for organization, order, _ in orders:
                for raw in order.orderlines:
                    line = msgspec.structs.astuple(LINES.decode(raw))
                    copy.write_row((organization, *line, bytes(raw).decode(), order.order_id))
        note(cursor, "orders", ((organization, order.order_id) for organization, order, _ in orders))


def store_listings(connection: psycopg.Connection[Any], pages: list[Page]) -> None:
    """Some pages into the two tables, in one transaction."""
    listings = [(organization, LISTINGS.decode(raw), raw) for organization, page in pages for raw in page.results]
    with connection.transaction(), connection.cursor() as cursor:
        every = f"organization_id, {LISTING_COLUMNS}, shippings, raw, content"
        with copy_into(cursor, "listings", every) as copy:
            for organization, listing, raw in listings:
                *values, shippings = msgspec.structs.astuple(listing)
                copy.write_row((organization, *values, bytes(shippings).decode(), bytes(raw).decode(), 0))
        note(cursor, "listings", ((organization, listing.id) for organization, listing, _ in listings))


def note(cursor: psycopg.Cursor[Any], resource: str, rows: Iterable[tuple[str, Any]]) -> None:
    """The events of new rows."""
    with cursor.copy("COPY backmarket.changes (organization_id, resource, external_id, kind) FROM STDIN") as copy:
        for organization, key in rows:
            copy.write_row((organization, resource, str(key), "created"))


LISTS = {"orders": ("/ws/orders", store_orders), "listings": ("/ws/listings", store_listings)}


def main() -> None:
    """Fetch everything and store it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database-url", required=True)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--resource", choices=LISTS, default="orders")
    parser.add_argument("--upsert", action="store_true", help="INSERT ... ON CONFLICT from temporary tables")
    parser.add_argument("owners", nargs="+", metavar="ORGANIZATION=TOKEN")
    arguments = parser.parse_args()
    Target.upsert = arguments.upsert
    owners = dict(owner.split("=", 1) for owner in arguments.owners)
    path, store = LISTS[arguments.resource]
    wall, cpu = time.monotonic(), time.process_time()
    with psycopg.connect(arguments.database_url) as connection, ThreadPoolExecutor(THREADS) as pool:

        def pages(wanted: list[tuple[str, int]]) -> Iterator[Page]:
            found = pool.map(lambda one: fetch(arguments.base_url, path, owners[one[0]], one[1]), wanted)
            return zip((organization for organization, _ in wanted), found, strict=True)

        first = list(pages([(organization, 1) for organization in owners]))
        rest = [(who, number) for who, page in first for number in range(2, -(-page.count // PAGE_SIZE) + 1)]
        batch: list[Page] = []
        for page in chain(first, pages(rest)):
            batch.append(page)
            if len(batch) == 20:
                store(connection, batch)
                batch = []
        if batch:
            store(connection, batch)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"wall": time.monotonic() - wall, "cpu": time.process_time() - cpu, "memory": peak}))


if __name__ == "__main__":
    main()
