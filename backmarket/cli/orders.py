"""`backmarket orders`: stored orders."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from backmarket.cli.exporting import add_export
from backmarket.cli.failures import NotStored
from backmarket.cli.orderlines import ORDERLINES
from backmarket.cli.output import as_document, print_json, say
from backmarket.cli.parameters import (
    AsJson,
    CreatedAfter,
    CreatedBefore,
    Cursor,
    Limit,
    Locale,
    Organization,
    Personal,
    Sku,
    State,
    examples,
    state_number,
)
from backmarket.cli.rows import Rows, money
from backmarket.cli.session import opened
from backmarket.cli.times import ago, moment
from backmarket.cli.writing import SECONDS, Key, Timeout, UncheckedImei, Wait, conclude

if TYPE_CHECKING:
    from backmarket.queries.orders import Order

app = typer.Typer(no_args_is_help=True, help="Stored orders.")

ORDERS: Rows[Order] = Rows(
    "order",
    {
        "ORDER": lambda order: order.order_id,
        "STATE": lambda order: order.state,
        "COUNTRY": lambda order: order.country_code,
        "CREATED (UTC)": lambda order: order.date_creation,
        "MODIFIED": lambda order: ago(order.date_modification),
        "PRICE": lambda order: money(order.price, order.currency),
    },
)

OrderId = Annotated[int, typer.Argument(metavar="ORDER_ID")]


@app.command(
    "list",
    epilog=examples(
        "orders list shop-1 --state to_be_shipped",
        "orders list shop-1 --created-after 2026-01-01 --country fr-fr --limit 1000 --json",
    ),
)
def show_all(
    organization: Organization,
    state: State = None,
    country: Annotated[str | None, typer.Option(metavar="CODE", help="A country code such as fr-fr.")] = None,
    created_after: CreatedAfter = None,
    created_before: CreatedBefore = None,
    modified_after: Annotated[
        datetime | None, typer.Option(metavar="TIME", parser=moment, help="Modified then or later.")
    ] = None,
    sku: Sku = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List orders, newest first, without personal data."""
    from backmarket.queries.orders import OrderState

    number = state_number(state, OrderState)
    with opened() as bm:
        page = bm.get_orders(
            organization,
            state=number,
            country_code=country,
            created_after=created_after,
            created_before=created_before,
            modified_after=modified_after,
            sku=sku,
            limit=limit,
            cursor=cursor,
        )
        ORDERS.print_page(bm, organization, page, as_json=as_json)


add_export(app, "orders", "backmarket.queries.orders:Order", lambda bm, org: bm.iter_orders(org))


@app.command(epilog=examples("orders show shop-1 1000005", "orders show shop-1 1000005 --personal --json"))
def show(organization: Organization, order_id: OrderId, personal: Personal = False, as_json: AsJson = False) -> None:
    """Show one order with its lines."""
    with opened() as bm:
        order = ORDERS.found(bm, organization, order_id, bm.get_order_by_id(organization, order_id))
        lines = bm.get_orderlines(organization, order_id=order_id, limit=1000).items
    if as_json:
        inner = [as_document(line, personal=personal) for line in lines]
        print_json(as_document(order, personal=personal) | {"orderlines": inner})
        return
    ORDERS.print_one(order, personal=personal, as_json=False)
    say()
    ORDERLINES.print_table(lines)


@app.command(epilog=examples("orders fetch shop-1 1000005"))
def fetch(
    organization: Organization,
    order_id: OrderId,
    locale: Locale = None,
    personal: Personal = False,
    as_json: AsJson = False,
) -> None:
    """Ask the API for one order now, store it, and show it."""
    with opened() as bm:
        order = bm.fetch_order(organization, order_id, locale=locale)
    ORDERS.print_one(order, personal=personal, as_json=as_json)


