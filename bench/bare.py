"""The floor: a script that does nothing but fetch concurrently, decode and COPY into the same tables.

No retries, no limiter, no checkpoint, no lease: what is left is what the work itself costs. It prints one JSON line
with its wall and CPU seconds, counted after its imports.

    python bench/bare.py --database-url URL --base-url URL --token TOKEN --organization ID
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
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
COLUMNS = ", ".join(["orderline_id", *LINE[1:]])


class Envelope(msgspec.Struct):
    results: list[msgspec.Raw]
    count: int


Order = msgspec.defstruct(
    "Order",
    [*((name, Any, None) for name in ORDER), ("shipping_address", msgspec.Raw, msgspec.Raw(b"null")),
     ("billing_address", msgspec.Raw, msgspec.Raw(b"null")), ("orderlines", list[msgspec.Raw], [])],
)  # fmt: skip
Line = msgspec.defstruct("Line", [(name, Any, None) for name in LINE])
ENVELOPE, ORDERS, LINES = (msgspec.json.Decoder(kind) for kind in (Envelope, Order, Line))
local = threading.local()


def fetch(base_url: str, token: str, page: int) -> Envelope:
    """One page, on this thread's own client."""
    if not hasattr(local, "client"):
        local.client = httpx.Client(
            base_url=base_url,
            headers={"Authorization": f"Basic {token}", "User-Agent": "BM-Bench-Bare;dev@bench.example"},
            trust_env=False,
            timeout=30,
        )
    answer = local.client.get("/ws/orders", params={"page": page, "page-size": PAGE_SIZE})
    answer.raise_for_status()
    return ENVELOPE.decode(answer.content)


def store(connection: psycopg.Connection[Any], organization: str, pages: list[Envelope]) -> None:
    """Some pages into the three tables, in one transaction."""
    orders = [(ORDERS.decode(raw), raw) for page in pages for raw in page.results]
    with connection.transaction(), connection.cursor() as cursor:
        columns = ", ".join(ORDER)
        with cursor.copy(
            f"COPY backmarket.orders (organization_id, {columns}, shipping_address, billing_address, raw, content)"
            " FROM STDIN"
        ) as copy:
            for order, raw in orders:
                values = msgspec.structs.astuple(order)
                addresses = (bytes(values[-3]).decode(), bytes(values[-2]).decode())
                copy.write_row((organization, *values[:-3], *addresses, bytes(raw).decode(), 0))
        with cursor.copy(f"COPY backmarket.orderlines (organization_id, {COLUMNS}, raw, order_id) FROM STDIN") as copy:
            for order, _ in orders:
                for raw in order.orderlines:
                    line = msgspec.structs.astuple(LINES.decode(raw))
                    copy.write_row((organization, *line, bytes(raw).decode(), order.order_id))
        with cursor.copy("COPY backmarket.changes (organization_id, resource, external_id, kind) FROM STDIN") as copy:
            for order, _ in orders:
                copy.write_row((organization, "orders", str(order.order_id), "created"))


def main() -> None:
    """Fetch everything and store it."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("database-url", "base-url", "token", "organization"):
        parser.add_argument(f"--{name}", required=True)
    arguments = parser.parse_args()
    wall, cpu = time.monotonic(), time.process_time()
    with psycopg.connect(arguments.database_url) as connection, ThreadPoolExecutor(THREADS) as pool:
        first = fetch(arguments.base_url, arguments.token, 1)
        rest = range(2, -(-first.count // PAGE_SIZE) + 1)
        batch = [first]
        for page in pool.map(lambda number: fetch(arguments.base_url, arguments.token, number), rest):
            batch.append(page)
            if len(batch) == 20:
                store(connection, arguments.organization, batch)
                batch = []
        if batch:
            store(connection, arguments.organization, batch)
    print(json.dumps({"wall": time.monotonic() - wall, "cpu": time.process_time() - cpu, "rows": first.count}))


if __name__ == "__main__":
    main()
