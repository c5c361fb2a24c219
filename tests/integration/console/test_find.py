"""Find: one box on every page, for everybody, whose text is in no address and no log."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from backmarket import BackMarket
from backmarket.standalone.embedded import Stack
from tests.support.console import Visitor, console_settings, opened_shop, words
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop

ORG = "shop-1"


@pytest.fixture(scope="module")
def shop(stack: Stack, s3_url: str, shared_url: str) -> Iterator[Shop]:
    settings = console_settings(stack, shared_url, s3_url)
    with fresh_sandbox(limit=100_000) as server, opened_shop(settings, server.control, ORG) as shop:
        yield shop


def find(visitor: Visitor, text: str) -> str:
    """What the page says; the text was not in its address."""
    sent = visitor.send("/find", page="/find", text=text)
    assert (sent.status_code, sent.headers["location"]) == (303, "/find")
    return visitor.text("/find")


def test_an_order_is_found_by_the_name_and_its_number_and_the_page_can_be_come_back_to(
    shop: Shop, anna: Visitor, bm: BackMarket
) -> None:
    order = next(each for each in bm.get_orders(ORG) if each.shipping_address)
    assert order.shipping_address is not None
    name = f"{order.shipping_address['lastName']} {order.shipping_address['firstName']}"
    page = find(anna, name)
    assert f"for {name} , in all sellers." in page
    assert f"{order.order_id} customer's name {ORG}" in page
    assert anna.text("/find") == page, "a reload, and coming back from the order"
    html = anna.get("/find").text
    assert f'href="/o/{ORG}/orders/{order.order_id}"' in html
    assert f"{order.order_id} order number {ORG}" in find(anna, str(order.order_id))
    assert "1 match for" in anna.text("/find")
    assert "autofocus" in anna.get("/find").text, "Enter opens the only match"


def test_listings_and_parcels_lead_to_their_pages(shop: Shop, anna: Visitor, bm: BackMarket) -> None:
    listing = next(each for each in bm.get_listings(ORG) if each.sku)
    assert listing.sku is not None
    assert f"Listings SKU Found by Seller Title State Price Quantity {listing.sku} SKU {ORG}" in find(anna, listing.sku)
    delivery = next(each for each in bm.get_deliveries(ORG) if each.tracking_number)
    assert f"{delivery.shipment_id} tracking number {ORG}" in find(anna, str(delivery.tracking_number))
    assert f'href="/o/{ORG}/deliveries?order={delivery.order_id}"' in anna.get("/find").text


def test_what_matches_nothing_or_is_too_long_is_said(anna: Visitor) -> None:
    assert "Nothing matches <script>" in find(anna, "<script>alert(1)</script>")
    sent = anna.send("/find", text="x" * 300)
    assert sent.status_code == 303
    refused = anna.get("/find")
    assert (refused.status_code, "1 to 200 characters" in words(refused.text)) == (422, True)
    assert "Enter a number, a SKU or a name" in find(anna, " ")


def test_a_viewer_may_search_and_a_stranger_may_not(shop: Shop, anna: Visitor, bm: BackMarket) -> None:
    order = bm.get_orders(ORG).items[0].order_id
    otto = Visitor(shop.settings)
    assert otto.get("/find").headers["location"].startswith("/login")
    otto.log_in("otto")
    assert f"{order} order number" in find(otto, str(order))
    made = bm.audit(what="rows.find", limit=1).items[0]
    assert (made.actor, made.proved_by, made.details["orders"]) == ("otto", "console login", 1)
    assert otto.http.post("/find", data={"text": "x"}).status_code == 403, "without our token"
    otto.http.post("/logout", data={"csrf": otto.token()})
    otto.log_in("otto")
    assert "Enter a number" in otto.text("/find"), "the next person does not see it"
    otto.close()


def test_the_box_is_on_every_page_and_the_text_in_no_address_and_no_log(
    shop: Shop, anna: Visitor, bm: BackMarket, caplog: pytest.LogCaptureFixture
) -> None:
    for path in ("/", "/ship", "/inbox", "/find", f"/o/{ORG}", f"/o/{ORG}/orders", "/audit", "/nowhere"):
        assert 'method="post" action="/find"' in anna.get(path).text, path
    caplog.set_level(logging.DEBUG)
    find(anna, "Unmistakable")
    html = anna.get("/find").text
    assert 'value="Unmistakable"' in html
    assert "=Unmistakable" not in html.replace('value="Unmistakable"', "")
    assert "Unmistakable" not in caplog.text
    assert "Unmistakable" not in str(shop.execute("SELECT * FROM backmarket.audit"))
