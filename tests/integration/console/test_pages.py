"""The console's pages over real rows: what they show, what their forms do, and what hostile data does not do."""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import pytest

from backmarket import BackMarket
from backmarket.changes import announce
from backmarket.console.access.users import Person, Role
from backmarket.console.paths import organization as at
from backmarket.console.sse import READERS_OF_A_PERSON, EventStream
from backmarket.database import Database
from backmarket.labels.engine import run_slice as run_label_slice
from backmarket.queries.orders import OrderLineState, OrderState
from backmarket.sandbox.api.label_files import label_pdf
from backmarket.standalone.embedded import Stack
from backmarket.writes.engine.slice import run_slice as run_write_slice
from tests.support import bulk_files
from tests.support.console import Visitor, console_settings, opened_shop, words
from tests.support.databases import open_connection
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop, let_time_pass
from tests.support.waiting import PATIENCE_SECONDS, wait_until

ORG = "auth0|1"
HOME = at(ORG)
ANNA, OTTO = Person("anna", Role.OPERATOR, "password"), Person("otto", Role.VIEWER, "password")
SCRIPT = "<script>alert('x')</script>"
ODD = [
    "a/../b",
    "..",
    ".",
    "~AAAA",
    "shop 1?x=1&y#z",
    SCRIPT,
    "Ä" * 200,
    '"><img src=x onerror=alert(1)>',
    "%2e%2e",
    "ü|😀",
]


@pytest.fixture(scope="module")
def shop(stack: Stack, s3_url: str, shared_url: str) -> Iterator[Shop]:
    """One seller for all tests: each works on an order, a listing or an organization of its own."""
    settings = console_settings(stack, shared_url, s3_url, bulk_poll_initial_seconds=0.01)
    with fresh_sandbox(limit=100_000) as server, opened_shop(settings, server.control, ORG) as shop:
        server.control.settings(task_delay=0.0)
        yield shop


def order_in(shop: Shop, bm: BackMarket, *states: int) -> int:
    """An order that no other test has, whose lines are in these states, stored."""
    taken = shop.__dict__.setdefault("taken", set())
    rows = [each for each in shop.sandbox.truth(ORG) if len(each["orderlines"]) >= len(states)]
    row = next(each for each in rows if each["order_id"] not in taken and each["state"] != 8)
    taken.add(row["order_id"])
    lines = row["orderlines"][: len(states)]
    for number, (line, state) in enumerate(zip(lines, states, strict=True)):
        line |= {"state": state, "listing": f"SKU-{number}", "quantity": 1, "imei": None, "serial_number": ""}
    shop.sandbox.change(ORG, modify=1, ids=[row["order_id"]], fields={"state": 1, "orderlines": lines})
    return bm.fetch_order(ORG, row["order_id"]).order_id


