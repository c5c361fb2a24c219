"""`backmarket deliveries`: stored deliveries."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    from backmarket.queries.shipments import Delivery

app = typer.Typer(no_args_is_help=True, help="Stored deliveries.")

DELIVERIES: Rows[Delivery] = Rows(
    "delivery",
    {
        "DELIVERY": lambda parcel: parcel.shipment_id,
        "ORDER": lambda parcel: parcel.order_id,
        "CARRIER": lambda parcel: parcel.carrier_name,
        "SCANNED": lambda parcel: parcel.hub_scanned,
        "CREATED (UTC)": lambda parcel: parcel.date_creation,
        "PICKED UP": lambda parcel: parcel.date_pickup,
        "ARRIVED": lambda parcel: parcel.date_delivery,
    },
)


@app.command(
    "list", epilog=examples("deliveries list shop-1 --order 1000005", "deliveries list shop-1 --no-hub-scanned --json")
)
def show_all(
    organization: Organization,
    order: OfOrder = None,
    hub_scanned: HubScanned = None,
    created_after: CreatedAfter = None,
    created_before: CreatedBefore = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List parcels to customers, newest first, without personal data."""
    with opened() as bm:
        page = bm.get_deliveries(
            organization,
            order_id=order,
            hub_scanned=hub_scanned,
            created_after=created_after,
            created_before=created_before,
            limit=limit,
            cursor=cursor,
        )
        DELIVERIES.print_page(bm, organization, page, as_json=as_json)


add_export(
    app,
    "deliveries",
    "backmarket.queries.shipments:Delivery",
    lambda bm, org: bm.iter_deliveries(org),
)


@app.command(epilog=examples("deliveries show shop-1 3000007"))
def show(
    organization: Organization, shipment_id: ShipmentId, personal: Personal = False, as_json: AsJson = False
) -> None:
    """Show one delivery."""
    with opened() as bm:
        parcel = DELIVERIES.found(bm, organization, shipment_id, bm.get_delivery_by_id(organization, shipment_id))
    DELIVERIES.print_one(parcel, personal=personal, as_json=as_json)


@app.command(epilog=examples("deliveries fetch shop-1 3000007"))
def fetch(
    organization: Organization,
    shipment_id: ShipmentId,
    labels: Labels = True,
    locale: Locale = None,
    personal: Personal = False,
    as_json: AsJson = False,
) -> None:
    """Ask the API for one delivery now, store it, and show it."""
    with opened() as bm:
        parcel = bm.fetch_delivery(organization, shipment_id, download_labels=labels, locale=locale)
    DELIVERIES.print_one(parcel, personal=personal, as_json=as_json)
