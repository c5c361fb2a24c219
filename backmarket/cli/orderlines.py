"""`backmarket orderlines`: stored order lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from backmarket.cli.exporting import add_export
from backmarket.cli.parameters import (
    AsJson,
    Cursor,
    Limit,
    OfOrder,
    Organization,
    Personal,
    Sku,
    State,
    examples,
    state_number,
)
from backmarket.cli.rows import Rows, money
from backmarket.cli.session import opened
from backmarket.cli.writing import SECONDS, Key, Timeout, UncheckedImei, Wait, conclude

if TYPE_CHECKING:
    from backmarket.queries.orders import OrderLine

app = typer.Typer(no_args_is_help=True, help="Stored order lines.")

ORDERLINES: Rows[OrderLine] = Rows(
    "order line",
    {
        "LINE": lambda line: line.orderline_id,
        "ORDER": lambda line: line.order_id,
        "STATE": lambda line: line.state,
        "SKU": lambda line: line.listing,
        "QTY": lambda line: line.quantity,
        "PRICE": lambda line: money(line.price, line.currency),
        "PRODUCT": lambda line: line.product,
    },
)


@app.command("list", epilog=examples("orderlines list shop-1 --order 1000005", "orderlines list shop-1 --sku A-1"))
def show_all(
    organization: Organization,
    order: OfOrder = None,
    state: State = None,
    sku: Sku = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List order lines, highest id first, without personal data."""
    from backmarket.queries.orders import OrderLineState

    number = state_number(state, OrderLineState)
    with opened() as bm:
        page = bm.get_orderlines(organization, order_id=order, state=number, sku=sku, limit=limit, cursor=cursor)
        ORDERLINES.print_page(bm, organization, page, as_json=as_json)


add_export(app, "orderlines", "backmarket.queries.orders:OrderLine", lambda bm, org: bm.iter_orderlines(org))


@app.command(epilog=examples("orderlines show shop-1 2000007"))
def show(
    organization: Organization,
    orderline_id: Annotated[int, typer.Argument(metavar="ID")],
    personal: Personal = False,
    as_json: AsJson = False,
) -> None:
    """Show one order line."""
    with opened() as bm:
        line = ORDERLINES.found(bm, organization, orderline_id, bm.get_orderline_by_id(organization, orderline_id))
    ORDERLINES.print_one(line, personal=personal, as_json=as_json)


@app.command(epilog=examples("orderlines update shop-1 2000007 --imei 490154203237518 --serial-number C39XK1234"))
def update(
    organization: Organization,
    orderline_id: Annotated[int, typer.Argument(metavar="ID")],
    imei: Annotated[str | None, typer.Option(metavar="DIGITS", help="IMEI of the device.")] = None,
    serial_number: Annotated[str | None, typer.Option(metavar="TEXT", help="Serial number of the device.")] = None,
    unchecked_imei: UncheckedImei = False,
    idempotency_key: Key = None,
    wait: Wait = True,
    timeout: Timeout = SECONDS,
    as_json: AsJson = False,
) -> None:
    """Register the identifiers of a sold device at Back Market. They cannot be corrected later."""
    with opened() as bm:
        handle = bm.update_orderline(
            organization,
            orderline_id,
            imei=imei,
            serial_number=serial_number,
            unchecked_imei=unchecked_imei,
            idempotency_key=idempotency_key,
        )
        conclude(handle, wait=wait, timeout=timeout, as_json=as_json)
