"""The operations of the API, one row each, as the published document (0.1.1) has them.

`tests/unit/client/test_operations.py` holds every row against the document's facts: method, path, optional
and required fields, their values, and its own limits.
"""

from __future__ import annotations

from typing import Any

from backmarket.client.arguments import (
    Choice,
    Files,
    Flag,
    Money,
    NamedContents,
    Prices,
    Text,
    Texts,
    Timestamp,
    Uuid,
    UuidOrWhole,
    Whole,
)
from backmarket.client.operation import JSON_OR_TEXT, Limit, Operation, body, form, path, query
from backmarket.client.types import values
from backmarket.client.types.backbox import BackboxRow, Competitor
from backmarket.client.types.buyback import (
    BuybackCompetitor,
    BuybackListing,
    BuybackListings,
    BuybackMessage,
    BuybackOrder,
    BuybackReason,
    CounterOfferReasons,
)
from backmarket.client.types.care import CareFolder, CareFolderDetails, PostedMessage
from backmarket.client.types.categories import Category
from backmarket.client.types.listings import BulkTask, Listing, ListingDetail, UpdatedListing
from backmarket.client.types.orders import Identifiers, Order
from backmarket.client.types.pages import Page
from backmarket.client.types.shipping import Delivery, Return
from backmarket.client.types.tasks import Task

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
NOTHING = type(None)
"""The type of an empty answer."""

PAGE = query("page", Whole(1))
PAGING = (PAGE, query("page-size", Whole(1, 50)))

# --- orders

GET_ORDERS = Operation(
    "get_orders",
    "GET",
    "/ws/orders",
    Page[Order],
    (
        query("state", Choice(values.OrderStateValue)),
        query("country_code", Choice(values.CountryCode)),
        query("date_creation", Timestamp()),
        query("date_modification", Timestamp()),
        *PAGING,
    ),
    id="get-ws-list-order",
    key="order_id",
)
GET_ORDER_BY_ID = Operation(
    "get_order_by_id", "GET", "/ws/orders/{order_id}", Order, (path("order_id", Whole()),), id="get-ws-specific-order"
)
UPDATE_ORDER = Operation(
    "update_order",
    "POST",
    "/ws/orders/{order_id}",
    Order,
    (
        path("order_id", Whole()),
        body("id", Whole(), "order_id", required=True),
        body("order_id", Whole()),
        body("new_state", Choice(values.OrderLineStateValue), required=True),
        body("sku", Text(1)),
        body("imei", Text(1, 15)),
        body("serial_number", Text(1, 50)),
        body("tracking_number", Text(1, 200)),
        body("tracking_url", Text(1, 300, form=r"https?://\S+", like="https://host/path")),
        body("shipper", Text(1, 200)),
        body("date_shipping", Timestamp()),
        body("vat_type", Choice(values.VatType)),
        body("return_reason", Choice(values.ReturnReasonValue)),
        body("return_message", Text(0, 500)),
    ),
    id="update-ws-specific-order",
    read_back="get_order_by_id",
)
UPLOAD_ORDER_INVOICE = Operation(
    "upload_order_invoice",
    "POST",
    "/ws/orders/{order_id}/invoice",
    NOTHING,
    (path("order_id", Whole()), form("invoice", Files(), required=True)),
    id="post-ws-specific-order-invoice",
)
UPDATE_ORDERLINE = Operation(
    "update_orderline",
    "PATCH",
    "/ws/orderlines/{orderline_id}",
    Identifiers,
    (path("orderline_id", Whole()), body("imei", Text(1, 15)), body("serial_number", Text(1, 50))),
    id="update-ws-specific-orderline",
    needs_any=True,
    read_back="get_order_by_id",
)

# --- listings and tasks