class Loaded(HTMLParser):
    """What a page would load, run or lead to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.faults: list[str] = []
        self.tags: list[str] = []
        self._in_script = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = dict(attrs)
        self._in_script = tag in {"script", "style"}
        if tag in {"iframe", "object", "embed", "base", "style", "img"}:
            self.faults.append(tag)
        for name, value in given.items():
            if name.startswith(("on", "hx-on")) or name in {"style", "srcdoc"}:
                self.faults.append(f"{tag} {name}")
            if name in {"src", "href", "action", "hx-get", "hx-post"} and not re.match(r"[/#](?!/)", value or ""):
                self.faults.append(f"{tag} {name}={value}")

    def handle_data(self, data: str) -> None:
        if self._in_script and data.strip():
            self.faults.append(f"inline: {data[:40]}")

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False


class TestOverview:
    def test_shows_each_organization_how_far_it_is_behind_and_what_fails_and_why(
        self, shop: Shop, anna: Visitor
    ) -> None:
        shop.sell("failing-1", orders=1)
        shop.execute(
            "UPDATE backmarket.sync_state SET failing_since = now() - interval '3 hours', failures = 2,"
            " error_code = 'server_error', error = 'Back Market answered 502.', error_request_id = 'r-77'"
            " WHERE organization_id = 'failing-1'"
        )
        shop.execute("UPDATE backmarket.connections SET last_error_at = now() WHERE organization_id = 'failing-1'")
        text = anna.text("/")
        assert "failing 1" in text
        assert "Back Market answered 502. server_error requestId r-77" in text
        assert ORG in text
        assert "failing-1" in anna.text("/?health=failing")
        assert ORG not in anna.text("/?health=failing")
        assert "No organization matches" in anna.text("/?health=no_key")
        assert ORG in anna.text("/?health=nonsense")
        assert re.search(r"<svg[^>]*aria-label=\"Orders: The last 24 hours: at worst", anna.get("/").text)

    def test_has_pages_and_a_search(self, shop: Shop, anna: Visitor) -> None:
        for number in range(30):
            anna.bm.upsert_connection(f"many-{number:02}", f"key-{number}")
        first = anna.get("/?search=MANY-").text
        following = re.search(r'href="([^"]+)" rel="next"', first)
        assert following
        assert ("many-24" in first, "many-25" in first) == (True, False)
        second = anna.get(following[1].replace("&amp;", "&")).text
        assert ('id="o-many-24"' in second, "many-29" in second, 'rel="next"' in second) == (False, True, False)
        for number in range(30):
            anna.bm.remove_connection(f"many-{number:02}")

    def test_shows_what_waits_for_a_limit(self, shop: Shop, anna: Visitor) -> None:
        shop.execute(
            "UPDATE backmarket.sync_state SET sync_due_at = now() - interval '1 min', failures = 0,"
            " next_due_at = now() + interval '1 h' WHERE organization_id = %s AND resource = 'orders'", ORG
        )  # fmt: skip
        assert "sync of orders, for requests of its account" in anna.text("/")
        assert "The sync of orders waits for requests of its account" in anna.text(HOME)

    def test_a_part_of_it_is_a_part(self, anna: Visitor) -> None:
        part = anna.get("/", **{"HX-Request": "true"}).text
        assert part.lstrip().startswith('<div id="overview"')
        assert "<html" not in part


class TestOrganization:
    def test_is_connected_checked_disabled_enabled_and_removed(self, shop: Shop, anna: Visitor) -> None:
        shop.sandbox.add_seller("new-1", "token-of-new-1", orders=3)
        form = {"environment": "production", "region": "EU", "locale": "de-de", "base_url": shop.sandbox.url}
        text = anna.do("/connect", page="/connect", organization="new-1", api_key="token-of-new-1", **form)
        assert "Connected new-1" in text
        assert "EU · production · de-de" in text
        assert "Back Market accepts the key" in anna.do("/o/new-1/check")
        assert "Disabled. Its rows are kept." in anna.do("/o/new-1/disable")
        assert "Workers send no requests" in anna.text("/o/new-1")
        assert "Enabled" in anna.do("/o/new-1/enable")
        refused = anna.send("/o/new-1/remove", confirm="new-2")
        assert (refused.status_code, "Nothing was removed" in refused.text) == (422, True)
        assert "Removed new-1" in anna.do("/o/new-1/remove", confirm="new-1")
        assert anna.get("/o/new-1").status_code == 404

    def test_that_is_connected_already_is_left_alone(self, shop: Shop, anna: Visitor) -> None:
        before = anna.bm.get_connection_status(ORG).connection
        again = anna.send("/connect", page="/connect", organization=ORG, api_key="another", environment="production",
                          region="EU")  # fmt: skip
        assert (again.status_code, "connected already" in again.text) == (422, True)
        assert anna.bm.get_connection_status(ORG).connection == before
        assert "another" not in again.text.replace("another organization", "")

    @pytest.mark.parametrize(
        ("fields", "fault"),
        [
            ({"organization": ""}, "1 to 200 characters"),
            ({"organization": "x" * 201}, "1 to 200 characters"),
            ({"api_key": ""}, "Enter the API key"),
            ({"api_key": "two words"}, "one word of printable ASCII"),
            ({"region": "XX"}, "There is no region"),
            ({"locale": "en-us"}, "Region EU has no locale"),
            ({"base_url": "https://evil.example"}, "BACKMARKET_ALLOWED_BASE_URLS"),
        ],
    )
    def test_what_is_wrong_with_a_form_is_said_and_the_key_is_not_shown(
        self, anna: Visitor, fields: dict[str, str], fault: str
    ) -> None:
        form: dict[str, Any] = {
            "organization": "n-1",
            "api_key": "k-secret-1",
            "environment": "production",
            "region": "EU",
        } | fields
        refused = anna.send("/connect", page="/connect", **form)
        assert refused.status_code == 422
        assert fault in words(refused.text)
        assert "k-secret-1" not in refused.text
        assert "n-1" not in [each.organization_id for each in anna.bm.get_connections()]

    def test_a_new_key_is_stored_and_never_shown(self, shop: Shop, anna: Visitor) -> None:
        shop.sell("rotated", orders=2, token="first-token")
        before = anna.bm.get_connection_status("rotated").connection
        assert "new key is stored" in anna.do("/o/rotated/key", api_key="second-token")
        after = anna.bm.get_connection_status("rotated").connection
        assert (after.generation > before.generation, after.base_url) == (True, before.base_url)
        refused = anna.send("/o/rotated/check")
        assert refused.status_code == 502
        assert "Unauthorized" in refused.text or "refuse" in refused.text
        for path in ("/o/rotated", "/"):
            assert "second-token" not in anna.get(path).text
        assert "Workers send nothing until one of them tries the key again" in words(anna.text("/o/rotated"))
        let_time_pass(shop, 31)
        anna.send("/o/rotated/check")
        assert "A worker tries the key again" in words(anna.text("/o/rotated"))
        assert "unauthorized" in anna.text("/o/rotated")

    def test_its_market_is_changed_with_the_key_that_it_has(self, shop: Shop, anna: Visitor) -> None:
        shop.sell("market-1", orders=3, token="token-of-market-1")
        shop.sync("market-1")
        form: dict[str, Any] = {"region": "EU", "base_url": shop.sandbox.url}
        assert "connection is changed" in anna.do(
            "/o/market-1/market", environment="production", locale="es-es", **form
        )
        assert anna.bm.get_connection_status("market-1").connection.locale == "es-es"
        refused = anna.send("/o/market-1/market", environment="sandbox", locale="es-es", **form)
        assert (refused.status_code, "Rows of another region or environment" in refused.text) == (422, True)
        anna.do("/o/market-1/market", environment="sandbox", locale="es-es", discard_rows="1", **form)
        assert anna.bm.get_connection_status("market-1").connection.environment == "sandbox"
        assert anna.bm.get_orders("market-1").items == []
        assert "accepts the key" in anna.do("/o/market-1/check")

    def test_its_schedule_is_set_and_given_back(self, anna: Visitor, bm: BackMarket) -> None:
        said = anna.do(f"{HOME}/schedule", resource="deliveries", enabled="1", minutes="2.5", hours="12")
        assert "schedule of deliveries is changed" in said
        entry = bm.get_schedule(ORG)["deliveries"]
        assert (entry.interval, entry.full_interval, entry.download_labels) == (150, 43200, False)
        for minutes, fault in [("soon", "is not a number"), ("0", "must be 1 second"), ("1e9", "must be 1 second")]:
            refused = anna.send(f"{HOME}/schedule", resource="deliveries", enabled="1", minutes=minutes)
            assert (refused.status_code, fault in refused.text) == (422, True)
        anna.do(f"{HOME}/schedule", resource="deliveries", inherit="1")
        assert bm.get_schedule(ORG)["deliveries"].own == ()

    def test_a_sync_is_asked_for_and_its_progress_shown(self, shop: Shop, anna: Visitor, bm: BackMarket) -> None:
        before = shop.one("SELECT sum(requested) FROM backmarket.sync_state WHERE organization_id = %s", ORG)
        part = anna.send(f"{HOME}/sync", partial=True, resource="orders")
        assert (part.status_code, 'hx-trigger="every 1s' in part.text) == (200, True)
        assert "Requested a sync of everything" in anna.do(f"{HOME}/sync", full="1")
        assert (
            shop.one("SELECT sum(requested) FROM backmarket.sync_state WHERE organization_id = %s", ORG) == before + 5
        )
        shop.execute(
            "INSERT INTO backmarket.walks (organization_id, resource, kind, started_at, began_at, pass, next_page,"
            " page_size, expected, highest, serving)"
            " VALUES (%s, 'listings', 'full', now(), now(), 1, 5, 50, 1200, 1200, 0)",
            ORG,
        )  # fmt: skip
        assert "200 of 1 200" in words(anna.get(f"{HOME}/syncs").text)
        shop.execute("DELETE FROM backmarket.walks WHERE resource = 'listings'")


class TestOrders:
    def test_are_filtered_by_what_is_asked(self, shop: Shop, anna: Visitor, bm: BackMarket) -> None:
        orders = bm.get_orders(ORG, limit=1000).items
        line = bm.get_orderlines(ORG, limit=1).items[0]
        parcel = orders[-1].order_id
        shop.execute("UPDATE backmarket.orders SET tracking_number = 'T-1' WHERE order_id = %s", parcel)
        day = orders[0].date_creation.date().isoformat()  # type: ignore[union-attr]
        asked = {
            "state=9": {each.order_id for each in orders if each.state is OrderState.PROCESSED},
            f"country={orders[0].country_code}": {
                e.order_id for e in orders if e.country_code == orders[0].country_code
            },
            f"from={day}": {e.order_id for e in orders if e.date_creation.date().isoformat() >= day},  # type: ignore[union-attr]
            f"until={day}": {e.order_id for e in orders if e.date_creation.date().isoformat() <= day},  # type: ignore[union-attr]
            f"sku={(line.listing or '').upper()}": {
                each.order_id for each in bm.get_orderlines(ORG, sku=line.listing, limit=1000)
            },
            "tracking=T-1": {parcel},
            "": {each.order_id for each in orders},
        }
        for query, expected in asked.items():
            page = anna.get(f"{HOME}/orders?{query}").text
            assert {int(each) for each in re.findall(r'/orders/(\d+)"', page)} == expected, query

    @pytest.mark.parametrize(
        "query", ["state=x", "from=2026-13-01", "until=yesterday", "cursor=x", "order=12a", "sku=%00"]
    )
    def test_a_filter_that_can_not_be_is_named(self, anna: Visitor, query: str) -> None:
        answer = anna.get(f"{HOME}/orders?{query}")
        assert answer.status_code == 422
        assert 'class="fault"' in answer.text

    def test_one_that_is_not_like_that_is_said(self, anna: Visitor) -> None:
        assert "No order matches" in anna.text(f"{HOME}/orders?sku=none")
        answer = anna.get(f"{HOME}/orders?order=424242")
        assert anna.get(answer.headers["location"]).status_code == 404

    def test_one_is_accepted_shipped_and_its_history_told(self, shop: Shop, anna: Visitor, bm: BackMarket) -> None:
        number = order_in(shop, bm, 1)
        page = f"{HOME}/orders/{number}"
        once = re.search(r'id="move-2-.*?name="once" value="([^"]+)"', anna.get(page).text, re.DOTALL)
        assert once
        said = anna.do(f"{page}/state", page=page, state="2", once=once[1])
        assert "Queued: accept." in said
        anna.do(f"{page}/state", page=page, state="2", once=once[1])
        assert len(bm.get_writes(ORG, order_id=number).items) == 1
        assert 'hx-trigger="every 1s' in anna.get(f"{page}/history").text
        assert "hx-refresh" not in anna.get(f"{page}/history?waits=1").headers
        run_write_slice(shop.services, ORG)
        assert anna.get(f"{page}/history?waits=1").headers["hx-refresh"] == "true", (
            "the page shows what can be done now"
        )
        (write,) = bm.get_writes(ORG, order_id=number).items
        assert f"accept {write.request['sku']} succeeded confirmed by Back Market" in anna.text(f"{page}/history")
        faulty = anna.send(f"{page}/state", page=page, state="3", tracking_number="", shipper="DHL <b>")
        assert faulty.status_code == 422
        assert "tracking_number" in faulty.text
        assert 'value="DHL &lt;b&gt;"' in faulty.text
        anna.do(f"{page}/state", page=page, state="3", tracking_number="PARCEL-1", shipper="DHL")
        run_write_slice(shop.services, ORG)
        text = anna.text(page)
        assert "ship SKU-0 , parcel PARCEL-1 succeeded" in text
        assert "Refund after shipping" in text
        assert {each.state for each in bm.get_orderlines(ORG, order_id=number)} == {OrderLineState.SHIPPED}
        assert "changed at Back Market: " in text

    def test_one_line_of_several_is_cancelled_with_a_reason(self, shop: Shop, anna: Visitor, bm: BackMarket) -> None:
        number = order_in(shop, bm, 1, 1)
        page = f"{HOME}/orders/{number}"
        first, second = sorted(each.orderline_id for each in bm.get_orderlines(ORG, order_id=number))
        card = rf'id="move-4-{second}".*?name="sku" value="SKU-1".*?name="line" value="{second}"'
        assert re.search(card, anna.get(page).text, re.DOTALL)
        form: dict[str, Any] = {"state": "4", "sku": "SKU-1", "line": str(second), "return_message": "Sorry"}
        undecided = anna.send(f"{page}/state", page=page, **form)
        assert (undecided.status_code, "Choose a reason." in undecided.text) == (422, True)
        other = anna.send(f"{page}/state", page=page, return_reason="0", **form | {"line": str(first)})
        assert (other.status_code, "has changed since this page was shown" in other.text) == (422, True)
        assert bm.get_writes(ORG, order_id=number).items == []
        anna.do(f"{page}/state", page=page, return_reason="0", **form)
        run_write_slice(shop.services, ORG)
        states = {each.listing: each.state for each in bm.get_orderlines(ORG, order_id=number)}
        assert states == {"SKU-0": OrderLineState.PAID, "SKU-1": OrderLineState.CANCELLED}
        refused = anna.send(f"{page}/state", page=page, state="9")
        assert (refused.status_code, "new_state" in anna.text(page) or "Change this order" in refused.text) == (
            422,
            True,
        )
        assert anna.send(f"{page}/state", page=page, state="zero").status_code == 422

    def test_a_device_is_registered_once_checked(self, shop: Shop, anna: Visitor, bm: BackMarket) -> None:
        number = order_in(shop, bm, 2)
        line = bm.get_orderlines(ORG, order_id=number).items[0].orderline_id
        page = f"{HOME}/orders/{number}"
        wrong = anna.send(f"{page}/lines/{line}", page=page, imei="123")
        assert (wrong.status_code, "imei" in wrong.text) == (422, True)
        anna.do(f"{page}/lines/{line}", page=page, imei="490154203237518")
        run_write_slice(shop.services, ORG)
        assert "490154203237518" in anna.text(page)

    def test_an_invoice_is_uploaded_if_it_is_a_pdf(self, shop: Shop, anna: Visitor, bm: BackMarket) -> None:
        number = order_in(shop, bm, 2)
        page = f"{HOME}/orders/{number}"
        none = anna.send(f"{page}/invoice", page=page)
        assert (none.status_code, "Choose a PDF" in none.text) == (422, True)
        other = {"invoice": ("invoice.pdf", b"<html>", "application/pdf")}
        assert anna.send(f"{page}/invoice", page=page, files=other).status_code == 422
        sent = anna.send(
            f"{page}/invoice", page=page, files={"invoice": ("inv 1.pdf", label_pdf(1, 900), "application/pdf")}
        )
        assert sent.status_code == 303
        run_write_slice(shop.services, ORG)
        assert "upload the invoice inv 1.pdf succeeded" in anna.text(page)

    def test_its_labels_open_by_a_link_that_is_signed(self, shop: Shop, anna: Visitor, bm: BackMarket) -> None:
        parcel = bm.get_deliveries(ORG, limit=1).items[0]
        page = f"{HOME}/orders/{parcel.order_id}"
        missing = anna.get(f"{HOME}/labels/deliveries/{parcel.shipment_id}")
        assert (missing.status_code, "Unavailable" in missing.text) == (503, True)
        assert "wanted" in anna.text(page)
        assert "Fetch now" in anna.text(page)
        run_label_slice(shop.services, ORG)
        assert "Open label" in anna.text(page)
        link = anna.get(f"{HOME}/labels/deliveries/{parcel.shipment_id}").headers["location"]
        assert "X-Amz-Signature=" in link
        assert "X-Amz-Expires=300" in link
        back = bm.get_returns(ORG, limit=1).items[0]
        assert "X-Amz-Signature=" in anna.get(f"{HOME}/labels/returns/{back.shipment_id}").headers["location"]
        assert anna.get(f"{HOME}/labels/others/{back.shipment_id}").status_code == 404
        assert anna.get(f"{HOME}/labels/deliveries/999").status_code == 404

    def test_it_is_asked_for_anew(self, shop: Shop, anna: Visitor, bm: BackMarket) -> None:
        number = order_in(shop, bm, 1)
        shop.sandbox.change(ORG, modify=1, ids=[number], fields={"tracking_number": "NEW-9"})
        assert "NEW-9" in anna.do(f"{HOME}/orders/{number}/refresh", page=f"{HOME}/orders/{number}")

    def test_a_write_with_an_unknown_outcome_is_settled(self, shop: Shop, anna: Visitor, bm: BackMarket) -> None:
        number = order_in(shop, bm, 1)
        page = f"{HOME}/orders/{number}"
        anna.do(f"{page}/state", page=page, state="2")
        write = bm.get_writes(ORG, order_id=number).items[0].id
        shop.execute(
            "UPDATE backmarket.api_writes SET state = 'unknown', due_at = 'infinity', error = 'Its answer was lost.'"
            " WHERE id = %s", write,
        )  # fmt: skip
        assert "Its answer was lost. A person has to settle it." in anna.text(f"{HOME}/writes?state=unknown")
        for settle_at, offered in {"now() + interval '1 h'": False, "now()": True}.items():
            shop.execute(
                f"UPDATE backmarket.api_writes SET due_at = now(), settle_at = {settle_at} WHERE id = %s", write
            )
            assert ("It never arrived" in anna.text(f"{HOME}/writes?state=unknown")) is offered
        said = anna.do(f"{HOME}/writes/{write}", page=page, what="not_arrived", back=page)
        assert f"Write {write} is settled" in said
        assert "refused" in said
        assert "is queued again" in anna.do(f"{HOME}/writes/{write}", page=page, what="retry", back="//evil.example")
        assert "Choose the outcome" in anna.do(f"{HOME}/writes/{write}", page=page, what="", back=page)
        assert "No write matches" in anna.text(f"{HOME}/writes?state=unknown")
        assert "There is no state" in anna.text(f"{HOME}/writes?state=nonsense")
        run_write_slice(shop.services, ORG)


class TestListings:
    def test_are_searched(self, shop: Shop, anna: Visitor, bm: BackMarket) -> None:
        listing = next(each for each in bm.get_listings(ORG) if each.sku and each.title)
        for search in (listing.sku[2:-1].lower(), listing.title[1:8].upper()):  # type: ignore[index]
            assert (
                str(listing.listing_id)
                in anna.get(
                    f"{HOME}/listings",
                ).text
            )
            page = anna.http.get(f"{HOME}/listings", params={"search": search}).text
            assert f'id="row-{listing.listing_id}"' in page, search
        assert "No listing matches" in anna.text(f"{HOME}/listings?search=none-such%25")
        assert anna.get(f"{HOME}/listings?state=x").status_code == 422
        assert 'id="row-' not in anna.get(f"{HOME}/listings?state=9").text

    def test_price_and_quantity_are_changed_in_place(self, shop: Shop, anna: Visitor, bm: BackMarket) -> None:
        listing = bm.get_listings(ORG, publication_state=1).items[0]
        path = f"{HOME}/listings/{listing.listing_id}"
        shown: dict[str, Any] = {"price_shown": str(listing.price), "quantity_shown": str(listing.quantity)}
        same = anna.send(path, partial=True, price=f"{listing.price}", quantity=f"{listing.quantity}", **shown)
        assert (same.status_code, "Nothing has changed" in same.text) == (422, True)
        wrong_ones: list[dict[str, Any]] = [{"price": "cheap"}, {"price": "-1"}, {"quantity": "many"}, {"price": "NaN"}]
        for field in wrong_ones:
            wrong = anna.send(path, partial=True, **shown, **field)
            assert wrong.status_code == 422, field
            assert f'value="{next(iter(field.values()))}"' in wrong.text
        row = anna.send(path, partial=True, price="222,50", quantity="7", **shown).text
        polled = re.search(r'hx-get="([^"]+)"', row)
        assert polled
        assert "pending" in row
        run_write_slice(shop.services, ORG)
        after = words(anna.get(polled[1]).text)
        assert "succeeded confirmed by Back Market" in after
        changed = bm.get_listing_by_id(ORG, listing.listing_id)
        assert changed
        assert (changed.price, changed.quantity) == (Decimal("222.50"), 7)
        assert anna.send(path, price="223.00", **shown).headers["location"] == f"{HOME}/listings"
        assert anna.get(f"{HOME}/listings/none").status_code == 404

    def test_a_number_that_is_none_is_answered(self, anna: Visitor, bm: BackMarket) -> None:
        listing, parcel = bm.get_listings(ORG, limit=1).items[0], bm.get_deliveries(ORG, limit=1).items[0]
        assert anna.get(f"{HOME}/listings/{listing.listing_id}?write=²").status_code == 200
        assert anna.send(f"{HOME}/labels/deliveries/{parcel.shipment_id}", order="²").status_code == 303


class TestBulk:
    def file(self, *lines: str) -> dict[str, Any]:
        return {"file": ("stock.csv", io.BytesIO("\n".join(["sku,quantity", *lines]).encode()), "text/csv")}

    def skus(self, bm: BackMarket) -> list[str]:
        return sorted(each.sku for each in bm.get_listings(ORG) if each.sku)

    def checked(self, anna: Visitor, *lines: str) -> str:
        """What the page of a checked file sends along with the file."""
        found = anna.send(f"{HOME}/bulk/check", partial=True, files=self.file(*lines))
        digest = re.search(r'name="checked" value="([^"]+)"', found.text)
        assert digest
        return digest[1]

    def test_every_fault_is_shown_and_nothing_stored(self, anna: Visitor, bm: BackMarket) -> None:
        sku = self.skus(bm)[0]
        answer = anna.send(f"{HOME}/bulk/check", partial=True, files=self.file(f"{sku},many", f"{sku},<b>1"))
        text = words(answer.text)
        assert "Nothing was sent. 2 of 2 lines are bad. Correct them" in text
        assert " --" not in text, "an option of the command"
        assert re.search(r"2 B \(quantity\) many .* 3 B \(quantity\) <b>1", text)
        assert "<b>1" not in answer.text
        assert "Send " not in text
        assert bm.get_bulk_jobs(ORG).items == []
        assert anna.send(f"{HOME}/bulk/check", partial=True).status_code == 422

    def test_the_signs_of_amounts_are_chosen(self, anna: Visitor) -> None:
        def answer(**choices: str) -> str:
            file = {"file": ("prices.csv", io.BytesIO(b"sku;price\nA;1 299,00\n"), "text/csv")}
            return words(anna.send(f"{HOME}/bulk/check", partial=True, files=file, **choices).text)

        assert "may have a thousands separator" in answer()
        assert "1 of 1 line can be sent" in answer(decimal=",", thousands="space")

    def test_a_file_is_sent_only_as_it_was_checked(self, shop: Shop, anna: Visitor, bm: BackMarket) -> None:
        first, second = self.skus(bm)[1:3]
        good = self.file(f"{first},3", f"{second},4")
        checked = anna.send(f"{HOME}/bulk/check", partial=True, files=good)
        assert "2 of 2 lines can be sent" in words(checked.text)
        digest = re.search(r'name="checked" value="([^"]+)"', checked.text)
        assert digest
        other = anna.send(f"{HOME}/bulk", partial=True, files=self.file(f"{first},9"), checked=digest[1], once="o-1")
        assert (other.status_code, "1 of 1 line can be sent" in words(other.text)) == (200, True)
        assert bm.get_bulk_jobs(ORG).items == []
        paths = set()
        for _ in range(2):
            good = self.file(f"{first},3", f"{second},4")
            sent = anna.send(f"{HOME}/bulk", partial=True, files=good, checked=digest[1], once="o-1")
            assert sent.status_code == 204
            paths.add(sent.headers["hx-redirect"])
        (path,) = paths
        assert "0 of 2 lines" in anna.text(path)
        assert "No worker has claimed it" in anna.text(path) or "A worker is processing it" in anna.text(path)
        assert anna.get(f"{path}/report").status_code == 422
        job_id = int(path.rpartition("/")[2])
        bulk_files.run(shop, ORG, job_id)
        wait_until(lambda: bulk_files.one_slice(shop, ORG) and bm.get_bulk_jobs(ORG).items[0].reported_at, "its report")
        assert "2 of 2 lines" in anna.text(path)
        assert "hx-trigger" not in anna.get(path, **{"HX-Request": "true"}).text
        assert "X-Amz-Signature=" in anna.get(f"{path}/report").headers["location"]
        assert "stock.csv" in anna.text(f"{HOME}/bulk")

    def test_a_job_is_cancelled_and_a_part_decided(self, shop: Shop, anna: Visitor, bm: BackMarket) -> None:
        skus = self.skus(bm)[3:6]
        content = self.file(*(f"{sku},5" for sku in skus))
        digest = self.checked(anna, *(f"{sku},5" for sku in skus))
        sent = anna.send(f"{HOME}/bulk", partial=True, files=content, checked=digest)
        path = sent.headers["hx-redirect"]
        shop.execute(
            "UPDATE backmarket.bulk_parts SET state = 'unknown', due_at = 'infinity', error = 'Look at it.'"
            " WHERE job_id = %s", int(path.rpartition("/")[2]),
        )  # fmt: skip
        assert "Look at it." in anna.text(path)
        for sent_at, offered in {"now()": False, "now() - interval '1 h'": True}.items():
            shop.execute(f"UPDATE backmarket.bulk_parts SET due_at = now() + interval '1 h', sent_at = {sent_at}")
            assert ("It arrived" in anna.text(path)) is offered, "as soon as a person may decide"
        assert "Choose the outcome" in anna.do(f"{path}/parts/1", page=path, outcome="perhaps")
        assert "The lines of the part count as done." in anna.do(f"{path}/parts/1", page=path, outcome="arrived")
        assert "There is nothing to settle" in anna.do(f"{path}/parts/1", page=path, outcome="not_arrived")
        again = self.file(*(f"{sku},6" for sku in skus))
        digest = self.checked(anna, *(f"{sku},6" for sku in skus))
        path = anna.send(f"{HOME}/bulk", partial=True, files=again, checked=digest).headers["hx-redirect"]
        assert "cancelled" in anna.do(f"{path}/cancel", page=path)
        assert anna.get(f"{HOME}/bulk/999999").status_code == 404


class TestHostileData:
    @pytest.mark.parametrize("odd", ODD)
    def test_an_organization_may_be_called_anything(self, anna: Visitor, odd: str) -> None:
        form: dict[str, Any] = {"environment": "production", "region": "EU", "api_key": "key"}
        made = anna.send("/connect", page="/connect", organization=odd, **form)
        home = made.headers["location"]
        assert re.fullmatch(r"/o/[\w~-][\w.~-]*", home), home
        try:
            for path in ("", "/orders", "/listings", "/bulk", "/writes"):
                page = anna.get(f"{home}{path}")
                assert page.status_code == 200
                assert odd in words(page.text) or "<" in odd or "  " in odd
                assert Loaded(page.text).faults == []
            assert Loaded(anna.get("/").text).faults == []
        finally:
            assert anna.send(f"{home}/remove", confirm=odd).headers["location"] == "/"

    def test_what_a_seller_or_a_customer_wrote_is_text(self, shop: Shop, anna: Visitor, bm: BackMarket) -> None:
        number = order_in(shop, bm, 1, 1)
        shop.execute(
            "UPDATE backmarket.orders SET shipping_address = %s::jsonb, tracking_number = %s, shipper_display = %s"
            " WHERE order_id = %s", json.dumps({"street": SCRIPT, "city": '" onclick=x'}), SCRIPT, SCRIPT, number,
        )  # fmt: skip
        shop.execute(
            "UPDATE backmarket.orderlines SET listing = %s, product = %s WHERE order_id = %s", SCRIPT, SCRIPT, number
        )
        listing = bm.get_listings(ORG, limit=1000).items[-1]
        shop.execute(
            "UPDATE backmarket.listings SET sku = %s, title = %s WHERE listing_id = %s", f'"{SCRIPT}', SCRIPT,
            listing.listing_id,
        )  # fmt: skip
        query = "%3Cscript%3Ealert(1)%3C/script%3E"
        for path in (f"/orders/{number}", "/orders", f"/orders?sku={query}", "/listings", f"/listings?search={query}"):
            page = anna.get(f"{HOME}{path}").text
            assert "<script>" not in page, path
            assert Loaded(page).faults == [], path
        assert SCRIPT in anna.text(f"{HOME}/orders/{number}") or "alert('x')" in anna.text(f"{HOME}/orders/{number}")

    def test_no_page_shows_a_key(self, shop: Shop, anna: Visitor) -> None:
        sealed = shop.one("SELECT api_key FROM backmarket.connections WHERE organization_id = %s", ORG).decode()
        for path in ("/", HOME, f"{HOME}/orders", f"{HOME}/writes", f"{HOME}/bulk", "/connect"):
            page = anna.get(path).text
            assert f"token-of-{ORG}" not in page
            assert sealed not in page


class TestTrouble:
    def test_a_database_that_is_away_is_said(self, anna: Visitor, shared_url: str) -> None:
        anna.bm.close()
        anna.bm._services.__dict__["database"] = Database(shared_url.replace("sockets", "nowhere"), timeout=0.2)
        for headers in ({}, {"HX-Request": "true"}):
            answer = anna.get("/", **headers)
            assert answer.status_code == 503
            assert "PostgreSQL is unreachable" in words(answer.text).replace("\u2019", "'")

    def test_a_part_that_fails_is_one_line(self, anna: Visitor) -> None:
        answer = anna.get("/o/nobody/syncs", **{"HX-Request": "true"})
        assert answer.status_code == 404
        assert answer.text.startswith('<p class="fault"')


def test_browsers_are_told_what_changes(shop: Shop, shared_url: str) -> None:
    """Changes of several organizations at once are one message to each browser, and the end ends it."""

    async def follow(events: EventStream) -> list[str]:
        streams = [events.follow(ANNA, seconds=PATIENCE_SECONDS), events.follow(ANNA, seconds=PATIENCE_SECONDS)]
        for stream in streams:
            assert (await anext(stream)).startswith("retry:")
        # the follower of the feed begins with its first reader, and is told of nothing before
        for number in range(1000):
            with open_connection(shared_url, autocommit=True) as connection:
                connection.execute("SET backmarket.worker = 'on'")
                connection.execute(
                    "INSERT INTO backmarket.changes (organization_id, resource, external_id, kind)"
                    " VALUES ('told', 'orders', %s, 'created')", (str(number),),
                )  # fmt: skip
            announce(market._services.database)
            if events._readers and all(reader.news.is_set() for reader in events._readers):
                break
            await asyncio.sleep(0.2)
        heard = [await asyncio.wait_for(anext(stream), PATIENCE_SECONDS) for stream in streams]
        events.end()
        for stream in streams:
            with pytest.raises(StopAsyncIteration):
                await asyncio.wait_for(anext(stream), PATIENCE_SECONDS)
        return heard

    with BackMarket(shop.settings) as market:
        events = EventStream(market)
        heard = asyncio.run(follow(events))
        events.wait_ended()
    for each in heard:
        assert each.startswith("event: change\ndata: ")
        assert "told" in json.loads(each.partition("data: ")[2])["organizations"]


def test_a_person_follows_with_few_pages_and_leaves_room_for_others(anna: Visitor) -> None:
    async def follow(events: EventStream) -> list[bool]:
        of_one = [events.follow(ANNA) for _ in range(200)]
        opened = [await anext(each, None) is not None for each in of_one]
        assert await anext(events.follow(OTTO), None)
        await of_one[0].aclose()
        assert await anext(events.follow(ANNA), None)
        events.end()
        return opened

    events = EventStream(anna.bm)
    assert sum(asyncio.run(follow(events))) == READERS_OF_A_PERSON
    events.wait_ended()
