"""The page "To ship" over real rows: what it lists, what its forms do, what it prints."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import pytest
from pypdf import PdfReader

from backmarket import BackMarket
from backmarket.console.paths import order_key
from backmarket.labels.engine import run_slice as run_label_slice
from backmarket.standalone.embedded import Stack
from backmarket.writes.engine.slice import run_slice as run_write_slice
from tests.support.console import Visitor, console_settings, opened_shop, words
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop

ORG = "auth0|1"
IMEI = "356938035643809"


@pytest.fixture(scope="module")
def shop(stack: Stack, s3_url: str, shared_url: str) -> Iterator[Shop]:
    """One seller for all tests: each works on orders of its own."""
    settings = console_settings(stack, shared_url, s3_url)
    with fresh_sandbox(limit=100_000) as server, opened_shop(settings, server.control, ORG, orders=90) as shop:
        for row in shop.sandbox.truth(ORG):
            shop.sandbox.change(ORG, modify=1, ids=[row["order_id"]], fields={"state": 9})
        shop.sync(ORG)
        yield shop


@pytest.fixture
def anna(anna: Visitor, shop: Shop) -> Iterator[Visitor]:
    yield anna
    for row in shop.sandbox.truth(ORG):  # the next test begins with none that is open
        if row["state"] != 9:
            shop.sandbox.change(ORG, modify=1, ids=[row["order_id"]], fields={"state": 9})
    shop.sync(ORG)


def order_in(shop: Shop, bm: BackMarket, *states: int, hours: float = 24, **fields: Any) -> int:
    """An order that no other test has, with a line in each of these states, to be dispatched in some hours."""
    taken = shop.__dict__.setdefault("taken", set())
    row = next(
        each
        for each in shop.sandbox.truth(ORG)
        if each["order_id"] not in taken
        and len(each["orderlines"]) >= len(states)
        and not bm.get_deliveries_by_order_id(ORG, each["order_id"]).items
    )
    taken.add(row["order_id"])
    lines = row["orderlines"][: len(states)]
    for number, (line, state) in enumerate(zip(lines, states, strict=True)):
        line |= {"state": state, "listing": f"SKU-{number}", "quantity": 1, "imei": None, "serial_number": ""}
    changed = {
        "state": 1 if 1 in states else 3,
        "orderlines": lines,
        "is_backship": False,
        "tracking_number": None,
        "expected_dispatch_date": (datetime.now(UTC) + timedelta(hours=hours)).isoformat(),
    } | fields
    shop.sandbox.change(ORG, modify=1, ids=[row["order_id"]], fields=changed)
    return bm.fetch_order(ORG, row["order_id"]).order_id


def shown(page: str) -> list[int]:
    """The orders of a page, in the order of its rows."""
    return [int(each) for each in re.findall(r'aria-label="Choose order (\d+)"', page)]


def key(order: int) -> str:
    return order_key(ORG, order)


class TestList:
    def test_has_the_earliest_deadline_first_and_marks_what_is_late(self, shop: Shop, anna: Visitor) -> None:
        later, late, soon = (order_in(shop, anna.bm, 2, hours=hours) for hours in (60, -2, 5))
        page = anna.get("/ship").text
        assert shown(page) == [late, soon, later]
        rows = re.findall(r"<tr id=.*?</tr>", page, re.DOTALL)
        assert ['class="late' in row for row in rows] == [True, False, False]
        assert "late 1" in words(page)
        assert "late or within 24 h 2" in words(page)
        text = anna.text("/")
        assert "to ship 3" in text
        assert "late 1" in text

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("step=accept", {"paid"}),
            ("step=ship", {"accepted", "french"}),
            ("due=late", {"paid"}),
            ("due=day", {"paid", "accepted"}),
            ("country=fr-fr", {"french"}),
            ("sku=sku-1", {"french"}),
            ("label=own", {"paid", "accepted"}),
            ("label=backship", {"french"}),
            ("seller=auth0|1", {"paid", "accepted", "french"}),
        ],
    )
    def test_is_filtered_by_its_address(self, shop: Shop, anna: Visitor, query: str, expected: set[str]) -> None:
        orders = {
            "paid": order_in(shop, anna.bm, 1, hours=-1, country_code="de-de"),
            "accepted": order_in(shop, anna.bm, 2, hours=3, country_code="de-de"),
            "french": order_in(shop, anna.bm, 2, 2, hours=40, country_code="fr-fr", is_backship=True),
        }
        assert set(shown(anna.get(f"/ship?{query}").text)) == {orders[name] for name in expected}

    @pytest.mark.parametrize("query", ["step=x", "due=x", "label=x", "cursor=x"])
    def test_names_a_filter_that_can_not_be(self, anna: Visitor, query: str) -> None:
        answer = anna.get(f"/ship?{query}")
        assert (answer.status_code, 'class="fault"' in answer.text) == (422, True)

    def test_of_a_seller_that_is_not_there_is_not_found(self, anna: Visitor) -> None:
        assert anna.get("/ship?seller=nobody").status_code == 404

    def test_says_that_nothing_waits(self, anna: Visitor) -> None:
        assert "No order waits to be accepted or shipped." in anna.text("/ship")

    def test_filters_are_saved_under_a_name_and_removed(self, shop: Shop, anna: Visitor) -> None:
        query = "step=ship&due=day&evil=1"
        assert "Saved as Today's parcels" in anna.do("/ship/views", name="Today's parcels", query=query)
        assert 'href="/ship?step=ship&amp;due=day">Today&#39;s parcels' in anna.get("/ship").text
        otto = Visitor(shop.settings)
        otto.log_in("otto")
        assert "Today" not in otto.text("/ship"), "views are their person's own"
        otto.close()
        assert "1 to 60 characters" in anna.do("/ship/views", name="x" * 61, query="")
        assert "is removed" in anna.do("/ship/views/remove", name="Today's parcels")
        assert "parcels" not in re.sub("parcels that you enter", "", anna.text("/ship"))

    def test_a_viewer_has_no_form(self, shop: Shop, anna: Visitor) -> None:
        order_in(shop, anna.bm, 2)
        otto = Visitor(shop.settings)
        otto.log_in("otto")
        page = otto.get("/ship").text
        assert "hx-post" not in page
        assert 'name="tracking_number"' not in page
        otto.close()


class TestAccepting:
    def test_many_tells_each_outcome_in_its_row(self, shop: Shop, anna: Visitor, bm: BackMarket) -> None:
        both, one, accepted = order_in(shop, bm, 1, 1), order_in(shop, bm, 1), order_in(shop, bm, 2)
        answer = anna.send("/ship/accept", partial=True, order=[key(each) for each in (both, one, accepted)], once="t")
        assert "Queued: accept 2 of 3 chosen orders. 1 has nothing to accept." in words(answer.text)
        assert answer.text.count('name="waits"') == 2
        waits = f"/ship/outcomes?waits={key(both)}*pending-pending&waits={key(one)}*pending"
        assert "<tr" not in anna.get(waits).text, "their outcomes have not come"
        run_write_slice(shop.services, ORG)
        after = anna.get(waits).text
        assert (after.count("<tr"), after.count('name="tracking_number"')) == (2, 2)
        assert "accept SKU-0 : succeeded confirmed by Back Market" in words(after)
        assert [line.state for line in bm.get_orderlines(ORG, order_id=both)] == [2, 2]

    def test_twice_with_the_same_form_queues_it_once(self, shop: Shop, anna: Visitor, bm: BackMarket) -> None:
        order = order_in(shop, bm, 1, 1)
        for _ in range(2):
            anna.send("/ship/accept", partial=True, order=key(order), once="same")
        assert len(bm.get_writes(ORG, order_id=order).items) == 2, "one for each SKU"

    def test_what_is_refused_is_said_in_its_row_and_others_go_on(
        self, shop: Shop, anna: Visitor, bm: BackMarket
    ) -> None:
        order = order_in(shop, bm, 1)
        bm.disable_connection(ORG)
        answer = anna.send("/ship/accept", partial=True, order=key(order))
        bm.enable_connection(ORG)
        assert "1 could not be queued" in words(answer.text)
        assert re.search(r'<tr id=.*class="fault".*disabled.*</tr>', answer.text, re.DOTALL)
        assert "Choose orders first." in anna.send("/ship/accept", partial=True).text

    def test_without_scripts_goes_back_to_the_page(self, shop: Shop, anna: Visitor, bm: BackMarket) -> None:
        order = order_in(shop, bm, 1)
        assert "Queued: accept 1 of 1 chosen order." in anna.do(
            "/ship/accept", order=key(order), back="/ship?step=ship"
        )


class TestShipping:
    def test_takes_the_tracking_number_in_place(self, shop: Shop, anna: Visitor, bm: BackMarket) -> None:
        order = order_in(shop, bm, 2)
        at = f"/o/{key(order).partition('/')[0]}/ship/{order}"
        row = anna.send(at, partial=True, tracking_number="P-1", shipper="DHL", once="a")
        assert "ship SKU-0 , parcel P-1: pending in progress" in words(row.text)
        assert 'name="tracking_number"' not in row.text
        run_write_slice(shop.services, ORG)
        after = anna.get(f"/ship/outcomes?waits={key(order)}*pending").text
        assert 'class=" shipped"' in after
        assert "ship SKU-0 , parcel P-1: succeeded" in words(after)
        found = bm.get_order_by_id(ORG, order)
        assert found
        assert (found.tracking_number, found.shipper_display) == ("P-1", "DHL")
        assert order not in shown(anna.get("/ship").text)

    def test_says_beside_the_field_what_is_wrong_with_it(self, shop: Shop, anna: Visitor, bm: BackMarket) -> None:
        order = order_in(shop, bm, 2)
        at = f"/o/{key(order).partition('/')[0]}/ship/{order}"
        row = anna.send(at, partial=True, tracking_number="x" * 201)
        assert (row.status_code, 'class="fault"' in row.text, "x" * 201 in row.text) == (422, True, True)
        assert "Scan or type" in anna.send(at, partial=True).text
        assert bm.get_writes(ORG, order_id=order).items == []
        assert anna.send(f"{at[: at.rindex('/')]}/424242", partial=True, tracking_number="P").status_code == 404

    def test_a_lost_answer_is_told_in_the_row(self, shop: Shop, anna: Visitor, bm: BackMarket) -> None:
        order = order_in(shop, bm, 2)
        at = f"/o/{key(order).partition('/')[0]}/ship/{order}"
        anna.send(at, partial=True, tracking_number="P-2")
        shop.execute(
            "UPDATE backmarket.api_writes SET state = 'unknown', due_at = 'infinity', error = 'The answer was lost.'"
            " WHERE organization_id = %s AND lane = %s", ORG, f"order/{order}"
        )  # fmt: skip
        row = words(anna.get(f"/ship/outcomes?waits={key(order)}*pending").text)
        assert "unknown The answer was lost. A person has to settle it." in row
        assert "Send it again It arrived It never arrived" in row
        (write,) = bm.get_writes(ORG, order_id=order).items
        anna.do(f"/o/{key(order).partition('/')[0]}/writes/{write.id}", what="not_arrived", back="/ship")
        assert 'name="tracking_number"' in anna.get("/ship").text

    def test_takes_an_imei_in_place_and_checks_it(self, shop: Shop, anna: Visitor, bm: BackMarket) -> None:
        order = order_in(shop, bm, 2)
        (line,) = bm.get_orderlines(ORG, order_id=order).items
        at = f"/o/{key(order).partition('/')[0]}/ship/{order}/lines/{line.orderline_id}"
        wrong = anna.send(at, partial=True, imei=IMEI[:-1] + "0")
        assert (wrong.status_code, "last digit" in wrong.text, IMEI[:-1] + "0" in wrong.text) == (422, True, True)
        queued = anna.send(at, partial=True, imei=IMEI)
        assert f"IMEI {IMEI} pending" in words(queued.text)
        run_write_slice(shop.services, ORG)
        row = anna.get(f"/ship/outcomes?waits={key(order)}*pending").text
        assert f"IMEI {IMEI}" in words(row)
        assert 'name="imei"' not in row
        assert 'name="tracking_number"' in row
        assert anna.send(f"{at[: at.rindex('/')]}/1", partial=True, imei=IMEI).status_code == 404


class TestPrinting:
    def accepted(self, shop: Shop, bm: BackMarket, count: int) -> list[int]:
        """Accepted orders whose labels Back Market makes, by their deadlines; synced, but not their labels."""
        orders = [order_in(shop, bm, 1, hours=number, is_backship=True) for number in range(1, count + 1)]
        for order in orders:
            bm.update_order(ORG, order, 2)
        run_write_slice(shop.services, ORG)
        shop.sync(ORG, "deliveries")
        return orders

    def test_all_labels_are_one_pdf_in_the_order_of_the_table(self, shop: Shop, anna: Visitor, bm: BackMarket) -> None:
        orders = self.accepted(shop, bm, 3)
        run_label_slice(shop.services, ORG)
        chosen = [orders[1], orders[0], orders[2]]
        answer = anna.send("/ship/labels", order=[key(each) for each in chosen])
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/pdf")
        texts = [each.extract_text() for each in PdfReader(BytesIO(answer.content)).pages]
        shipments = [bm.get_deliveries_by_order_id(ORG, order).items[0].shipment_id for order in chosen]
        assert texts == [f"Shipment {each}" for each in shipments]

    def test_what_is_missing_is_named_first(self, shop: Shop, anna: Visitor, bm: BackMarket) -> None:
        ready, wanted = self.accepted(shop, bm, 2)
        run_label_slice(shop.services, ORG)
        shop.execute(
            "UPDATE backmarket.labels SET state = 'wanted' WHERE shipment_id ="
            " (SELECT max(shipment_id) FROM backmarket.deliveries WHERE order_id = %s)", wanted
        )  # fmt: skip
        own = order_in(shop, bm, 2)
        chosen = [key(each) for each in (ready, wanted, own)]
        page = anna.send("/ship/labels", order=chosen)
        text = words(page.text)
        assert "2 orders have no label to print. 1 is ready." in text
        assert f"{wanted} {ORG} A worker is about to fetch its label." in text
        assert f"{own} {ORG} You ship it with a label of your own." in text
        pdf = anna.send("/ship/labels", order=chosen, anyway="1")
        assert len(PdfReader(BytesIO(pdf.content)).pages) == 1
        before = shop.one("SELECT sum(requested) FROM backmarket.sync_state WHERE resource = 'deliveries'")
        assert "Requested the deliveries and labels" in anna.do("/ship/labels/fetch", order=chosen)
        assert shop.one("SELECT sum(requested) FROM backmarket.sync_state WHERE resource = 'deliveries'") == before + 1

    def test_a_damaged_label_keeps_no_other_back(self, shop: Shop, anna: Visitor, bm: BackMarket) -> None:
        orders = self.accepted(shop, bm, 2)
        run_label_slice(shop.services, ORG)
        broken = bm.get_deliveries_by_order_id(ORG, orders[0]).items[0]
        assert broken.stored_label
        shop.execute("UPDATE backmarket.labels SET sha256 = 'other' WHERE shipment_id = %s", broken.shipment_id)
        text = words(anna.send("/ship/labels", order=[key(each) for each in orders]).text)
        assert f"{orders[0]} {ORG} The bucket holds another file than the stored label." in text
        assert "Print the 1 that is ready" in text

    def test_a_pick_list_counts_devices_by_sku(self, shop: Shop, anna: Visitor, bm: BackMarket) -> None:
        two, one = order_in(shop, bm, 2, 1), order_in(shop, bm, 2)
        text = words(anna.send("/ship/pick", order=[key(two), key(one)]).text)
        assert re.search(rf"2 SKU-0 .* {two}, {one} 1 SKU-1 .* {two}", text)

    def test_packing_slips_say_where_to_and_no_phone_number(self, shop: Shop, anna: Visitor, bm: BackMarket) -> None:
        order = order_in(shop, bm, 2, 4)
        stored = bm.get_order_by_id(ORG, order)
        assert stored
        assert stored.shipping_address
        slip = words(anna.send("/ship/slips", order=key(order)).text)
        assert stored.shipping_address["street"] in slip
        assert str(stored.shipping_address.get("phoneNumber")) not in slip
        assert ("SKU-0" in slip, "SKU-1" in slip) == (True, False), "what was cancelled is not in the parcel"

    def test_of_nothing_is_refused(self, anna: Visitor) -> None:
        for path in ("/ship/labels", "/ship/pick", "/ship/slips", "/ship/labels/fetch"):
            answer = anna.send(path)
            assert (answer.status_code, "No order is chosen." in answer.text) == (422, True)
