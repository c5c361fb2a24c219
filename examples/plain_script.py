"""A plain script: connect a seller, sync its orders, list the newest, and follow for a moment what changes.

    SHOP_API_KEY=... python examples/plain_script.py shop-1 --environment sandbox --seconds 30

Takes the `BACKMARKET_*` settings from the environment, and needs a worker that runs.
"""

from __future__ import annotations

import argparse
import os
import sys

from backmarket import BackMarket, BackMarketError, OrderState


def main() -> int:
    """Do all of it; an error's text says what to do."""
    parser = argparse.ArgumentParser(description="Connect a seller, sync, list, follow.")
    parser.add_argument("organization_id", help="your own name for the seller")
    parser.add_argument("--environment", default="production", choices=["production", "sandbox"])
    parser.add_argument("--region", default="EU", choices=["EU", "NA", "AP"])
    parser.add_argument("--base-url", help="another origin than Back Market's, from BACKMARKET_ALLOWED_BASE_URLS")
    parser.add_argument("--seconds", type=float, default=30.0, help="follow changes until so long nothing came")
    arguments = parser.parse_args()
    try:
        with BackMarket() as bm:
            connect(bm, arguments)
            outcome = bm.sync_orders(arguments.organization_id).wait(timeout=120)
            print("synced:", outcome.rows_created, "new,", outcome.rows_updated, "changed")
            cursor = bm.changes_cursor()  # before reading: what happens meanwhile is followed, and not missed
            show(bm, arguments.organization_id)
            follow(bm, arguments.organization_id, cursor, arguments.seconds)
    except BackMarketError as error:
        print(f"{error.code}: {error}", file=sys.stderr)
        return 1
    return 0


def connect(bm: BackMarket, arguments: argparse.Namespace) -> None:
    """Connect the seller, or change its connection: a new key, another region."""
    connection = bm.upsert_connection(
        arguments.organization_id,
        os.environ["SHOP_API_KEY"],
        environment=arguments.environment,
        region=arguments.region,
        base_url=arguments.base_url,
    )
    print("connected:", connection.organization_id, connection.environment, connection.locale)


def show(bm: BackMarket, organization_id: str) -> None:
    """The newest orders that are to be shipped."""
    for order in bm.get_orders(organization_id, state=OrderState.TO_BE_SHIPPED, limit=5):
        print("to be shipped:", order.order_id, order.price, order.currency, order.country_code)


def follow(bm: BackMarket, organization_id: str, cursor: str, seconds: float) -> None:
    """What changes, until nothing did for so many seconds; with the last cursor the next run would go on."""
    print("following", flush=True)
    for change in bm.watch(after=cursor, organization_id=organization_id, timeout=seconds):
        print("changed:", change.resource, change.external_id, change.kind, *change.fields, flush=True)
        cursor = change.cursor
    print("followed up to:", cursor)


if __name__ == "__main__":
    sys.exit(main())
