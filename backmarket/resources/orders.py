"""Orders and their lines (operations `get-ws-list-order`, `get-ws-specific-order`)."""

from __future__ import annotations

from backmarket.resources.columns import Column
from backmarket.resources.resource import Lines, Resource

ORDERLINES = Lines(
    table="orderlines",
    field="orderlines",
    key=Column("orderline_id", "bigint", "id"),
    columns=(
        Column("state", "integer"),
        Column("date_creation", "timestamptz"),
        Column("price", "numeric"),
        Column("shipping_price", "numeric"),
        Column("shipping_delay", "integer"),
        Column("currency", "text"),
        Column("return_reason", "integer"),
        Column("return_message", "text"),
        Column("listing", "text"),
        Column("listing_id", "bigint"),
        Column("orderline_fee", "numeric"),
        Column("product", "text"),
        Column("quantity", "integer"),
        Column("brand", "text"),
        Column("product_id", "bigint"),
        Column("backcare", "boolean"),
        Column("backcare_price", "bigint"),
        Column("sales_taxes", "numeric"),
        Column("imei", "text"),
        Column("serial_number", "text"),
        Column("condition", "integer"),
        Column("shipper", "text"),
    ),
    # IMEI and serial number stay: they name the goods, which the books of a dealer in used goods must
    personal=("return_message",),
)

ORDERS = Resource(
    name="orders",
    table="orders",
    path="/ws/orders",
    field="results",
    paging=(("page-size", "50"),),
    since="date_modification",
    created="date_creation",
    modified="date_modification",
    # the list leaves out state 0 (new) and 8 (not paid)
    hidden="state IN (0, 8)",
    required=True,
    key=Column("order_id", "bigint"),
    columns=(
        Column("state", "integer"),
        Column("country_code", "text"),
        Column("date_creation", "timestamptz"),
        Column("date_modification", "timestamptz"),
        Column("date_shipping", "timestamptz"),
        Column("date_payment", "timestamptz"),
        Column("expected_dispatch_date", "timestamptz", kept=True),  # named until the order is shipped
        Column("tracking_number", "text"),
        Column("tracking_url", "text"),
        Column("shipper_display", "text"),
        Column("is_backship", "boolean"),
        Column("delivery_note", "text"),
        Column("price", "numeric"),
        Column("shipping_price", "numeric"),
        Column("currency", "text"),
        Column("payment_method", "text"),
        Column("sales_taxes", "numeric"),
        Column("shipping_address", "jsonb"),
        Column("billing_address", "jsonb"),
        Column("shipper", "text"),
        Column("psp_reference", "text"),
        Column("paypal_reference", "text"),
    ),
    personal=(
        "tracking_number",
        "tracking_url",
        "delivery_note",
        "shipping_address",
        "billing_address",
        "psp_reference",
        "paypal_reference",
    ),
    lines=ORDERLINES,
)