GET_LISTINGS = Operation(
    "get_listings",
    "GET",
    "/ws/listings",
    Page[Listing],
    (
        query("publication_state", Choice(values.PublicationStateValue)),
        query("min_quantity", Whole()),
        query("max_quantity", Whole()),
        *PAGING,
    ),
    key="id",
)
GET_LISTING_BY_ID = Operation(
    "get_listing_by_id", "GET", "/ws/listings/{listingId}", ListingDetail, (path("listingId", UuidOrWhole()),)
)
GET_LISTING_DETAIL = Operation(
    "get_listing_detail",
    "GET",
    "/ws/listings/detail",
    ListingDetail,
    (query("sku", Text(1)), query("id", Uuid(), "listing_uuid"), query("listing_id", Whole())),
    needs_any=True,
)
CREATE_OR_UPDATE_LISTINGS = Operation(
    "create_or_update_listings",
    "POST",
    "/ws/listings",
    BulkTask,
    (
        body("catalog", Text(1), required=True),
        body("delimiter", Text(1, 1), required=True),
        body("quotechar", Text(1, 1), required=True),
        body("encoding", Text(2, 64), required=True),
    ),
    read_back="get_listings",
    counts_sku_lines=True,
)
UPDATE_LISTING = Operation(
    "update_listing",
    "POST",
    "/ws/listings/{listingId}",
    UpdatedListing,
    (
        path("listingId", UuidOrWhole()),
        body("quantity", Whole()),
        body("price", Money()),
        body("min_price", Money(), nullable=True),
        body("currency", Text(form="[A-Z]{3}", like="EUR")),
        body("comment", Text(), nullable=True),
        body("warranty_delay", Whole()),
        body("pub_state", Choice(values.PublishValue)),
        *(
            body(f"{name}_{number}", kind, nullable=True)
            for number in (1, 2, 3)
            for name, kind in (
                ("shipper", Choice(values.Shipper)),
                ("shipper_display", Text()),
                ("shipping_delay", Whole()),
                ("shipping_price", Money()),
            )
        ),
    ),
    needs_any=True,
    read_back="get_listing_by_id",
    counts_sku_lines=True,
)
GET_TASK_STATUS = Operation("get_task_status", "GET", "/ws/tasks/{taskId}", Task, (path("taskId", Whole()),))

# --- deliveries and returns of BackShip

SHIPMENTS_ASKED = (
    query("order_id", Whole()),
    query("order_state", Choice(values.ShipmentOrderState)),
    query("start_date", Timestamp()),
    query("end_date", Timestamp()),
    query("pickup_start_date", Timestamp()),
    query("pickup_end_date", Timestamp()),
    query("hub_scanned", Flag()),
    PAGE,
)
SHIPMENT_ID = path("id", Whole(), "shipment_id")

GET_DELIVERIES = Operation(
    "get_deliveries",
    "GET",
    "/ws/shipping/v1/deliveries",
    Page[Delivery],
    SHIPMENTS_ASKED,
    id="GetDeliveries",
    key="shipmentId",
)
GET_DELIVERY_BY_ID = Operation(
    "get_delivery_by_id", "GET", "/ws/shipping/v1/deliveries/{id}", Delivery, (SHIPMENT_ID,), id="GetDelivery"
)
GET_RETURNS = Operation(
    "get_returns",
    "GET",
    "/ws/shipping/v1/returns",
    Page[Return],
    SHIPMENTS_ASKED,
    id="GetReturns",
    key="shipmentId",
)
GET_RETURN_BY_ID = Operation(
    "get_return_by_id", "GET", "/ws/shipping/v1/returns/{id}", Return, (SHIPMENT_ID,), id="GetReturn"
)

# --- categories

GET_CATEGORY_TREE = Operation(
    "get_category_tree", "GET", "/ws/category/tree", list[Category], id="get-bm-catalog-category", sensitive=True
)
GET_CATEGORY_BRANCH = Operation(
    "get_category_branch",
    "GET",
    "/ws/category/tree/{categoryId}",
    Category,
    (path("categoryId", Whole()),),
    sensitive=True,
)

# --- buyback

BUYBACK = "/ws/buyback/v1"
BUYBACK_ORDER = path("buybackOrderId", Text(1))
BUYBACK_LISTING = path("buybackListingId", Uuid())

