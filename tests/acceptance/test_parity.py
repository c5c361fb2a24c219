"""Every function of the component that we replace, used once as a host application would, beside real processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from backmarket import BackMarket, OrderLineState, OrderState
from backmarket.errors import ApiKeyMissing, ConnectionDisabled, ConnectionNotFound
from backmarket.resources.signed_links import unsigned
from backmarket.sandbox.api.label_files import label_pdf
from backmarket.settings import Settings
from backmarket.standalone.fleet import Fleet
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop, environment
from tests.support.waiting import PATIENCE_SECONDS, wait_until

ORG, TOKEN = "auth0|1", "token-of-the-seller"

OURS = {
    "getConnectionStatus": "get_connection_status",
    "upsertConnection": "upsert_connection",
    "disconnect": "disconnect",
    "reconnect": "reconnect",
    "removeConnection": "remove_connection",
    "getOrders": "get_orders",
    "getOrderById": "get_order_by_id",
    "syncOrders": "sync_orders",
    "getOrderlines": "get_orderlines",
    "getOrderlineById": "get_orderline_by_id",
    "getOrderlinesByListing": "get_orderlines_by_listing",
    "getOrderlinesByState": "get_orderlines_by_state",
    "getListings": "get_listings",
    "getListingById": "get_listing_by_id",
    "getListingBySku": "get_listing_by_sku",
    "syncListings": "sync_listings",
    "createOrUpdateListings": "create_or_update_listings",
    "createOrUpdateListingsAndSync": "create_or_update_listings_and_sync",
    "getTaskStatus": "get_task_status",
    "getDeliveries": "get_deliveries",
    "getDeliveryById": "get_delivery_by_id",
    "getDeliveriesByOrderId": "get_deliveries_by_order_id",
    "syncDeliveries": "sync_deliveries",
    "fetchDelivery": "fetch_delivery",
    "getReturns": "get_returns",
    "getReturnById": "get_return_by_id",
    "getReturnsByOrderId": "get_returns_by_order_id",
    "getReturnsByOrderlineId": "get_returns_by_orderline_id",
    "syncReturns": "sync_returns",
    "fetchReturn": "fetch_return",
    "getLabelUrl": "get_label_url",
    "downloadLabel": "download_label",
    "getReturnLabelUrl": "get_return_label_url",
    "downloadReturnLabel": "download_return_label",
    "updateOrder": "update_order",
    "uploadOrderInvoice": "upload_order_invoice",
    "updateOrderline": "update_orderline",
    "updateListing": "update_listing",
    "getCronSettings": "get_schedule",
    "updateCronSettings": "update_schedule",
}
"""Its functions, and ours."""


class Host:
    """A host application: knows our public object alone, and remembers what it has used of it.

    Args:
        bm: the object.
    """

    def __init__(self, bm: BackMarket) -> None:
        self._bm = bm
        self.used: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.used.add(name)
        return getattr(self._bm, name)


@pytest.fixture
def shop(settings: Settings) -> Iterator[Shop]:
    with fresh_sandbox(limit=100_000) as sandbox:
        shop = Shop(
            settings.model_copy(update={"rate_limit": 100_000, "bulk_poll_initial_seconds": 0.5}), sandbox.control
        )
        yield shop
        shop.services.close()


@pytest.fixture
def host(shop: Shop, tmp_path: Path) -> Iterator[Host]:
    """A host application whose seller has orders, listings, deliveries and returns; beat and workers run."""
    shop.sandbox.add_seller(ORG, TOKEN, orders=60, hidden=5, listings=60, deliveries=25, returns=10)
    with (
        Fleet(environment(shop.settings), directory=tmp_path) as fleet,
        BackMarket(shop.settings) as bm,
    ):
        fleet.wait_ready()
        yield Host(bm)
        assert not fleet.died


Truth = Callable[[str], list[dict[str, Any]]]


@pytest.fixture
def truth(shop: Shop) -> Truth:
    """What the seller has of a resource."""
    return lambda resource: shop.sandbox.truth(ORG, resource)


def test_all_forty_are_there() -> None:
    assert len(OURS) == 40
    assert [name for name in OURS.values() if not callable(getattr(BackMarket, name, None))] == []


@pytest.mark.slow
def test_every_function_as_a_host_application_uses_it(shop: Shop, host: Host, truth: Truth, tmp_path: Path) -> None:
    connect(host, shop)
    sync(host)
    read_orders(host, truth)
    read_listings(host, truth)
    read_shipments(host, truth)
    fetch(host, shop, truth)
    labels(host, truth, tmp_path)
    write(host, shop, truth)
    bulk(host, truth)
    schedule(host)
    disconnect(host)
    assert set(OURS.values()) - host.used == set()


def connect(host: Host, shop: Shop) -> None:
    with pytest.raises(ConnectionNotFound):
        host.get_connection_status(ORG)
    connected = host.upsert_connection(
        ORG, TOKEN, environment="production", region="EU", locale="fr-fr", base_url=shop.sandbox.url
    )
    assert (connected.enabled, connected.health) == (True, "ok")
    assert TOKEN not in repr(connected)


def sync(host: Host) -> None:
    handles = [
        host.sync_orders(ORG),
        host.sync_listings(ORG, full=True),
        host.sync_deliveries(ORG, download_labels=False),
        host.sync_returns(ORG, environment="production"),
    ]
    for handle in handles:
        handle.wait(timeout=PATIENCE_SECONDS)
    status = host.get_connection_status(ORG)
    assert {name: each.state for name, each in status.resources.items()} == dict.fromkeys(status.resources, "ok")
    assert all(each.last_success_at for each in status.resources.values())


def read_orders(host: Host, truth: Truth) -> None:
    listed = {row["order_id"]: row for row in truth("orders") if row["state"] not in {0, 8}}
    assert {order.order_id for order in host.get_orders(ORG, limit=1000)} == set(listed)
    processed = host.get_orders(ORG, state=OrderState.PROCESSED, limit=5)
    assert {order.state for order in processed} == {OrderState.PROCESSED}
    key, row = next(iter(listed.items()))
    assert unsigned(host.get_order_by_id(ORG, key).raw) == unsigned(row)
    line = row["orderlines"][0]
    assert {each.orderline_id for each in host.get_orderlines(ORG, order_id=key)} == {
        each["id"] for each in row["orderlines"]
    }
    assert host.get_orderline_by_id(ORG, line["id"]).raw == line
    by_sku = host.get_orderlines_by_listing(ORG, line["listing"].swapcase(), limit=1000)
    assert line["id"] in {each.orderline_id for each in by_sku}
    by_state = host.get_orderlines_by_state(ORG, line["state"], limit=1000)
    assert line["id"] in {each.orderline_id for each in by_state}


def read_listings(host: Host, truth: Truth) -> None:
    rows = {row["id"]: row for row in truth("listings")}
    first = host.get_listings(ORG, limit=40)
    rest = host.get_listings(ORG, limit=40, cursor=first.next_cursor)
    assert [str(each.listing_id) for each in (*first, *rest)] == sorted(rows)
    row = next(iter(rows.values()))
    assert host.get_listing_by_id(ORG, row["id"]).raw == row
    assert host.get_listing_by_sku(ORG, row["sku"].swapcase()).raw == row
    online = host.get_listings(ORG, publication_state=1, limit=1000)
    assert {str(each.listing_id) for each in online} == {
        key for key, row in rows.items() if row["publication_state"] == 1
    }


def read_shipments(host: Host, truth: Truth) -> None:
    sent = {row["shipmentId"]: row for row in truth("deliveries")}
    assert {each.shipment_id for each in host.get_deliveries(ORG, limit=1000)} == set(sent)
    key, row = next(iter(sent.items()))
    assert host.get_delivery_by_id(ORG, key).raw == row
    assert key in {each.shipment_id for each in host.get_deliveries_by_order_id(ORG, row["order"])}
    back = {row["shipmentId"]: row for row in truth("returns")}
    assert {each.shipment_id for each in host.get_returns(ORG, limit=1000)} == set(back)
    key, row = next(iter(back.items()))
    assert host.get_return_by_id(ORG, key).raw == row
    assert key in {each.shipment_id for each in host.get_returns_by_order_id(ORG, row["orderId"])}
    assert key in {each.shipment_id for each in host.get_returns_by_orderline_id(ORG, row["orderlineId"])}


def fetch(host: Host, shop: Shop, truth: Truth) -> None:
    sent, back = truth("deliveries")[0], truth("returns")[0]
    assert host.fetch_delivery(ORG, sent["shipmentId"]).raw == sent
    assert host.fetch_return(ORG, back["shipmentId"], download_labels=False, locale="de-de").raw == back


def labels(host: Host, truth: Truth, directory: Path) -> None:
    """Those of deliveries were left to be asked for; those of returns came with their sync."""
    sent = next(row["shipmentId"] for row in truth("deliveries") if row["labelUrl"])
    back = next(row["shipmentId"] for row in truth("returns") if row["label"])
    for key, download, link in (
        (sent, host.download_label, host.get_label_url),
        (back, host.download_return_label, host.get_return_label_url),
    ):
        stored = download(ORG, key, to=directory / f"{key}.pdf")
        assert stored.object_key == f"labels/auth0%7C1/{stored.resource}/{key}.pdf"
        assert (directory / f"{key}.pdf").read_bytes() == label_pdf(key, 2000)
        assert httpx.get(link(ORG, key, expires=60), trust_env=False).content == label_pdf(key, 2000)


def write(host: Host, shop: Shop, truth: Truth) -> None:
    """Accept, ship and register what an order has sold, give it an invoice, and change a listing."""
    row = next(row for row in truth("orders") if row["state"] == 1)
    line = row["orderlines"][0] | {"state": 1, "quantity": 1, "imei": None, "serial_number": ""}
    shop.sandbox.change(ORG, modify=1, ids=[row["order_id"]], fields={"orderlines": [line]})
    host.sync_orders(ORG).wait()
    handles = [
        host.update_order(ORG, row["order_id"], OrderLineState.ACCEPTED),
        host.update_order(ORG, row["order_id"], OrderLineState.SHIPPED, tracking_number="T-1", shipper="DHL"),
        host.update_orderline(ORG, line["id"], imei="490154203237518", serial_number="S-1"),
        host.upload_order_invoice(ORG, row["order_id"], content=label_pdf(1, 900), filename="invoice.pdf"),
        host.update_listing(ORG, sku=truth("listings")[0]["sku"], price="199.90", quantity=2),
    ]
    for handle in handles:
        assert handle.wait(timeout=PATIENCE_SECONDS).confirmed_by == "answer"
    shipped = next(order for order in truth("orders") if order["order_id"] == row["order_id"])
    assert unsigned(host.get_order_by_id(ORG, row["order_id"]).raw) == unsigned(shipped)
    assert (shipped["tracking_number"], shipped["orderlines"][0]["imei"]) == ("T-1", "490154203237518")
    assert host.get_orderline_by_id(ORG, line["id"]).serial_number == "S-1"
    assert host.get_order_by_id(ORG, row["order_id"]).invoice_uploaded_at is not None
    listing = truth("listings")[0]
    assert host.get_listing_by_id(ORG, listing["id"]).raw == listing
    assert (listing["price"], listing["quantity"]) == ("199.90", 2)


def submit(shop: Shop, catalog: str) -> int:
    """Send a bulk file as a seller does; the task's id."""
    answer = httpx.post(
        f"{shop.sandbox.url}/ws/listings",
        json={"catalog": catalog, "quotechar": '"', "delimiter": ";", "encoding": "utf-8"},
        headers={"Authorization": f"Basic {TOKEN}", "User-Agent": "BM-Test-Suite;dev@test.example"},
        trust_env=False,
    )
    return int(answer.raise_for_status().json()["bodymessage"])


