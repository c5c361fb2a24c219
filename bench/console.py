"""What each page of the console takes on the server, with 10,000 organizations and 1,000,000 orders by default.

    python -m bench.console [--organizations 100000] [--orders 1000000] [--runs 48] [--only overview]

1: a page takes longer than it may at the median, or the overview at the 99th percentile.
"""

from __future__ import annotations

import argparse
import secrets
import statistics
import sys
import time

from cryptography.fernet import Fernet
from starlette.testclient import TestClient

from backmarket import BackMarket
from backmarket.console.access import passwords
from backmarket.console.app import create_app
from backmarket.settings import Settings
from backmarket.standalone.embedded import Stack
from bench.setting import percentile
from tests.support.many import LARGE, fill

GOAL = 0.2
"""Seconds."""
TRIES = 100
PASSWORD = "correct horse battery"

OVERVIEW = "overview"

PAGES = {
    OVERVIEW: "/",
    f"{OVERVIEW}, later page": "/?after=seller-005000",
    f"{OVERVIEW}, failing": "/?health=failing",
    f"{OVERVIEW}, search": "/?search=0077",
    "organization": f"/o/{LARGE}",
    "orders": f"/o/{LARGE}/orders",
    "orders, rare state": f"/o/{LARGE}/orders?state=1",
    "orders, state that none has": f"/o/{LARGE}/orders?state=3",
    "orders, country": f"/o/{LARGE}/orders?country=sk-sk",
    "orders, country that none has": f"/o/{LARGE}/orders?country=de-de",
    "orders, state and country": f"/o/{LARGE}/orders?state=1&country=sk-sk",
    "orders, dates": f"/o/{LARGE}/orders?from=2024-03-01&until=2024-03-02",
    "orders, SKU": f"/o/{LARGE}/orders?sku=sku-778",
    "orders, SKU that none has": f"/o/{LARGE}/orders?sku=none",
    "orders, SKU and state": f"/o/{LARGE}/orders?sku=sku-778&state=1",
    "orders, tracking": f"/o/{LARGE}/orders?tracking=T-4000",
    "order": f"/o/{LARGE}/orders/4000",
    "listings": f"/o/{LARGE}/listings",
    "listings, search": f"/o/{LARGE}/listings?search=SKU-19",
    "listings, search that finds none": f"/o/{LARGE}/listings?search=none",
    "bulk": f"/o/{LARGE}/bulk",
    "bulk job": f"/o/{LARGE}/bulk/7",
    "writes": f"/o/{LARGE}/writes",
    "writes, undecided": f"/o/{LARGE}/writes?state=unknown",
    "to ship, all sellers": "/ship",
    "to ship, late": "/ship?due=late",
    "to ship, one seller": f"/ship?seller={LARGE}",
    "inbox": "/inbox",
    "deliveries": f"/o/{LARGE}/deliveries",
    "returns": f"/o/{LARGE}/returns",
    "labels": f"/o/{LARGE}/labels",
    "figures of a seller, month": f"/figures?seller={LARGE}",
    "figures of all, day": "/figures?span=day",
    "figures of all, month": "/figures",
    "endpoints": "/endpoints",
    "audit": "/audit",
    "connect": "/connect",
}

FINDS = {
    "find, order number": "4000",
    "find, SKU": "sku-778",
    "find, name": "bamilyk",
    "find, nothing": "nothing-at-all",
}


def main() -> int:
    """Measure; 1: a page takes longer than it may."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--organizations", type=int, default=10_000)
    parser.add_argument("--orders", type=int, default=1_000_000, help=f"in all; half are those of {LARGE!r}")
    parser.add_argument("--runs", type=int, default=48, help="of each sync, one in half an hour")
    parser.add_argument("--only", default="", help="pages whose names begin so")
    options = parser.parse_args()
    with Stack() as stack:
        url = stack.addresses.database_url
        settings = Settings(
            database_url=url,
            redis_url=stack.addresses.redis_url,
            secret_keys=(Fernet.generate_key().decode(),),
            limiter_key=secrets.token_hex(16),
            console_users=(f"anna:operator:{passwords.hashed(PASSWORD, cost=2**10)}",),
        )
        with BackMarket(settings) as bm:
            bm.apply_schema()
            began = time.monotonic()
            fill(url, organizations=options.organizations, orders=options.orders, runs=options.runs)
            made = f"{options.organizations} organizations and {options.orders} orders"
            print(f"{made} made in {time.monotonic() - began:.0f} s")
            with TestClient(create_app(bm, settings), base_url="http://127.0.0.1") as client:
                _log_in(client)
                chosen = [_measure(client, *each) for each in PAGES.items() if each[0].startswith(options.only)]
                chosen += [_find(client, *each) for each in FINDS.items() if each[0].startswith(options.only)]
                return max(chosen)


def _find(client: TestClient, name: str, text: str) -> int:
    token = client.get("/find").text.partition('name="csrf" value="')[2].partition('"')[0]
    client.post("/find", data={"csrf": token, "text": text})
    return _measure(client, name, "/find")


def _measure(client: TestClient, name: str, path: str) -> int:
    took = []
    for _ in range(TRIES):
        began = time.perf_counter()
        answer = client.get(path)
        took.append(time.perf_counter() - began)
        answer.raise_for_status()
    median, most = statistics.median(took), percentile(took[1:], 0.99)
    print(
        f"{name:35} {median * 1000:6.0f} ms, 99th percentile {most * 1000:6.0f} ms, first {took[0] * 1000:6.0f} ms",
        flush=True,
    )
    return int((most if name.startswith(OVERVIEW) else median) > GOAL)


def _log_in(client: TestClient) -> None:
    token = client.get("/login").text.partition('name="csrf" value="')[2].partition('"')[0]
    answer = client.post("/login", data={"csrf": token, "name": "anna", "password": PASSWORD})
    assert "Log out" in answer.text


if __name__ == "__main__":
    sys.exit(main())