@app.command(
    epilog=examples(
        "orders update shop-1 1000005 --state accepted",
        "orders update shop-1 1000005 --state shipped --tracking-number 1Z999 --shipper DHL",
    )
)
def update(
    organization: Organization,
    order_id: OrderId,
    state: Annotated[
        str,
        typer.Option(
            metavar="STATE", help="New state of its lines: 2 accepted, 3 shipped, 4 cancelled, 5 or 6 refunded."
        ),
    ],
    sku: Annotated[str | None, typer.Option(metavar="SKU", help="SKU of the line.")] = None,
    tracking_number: Annotated[str | None, typer.Option(metavar="TEXT", help="Number of the parcel.")] = None,
    tracking_url: Annotated[str | None, typer.Option(metavar="URL", help="Page that tracks the parcel.")] = None,
    shipper: Annotated[str | None, typer.Option(metavar="NAME", help="Name of the carrier.")] = None,
    date_shipping: Annotated[
        datetime | None, typer.Option(metavar="TIME", parser=moment, help="Shipping time. Default: now.")
    ] = None,
    return_reason: Annotated[int | None, typer.Option(metavar="N", help="Reason of a refund, by number.")] = None,
    return_message: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Message to the customer, with the reason.")
    ] = None,
    vat_type: Annotated[str | None, typer.Option(metavar="TYPE", help="REGULAR or MARGINAL.")] = None,
    imei: Annotated[str | None, typer.Option(metavar="DIGITS", help="IMEI of the device; cannot be corrected.")] = None,
    serial_number: Annotated[str | None, typer.Option(metavar="TEXT", help="Its serial number.")] = None,
    unchecked_imei: UncheckedImei = False,
    idempotency_key: Key = None,
    wait: Wait = True,
    timeout: Timeout = SECONDS,
    as_json: AsJson = False,
) -> None:
    """Move lines of an order to another state at Back Market."""
    from backmarket.queries.orders import OrderLineState

    new_state = state_number(state, OrderLineState)
    with opened() as bm:
        handle = bm.update_order(
            organization,
            order_id,
            -1 if new_state is None else new_state,
            sku=sku,
            tracking_number=tracking_number,
            tracking_url=tracking_url,
            shipper=shipper,
            date_shipping=date_shipping,
            return_reason=return_reason,
            return_message=return_message,
            vat_type=vat_type,
            imei=imei,
            serial_number=serial_number,
            unchecked_imei=unchecked_imei,
            idempotency_key=idempotency_key,
        )
        conclude(handle, wait=wait, timeout=timeout, as_json=as_json)


@app.command(
    epilog=examples(
        "orders invoice shop-1 1000005 invoice.pdf",
        "orders invoice shop-1 1000005 https://files.example/a.pdf --filename invoice-5.pdf",
    )
)
def invoice(
    organization: Organization,
    order_id: OrderId,
    source: Annotated[str, typer.Argument(metavar="FILE|URL", help="PDF file, or its URL on an allowed host.")],
    filename: Annotated[str | None, typer.Option(metavar="NAME", help="File name that the customer sees.")] = None,
    idempotency_key: Key = None,
    wait: Wait = True,
    timeout: Timeout = SECONDS,
    as_json: AsJson = False,
) -> None:
    """Upload the invoice of an order to Back Market."""
    distant = source.startswith(("http://", "https://"))
    with opened() as bm:
        handle = bm.upload_order_invoice(
            organization,
            order_id,
            file=None if distant else source,
            url=source if distant else None,
            filename=filename,
            idempotency_key=idempotency_key,
        )
        conclude(handle, wait=wait, timeout=timeout, as_json=as_json)


@app.command(epilog=examples("orders erase shop-1 1000005", "orders erase shop-1 1000005 --yes"))
def erase(
    organization: Organization,
    order_id: OrderId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Erase the personal data of an order, for good: later syncs do not restore it."""
    from backmarket.upkeep.erasure import OrderNotStored

    if not yes and not sys.stdin.isatty():
        raise typer.BadParameter("There is no terminal to ask on. Give --yes.", param_hint="--yes")
    if not yes:
        typer.confirm(f"Erase addresses, tracking and labels of order {order_id}?", abort=True, err=True)
    with opened() as bm:
        try:
            erased = bm.erase_order(organization, order_id)
        except OrderNotStored as error:
            raise NotStored(error.message) from None
    if as_json:
        print_json(as_document(erased))
        return
    say(
        f"Erased: {erased.orders} orders, {erased.orderlines} order lines, {erased.deliveries} deliveries,"
        f" {erased.returns} returns."
    )
