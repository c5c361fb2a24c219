"""The typed client alone: what is to be shipped, and one listing changed. No worker, no PostgreSQL, no Redis.

    SHOP_API_KEY=... python examples/typed_client.py --environment sandbox --sku SKU-1 --quantity 3

Wants `BACKMARKET_USER_AGENT` in the environment. Its limits are this process's own.
"""

from __future__ import annotations

import argparse
import os
import sys
from decimal import Decimal

from backmarket import BackMarketClient, BackMarketError, create_backmarket_client
from backmarket.client.types.listings import ListingDetail, UpdatedListing
from backmarket.client.types.orders import Order
from backmarket.errors import UnknownOutcome


def main() -> int:
    """Do both; an error's text says what to do."""
    parser = argparse.ArgumentParser(description="Show what is to be shipped, and change a listing.")
    parser.add_argument("--environment", default="production", choices=["production", "sandbox"])
    parser.add_argument("--region", default="EU", choices=["EU", "NA", "AP"])
    parser.add_argument("--base-url", help="another origin than Back Market's, from BACKMARKET_ALLOWED_BASE_URLS")
    parser.add_argument("--sku", help="the listing that is changed")
    parser.add_argument("--quantity", type=int, default=1)
    arguments = parser.parse_args()
    try:
        with create_backmarket_client(
            os.environ["SHOP_API_KEY"],
            environment=arguments.environment,
            region=arguments.region,
            base_url=arguments.base_url,
        ) as client:
            print(client)
            show(client)
            if arguments.sku:
                change(client, arguments.sku, arguments.quantity)
    except BackMarketError as error:
        print(f"{error.code}: {error}", file=sys.stderr)
        return 1
    return 0


def show(client: BackMarketClient) -> None:
    """What is to be shipped, page after page, and what it is worth."""
    orders: list[Order] = list(client.iter_orders(state=3))
    worth = sum(Decimal(order["price"]) for order in orders)
    lines: int = sum(len(order["orderlines"]) for order in orders)
    print("to be shipped:", len(orders), "orders with", lines, "lines, worth", worth)


def change(client: BackMarketClient, sku: str, quantity: int) -> None:
    """Set how many are on sale. A change is sent once: where its answer is lost, look before it is sent again."""
    listing: ListingDetail = client.get_listing_detail(sku=sku)
    try:
        changed: UpdatedListing = client.update_listing(listing["id"], quantity=quantity)
        print("on sale:", changed["quantity"], changed["sku"])
    except UnknownOutcome as error:
        print(f"{error.code}: {error}", file=sys.stderr)
        print("on sale:", client.get_listing_by_id(listing["id"])["quantity"], sku)


if __name__ == "__main__":
    sys.exit(main())
