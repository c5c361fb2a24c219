"""Ship an order: accept what was paid for, hand in the parcel's number, register the device, upload the invoice.

    python examples/ship_order.py shop-1 1000005 --tracking-number 1Z999 --imei 490154203237518 --invoice invoice.pdf

Takes the `BACKMARKET_*` settings from the environment, and needs a worker with the queue `writes`. Run it again as
often as you like: each step has a name of its own (the idempotency key), and is done once.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from backmarket import BackMarket, BackMarketError, OrderLineState
from backmarket.errors import UnknownOutcome


def main() -> int:
    """Do all of it; an error's text says what to do."""
    parser = argparse.ArgumentParser(description="Ship an order.")
    parser.add_argument("organization_id", help="your own name for the seller")
    parser.add_argument("order_id", type=int)
    parser.add_argument("--tracking-number", required=True)
    parser.add_argument("--shipper", default="DHL")
    parser.add_argument("--imei", help="of the device, where the order has one line")
    parser.add_argument("--invoice", type=Path, help="a PDF")
    arguments = parser.parse_args()
    try:
        with BackMarket() as bm:
            ship(bm, arguments)
    except UnknownOutcome as error:
        print(f"a person has to look: {error}", file=sys.stderr)
        return 2
    except BackMarketError as error:
        print(f"{error.code}: {error}", file=sys.stderr)
        return 1
    return 0


def ship(bm: BackMarket, arguments: argparse.Namespace) -> None:
    """The steps are asked for together, and sent one after the other."""
    organization_id, order_id = arguments.organization_id, arguments.order_id
    lines = bm.get_orderlines(organization_id, order_id=order_id)
    steps = {
        f"accepted {sku}": bm.update_order(
            organization_id, order_id, OrderLineState.ACCEPTED, sku=sku, idempotency_key=f"{order_id}/accepted/{sku}"
        )
        for sku in sorted({line.listing for line in lines if line.listing})
    }
    steps["shipped"] = bm.update_order(
        organization_id,
        order_id,
        OrderLineState.SHIPPED,
        tracking_number=arguments.tracking_number,
        shipper=arguments.shipper,
        imei=arguments.imei,
        idempotency_key=f"{order_id}/shipped",
    )
    if arguments.invoice:
        steps["invoice"] = bm.upload_order_invoice(
            organization_id, order_id, file=arguments.invoice, idempotency_key=f"{order_id}/invoice"
        )
    for name, handle in steps.items():
        outcome = handle.wait(timeout=120)
        print(f"{name}: confirmed by {outcome.confirmed_by}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
