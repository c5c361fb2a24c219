"""`backmarket returns`: stored returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from backmarket.cli.exporting import add_export
from backmarket.cli.parameters import (
    AsJson,
    CreatedAfter,
    CreatedBefore,
    Cursor,
    HubScanned,
    Labels,
    Limit,
    Locale,
    OfOrder,
    Organization,
    Personal,
    ShipmentId,
    examples,
)
from backmarket.cli.rows import Rows
from backmarket.cli.session import opened

if TYPE_CHECKING:
    from backmarket.queries.shipments import Return

app = typer.Typer(no_args_is_help=True, help="Stored returns.")

RETURNS: Rows[Return] = Rows(
    "return",
    {
        "RETURN": lambda parcel: parcel.shipment_id,
        "ORDER": lambda parcel: parcel.order_id,
        "LINE": lambda parcel: parcel.orderline_id,
        "CARRIER": lambda parcel: parcel.carrier_name,
        "SCANNED": lambda parcel: parcel.hub_scanned,
        "CREATED (UTC)": lambda parcel: parcel.date_creation,
        "PICKED UP": lambda parcel: parcel.date_pickup,
        "ARRIVED": lambda parcel: parcel.date_delivery,
    },
)


@app.command("list", epilog=examples("returns list shop-1 --order 1000005", "returns list shop-1 --orderline 2000007"))
def show_all(
    organization: Organization,
    order: OfOrder = None,
    orderline: Annotated[int | None, typer.Option(metavar="ID", help="Only of this order line.")] = None,
    hub_scanned: HubScanned = None,
    created_after: CreatedAfter = None,
    created_before: CreatedBefore = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List parcels from customers, newest first, without personal data."""
    with opened() as bm:
        page = bm.get_returns(
            organization,
            order_id=order,
            orderline_id=orderline,
            hub_scanned=hub_scanned,
            created_after=created_after,
            created_before=created_before,
            limit=limit,
            cursor=cursor,
        )
        RETURNS.print_page(bm, organization, page, as_json=as_json)


add_export(app, "returns", "backmarket.queries.shipments:Return", lambda bm, org: bm.iter_returns(org))


@app.command(epilog=examples("returns show shop-1 3000007"))
def show(
    organization: Organization, shipment_id: ShipmentId, personal: Personal = False, as_json: AsJson = False
) -> None:
    """Show one return."""
    with opened() as bm:
        parcel = RETURNS.found(bm, organization, shipment_id, bm.get_return_by_id(organization, shipment_id))
    RETURNS.print_one(parcel, personal=personal, as_json=as_json)


@app.command(epilog=examples("returns fetch shop-1 3000007"))
def fetch(
    organization: Organization,
    shipment_id: ShipmentId,
    labels: Labels = True,
    locale: Locale = None,
    personal: Personal = False,
    as_json: AsJson = False,
) -> None:
    """Ask the API for one return now, store it, and show it."""
    with opened() as bm:
        parcel = bm.fetch_return(organization, shipment_id, download_labels=labels, locale=locale)
    RETURNS.print_one(parcel, personal=personal, as_json=as_json)