def bulk(host: Host, truth: Truth) -> None:
    """A file that is waited for with the sync after it; and one whose task is asked about."""
    rows = truth("listings")[:20]
    text = "".join(["sku;quantity\n", *(f"{row['sku']};{row['quantity'] + 1}\n" for row in rows)])
    outcome = host.create_or_update_listings_and_sync(ORG, text, max_wait=60, poll_interval=0.2)
    assert (outcome.job.state, outcome.job.lines_done) == ("done", 20)
    assert {row["sku"]: host.get_listing_by_sku(ORG, row["sku"]).quantity for row in rows} == {
        row["sku"]: row["quantity"] + 1 for row in rows
    }
    handle = host.create_or_update_listings(ORG, f"sku,quantity\n{rows[0]['sku']},3\n")
    assert handle.wait(PATIENCE_SECONDS).state == "done"
    (part,) = host.get_bulk_parts(ORG, handle.id)
    assert host.get_task_status(ORG, int(part.task_id)).state == "success"
    assert truth("listings")[0]["quantity"] == 3


def schedule(host: Host) -> None:
    """A resource that is off is left alone; on again with a short interval, beat has it synced by itself."""
    host.update_schedule("orders", organization_id=ORG, enabled=False)
    host.update_schedule("returns", interval=1)
    assert not host.get_schedule(ORG)["orders"].enabled
    assert host.get_schedule()["returns"].interval == 1
    before = host.get_connection_status(ORG).resources
    wait_until(
        lambda: (
            host.get_connection_status(ORG).resources["returns"].last_success_at > before["returns"].last_success_at
        ),
        "the returns were synced again, without a restart",
    )
    assert host.get_connection_status(ORG).resources["orders"].last_success_at == before["orders"].last_success_at


def disconnect(host: Host) -> None:
    assert host.disconnect(ORG).health == "disabled"
    with pytest.raises(ConnectionDisabled, match="connections enable"):
        host.sync_orders(ORG)
    assert host.reconnect(ORG).health == "ok"
    host.disconnect(ORG, clear_api_key=True)
    with pytest.raises(ApiKeyMissing, match="connections add"):
        host.reconnect(ORG)
    assert len(host.get_orders(ORG)) == 50, "its rows stay"
    assert host.remove_connection(ORG) > 150
    assert not host.get_orders(ORG)