GET_BUYBACK_ORDERS = Operation(
    "get_buyback_orders",
    "GET",
    f"{BUYBACK}/orders",
    Page[BuybackOrder],
    (
        query("status", Choice(values.BuybackState)),
        query("productId", Whole()),
        query("creationDate", Timestamp()),
        query("modificationDate", Timestamp()),
        query("shippingDate", Timestamp()),
        query("receivedDate", Timestamp()),
        query("suspendedDate", Timestamp()),
        query("paymentDate", Timestamp()),
        PAGE,
    ),
    id="get-ws-buyback-v1-orders",
    key="orderPublicId",
)
GET_BUYBACK_ORDERS_PENDING_REPLY = Operation(
    "get_buyback_orders_pending_reply",
    "GET",
    f"{BUYBACK}/orders/pending-reply",
    Page[BuybackOrder],
    (PAGE,),
    id="get-ws-buyback-v1-orders-pending-reply",
    key="orderPublicId",
)
GET_BUYBACK_SUSPEND_REASONS = Operation(
    "get_buyback_suspend_reasons",
    "GET",
    f"{BUYBACK}/orders/suspend-reasons",
    list[BuybackReason],
    id="get-ws-buyback-v1-orders-suspend-reasons",
)
GET_BUYBACK_ORDER = Operation(
    "get_buyback_order",
    "GET",
    f"{BUYBACK}/orders/{{buybackOrderId}}",
    BuybackOrder,
    (BUYBACK_ORDER,),
    id="get-ws-buyback-v1-order",
)
GET_BUYBACK_ORDER_MESSAGES = Operation(
    "get_buyback_order_messages",
    "GET",
    f"{BUYBACK}/orders/{{buybackOrderId}}/messages",
    Page[BuybackMessage],
    (BUYBACK_ORDER, PAGE),
    id="get-ws-buyback-v1-orders-messages",
)
POST_BUYBACK_ORDER_MESSAGE = Operation(
    "post_buyback_order_message",
    "POST",
    f"{BUYBACK}/orders/{{buybackOrderId}}/messages",
    BuybackMessage,
    (BUYBACK_ORDER, body("message", Text(1), required=True), body("files", NamedContents(), required=True)),
    id="post-ws-buyback-v1-orders-messages",
    read_back="get_buyback_order_messages",
)
SUSPEND_BUYBACK_ORDER = Operation(
    "suspend_buyback_order",
    "PUT",
    f"{BUYBACK}/orders/{{buybackOrderId}}/suspend",
    BuybackOrder,
    (BUYBACK_ORDER, body("reasons", Texts(), required=True)),
    id="put-ws-buyback-v1-orders-suspend",
    read_back="get_buyback_order",
)
VALIDATE_BUYBACK_ORDER = Operation(
    "validate_buyback_order",
    "PUT",
    f"{BUYBACK}/orders/{{buybackOrderId}}/validate",
    BuybackOrder,
    (BUYBACK_ORDER,),
    id="put-ws-buyback-v1-orders-validate",
    read_back="get_buyback_order",
)
GET_BUYBACK_COUNTER_OFFER_REASONS = Operation(
    "get_buyback_counter_offer_reasons",
    "GET",
    f"{BUYBACK}/orders/{{buybackOrderId}}/counter-offers/reasons",
    list[CounterOfferReasons],
    (BUYBACK_ORDER,),
    id="get-ws-counter-offer-reason",
)
MAKE_BUYBACK_COUNTER_OFFER = Operation(
    "make_buyback_counter_offer",
    "PUT",
    "/ws/buyback/v2/orders/{buybackOrderId}/counter-offers",
    NOTHING,
    (
        BUYBACK_ORDER,
        form("price", Money(number=True), required=True),
        form("reasons", Texts(), required=True),
        form("files", Files(1), required=True),
        form("comment", Text(0, 200)),
    ),
    id="put-ws-refurbisher-counter-offer",
    read_back="get_buyback_order",
)
GET_BUYBACK_LISTINGS = Operation(
    "get_buyback_listings",
    "GET",
    f"{BUYBACK}/listings",
    BuybackListings,
    (query("productId", Uuid()), query("cursor", Uuid()), query("pageSize", Whole(1, 100))),
    id="get-ws-buyback-v1-listings",
    key="id",
    accept=JSON_OR_TEXT,
)
GET_BUYBACK_LISTING = Operation(
    "get_buyback_listing",
    "GET",
    f"{BUYBACK}/listings/{{buybackListingId}}",
    BuybackListing,
    (BUYBACK_LISTING,),
    id="get-ws-buyback-v1-listing",
    accept=JSON_OR_TEXT,
)
UPDATE_BUYBACK_LISTING = Operation(
    "update_buyback_listing",
    "PUT",
    f"{BUYBACK}/listings/{{buybackListingId}}",
    NOTHING,
    (BUYBACK_LISTING, body("prices", Prices(), required=True)),
    id="put-ws-buyback-v1-listing",
    read_back="get_buyback_listing",
    accept=JSON_OR_TEXT,
)
GET_BUYBACK_COMPETITORS = Operation(
    "get_buyback_competitors",
    "GET",
    f"{BUYBACK}/competitors/{{listingId}}",
    list[BuybackCompetitor],
    (path("listingId", Uuid()),),
)

