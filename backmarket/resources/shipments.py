"""Deliveries and returns of BackShip (operations `GetDeliveries`, `GetDelivery`, `GetReturns`, `GetReturn`).

Their lists have a filter for the creation date; tracking, scan, pickup and arrival change a shipment later, without a
date to filter by. So shipments that can still change are requested again, younger ones more often
(docs/decisions/0008).
"""

from __future__ import annotations

from backmarket.resources.columns import Column
from backmarket.resources.resource import Lookback, Resource

DAY = 86400.0

_COLUMNS = (
    Column("carrier_id", "bigint", "carrierId"),
    Column("carrier_name", "text", "carrierName"),
    Column("reference_number", "text", "referenceNumber"),
    Column("tracking_number", "text", "trackingNumber"),
    Column("tracking_url", "text", "trackingUrl"),
    Column("hub_scanned", "boolean", "hubScanned"),
    Column("type", "text"),
    Column("invoiced_currency", "text", "invoicedCurrency"),
    Column("invoiced_price", "numeric", "invoicedPrice"),
    Column("date_creation", "timestamptz", "dateCreation"),
    Column("date_pickup", "timestamptz", "datePickup"),
    Column("date_delivery", "timestamptz", "dateDelivery"),
)

# the number identifies the receiver on the carrier's page; the reference stays: the carrier's invoice names it
_PERSONAL = ("tracking_number", "tracking_url")


def _lookbacks(label: str) -> tuple[Lookback, ...]:
    return (
        Lookback(every=0, within=DAY, where=f"{label} IS NULL"),  # a seller waits for it
        Lookback(every=900, within=DAY, where="date_delivery IS NULL"),
        Lookback(every=3600, within=30 * DAY, where="date_delivery IS NULL"),
    )


DELIVERIES = Resource(
    name="deliveries",
    table="deliveries",
    path="/ws/shipping/v1/deliveries",
    field="results",
    since="start_date",
    lookbacks=_lookbacks("label_url"),
    created="date_creation",
    key=Column("shipment_id", "bigint", "shipmentId"),
    columns=(
        Column("order_id", "bigint", "order"),
        Column("orderlines", "jsonb"),
        *_COLUMNS,
        Column("label_url", "text", "labelUrl"),
        Column("pickup_info", "jsonb", "pickupInfo"),
    ),
    label="label_url",
    personal=(*_PERSONAL, "label_url", "pickup_info"),
)

RETURNS = Resource(
    name="returns",
    table="returns",
    path="/ws/shipping/v1/returns",
    field="results",
    since="start_date",
    lookbacks=_lookbacks("label"),
    created="date_creation",
    key=Column("shipment_id", "bigint", "shipmentId"),
    columns=(
        Column("order_id", "bigint", "orderId"),
        Column("orderline_id", "bigint", "orderlineId"),
        *_COLUMNS,
        Column("label", "text"),
    ),
    label="label",
    personal=(*_PERSONAL, "label"),
)