# --- care

CARE_FOLDER = path("careFolderId", Whole())
CARE_MINUTE = Timestamp("%Y-%m-%d-%H-%M")

GET_CARE_FOLDERS = Operation(
    "get_care_folders",
    "GET",
    "/ws/sav",
    Page[CareFolder],
    (
        query("state", Choice(values.CareState)),
        query("orderline", Whole()),
        query("last_id", Whole()),
        query("last_modification_date", CARE_MINUTE),
        query("last_message_date", CARE_MINUTE),
        PAGE,
    ),
    id="getCareFolderList",
    key="id",
    limits=(Limit(520, MINUTE), Limit(4_000, DAY)),
)
GET_CARE_FOLDER = Operation(
    "get_care_folder",
    "GET",
    "/ws/sav/{careFolderId}",
    CareFolderDetails,
    (CARE_FOLDER,),
    id="getCareFolderDetails",
    limits=(Limit(600, MINUTE), Limit(40_000, DAY)),
)
POST_CARE_MESSAGE = Operation(
    "post_care_message",
    "POST",
    "/ws/sav/{careFolderId}/msg",
    PostedMessage,
    (CARE_FOLDER, form("message", Text(1), required=True), form("attachment", Files(0), "attachments")),
    id="postMessage",
    limits=(Limit(560, MINUTE), Limit(40_000, DAY)),
    read_back="get_care_folder",
)
DECLARE_CARE_PROBLEM = Operation(
    "declare_care_problem",
    "POST",
    "/ws/sav/{careFolderId}/problem",
    NOTHING,
    (
        CARE_FOLDER,
        form("problem_type", Choice(values.CareProblem)),
        form("message", Text(1)),
        form("attachment", Files(0), "attachments"),
    ),
    id="postProblem",
    limits=(Limit(750, MINUTE), Limit(1_000, DAY)),
    read_back="get_care_folder",
)
DECLARE_CARE_ITEM_TRANSFER = Operation(
    "declare_care_item_transfer",
    "POST",
    "/ws/sav/{careFolderId}/item-transfer",
    NOTHING,
    (
        CARE_FOLDER,
        body("shipperName", Text(1), required=True),
        body("trackingNumber", Text(1), required=True),
        body("action", Choice(values.TransferAction)),
    ),
    id="postItemTransfer",
    limits=(Limit(292, MINUTE), Limit(500, DAY)),
    read_back="get_care_folder",
)
CREATE_REFUND = Operation(
    "create_refund",
    "POST",
    "/ws/sav/refund",
    str,
    (
        body("orderline_pk", Whole(), "orderline_id", required=True),
        body("refund_type", Choice(values.RefundType), required=True),
        body("amount", Money(number=True)),
    ),
    id="postRefundCreate",
    limits=(Limit(500, DAY),),
    read_back="get_order_by_id",
    accept=JSON_OR_TEXT,
)

# --- backbox

GET_BACKBOX = Operation(
    "get_backbox",
    "GET",
    "/ws/listings_bi",
    Page[BackboxRow],
    PAGING,
    id="GetBackboxData",
    limits=(Limit(2, HOUR, each="locale"),),
)
GET_COMPETITORS = Operation(
    "get_competitors",
    "GET",
    "/ws/backbox/v1/competitors/{listingId}",
    list[Competitor],
    (path("listingId", Uuid()),),
    limits=(Limit(2, 1.0),),
)

OPERATIONS: dict[str, Operation[Any]] = {
    each.name: each for each in list(globals().values()) if isinstance(each, Operation)
}
"""All operations, by the names of their methods."""
