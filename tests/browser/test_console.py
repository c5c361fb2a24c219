"""The console as people use it: each thing that it is for, done in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from backmarket.sandbox.api.label_files import label_pdf
from tests.browser.conftest import TIMEOUT_MILLISECONDS, Person, Place, csv_file
from tests.support.waiting import wait_until

expect.set_options(timeout=TIMEOUT_MILLISECONDS)

Visit = Callable[..., Person]


def order_in(place: Place, organization: str, *states: int, index: int = 0) -> int:
    """An order whose lines are in these states, stored."""
    rows = [each for each in place.sandbox.truth(organization) if len(each["orderlines"]) >= len(states)]
    row = [each for each in rows if each["state"] != 8][index]
    lines: list[dict[str, Any]] = row["orderlines"][: len(states)]
    for number, (line, state) in enumerate(zip(lines, states, strict=True)):
        line |= {"state": state, "listing": f"SKU-{index}-{number}", "quantity": 1, "imei": None, "serial_number": ""}
    place.sandbox.change(organization, modify=1, ids=[row["order_id"]], fields={"state": 1, "orderlines": lines})
    return place.bm.fetch_order(organization, row["order_id"]).order_id


def skus(place: Place, organization: str) -> list[str]:
    return sorted(each.sku for each in place.bm.get_listings(organization) if each.sku)


def said(page: Page) -> Any:
    return expect(page.get_by_role("status").filter(has_text=re.compile(r"\S")).last)


def row_of(page: Page, name: str) -> Any:
    return page.get_by_role("row").filter(has=page.get_by_role("rowheader", name=name))


def test_a_login_by_keyboard_alone(visit: Visit) -> None:
    person = visit()
    page = person.open("/o/shop-1/orders")
    expect(page.get_by_label("Name")).to_be_focused()
    page.keyboard.type("anna")
    page.keyboard.press("Tab")
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert").filter(has_text="is wrong")).to_be_visible()
    person.assert_accessible()
    person.log_in()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.get_by_role("button", name="Log out").click()
    page.get_by_role("button", name="Log in").wait_for()


def test_the_overview_shows_what_happens_while_it_is_open(anna: Person, place: Place, seller: str) -> None:
    page = anna.open("/")
    expect(page.locator("#live")).to_contain_text("live")
    expect(page.locator("#live")).to_have_attribute("data-state", "on")
    expect(row_of(page, seller)).to_contain_text("ok")
    assert row_of(page, seller).locator("svg[role=img]").count() == 4
    place.sell("newcomer", orders=3)
    expect(row_of(page, "newcomer")).to_be_visible()
    place.bm.disconnect("newcomer")
    place.sandbox.change(seller, modify=1)
    place.bm.sync_orders(seller)
    expect(row_of(page, "newcomer")).to_contain_text("disabled")
    page.get_by_label("A part of the id").fill("newc")
    page.get_by_label("A part of the id").press("Enter")
    expect(row_of(page, "newcomer")).to_be_visible()
    expect(row_of(page, seller)).to_have_count(0)
    place.bm.remove_connection("newcomer")


def test_an_organization_from_its_connection_to_its_end(anna: Person, place: Place) -> None:
    page = anna.open("/")
    page.get_by_role("navigation", name="Console").get_by_role("link", name="Connect").click()
    page.get_by_label("Organization").fill("shop 2/ü")
    page.get_by_label("API key").fill("wrong-token")
    page.get_by_label("Address").select_option(place.sandbox.url)
    page.get_by_role("button", name="Connect").click()
    expect(page.get_by_role("heading", name="shop 2/ü")).to_be_visible()

    page.get_by_role("button", name="Check the key now").click()
    expect(page.get_by_role("alert").filter(has_text=re.compile("401"))).to_be_visible()
    place.sandbox.add_seller("shop-2-again", "another-token", orders=40, listings=3, deliveries=0, returns=0)
    page.get_by_label("New API key").fill("another-token")
    page.get_by_role("button", name="Store the new key").click()
    said(page).to_contain_text("new key is stored")
    page.get_by_role("button", name="Check the key now").click()
    said(page).to_contain_text("accepts the key")
    assert "another-token" not in page.content()

    page.get_by_label("full sync", exact=True).check()
    page.get_by_role("button", name="Sync all now").click()
    wait_until(lambda: len(place.bm.get_orders("shop 2/ü").items) >= 30, "the orders are there")
    expect(row_of(page, "orders").first).to_contain_text("ok")
    button = page.get_by_role("button", name="Sync listings now")
    button.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Sync listings now")).to_be_focused()

    page.get_by_label("Minutes between two syncs of orders").fill("2")
    page.get_by_role("button", name="Save the schedule of orders").click()
    said(page).to_contain_text("schedule of orders is changed")
    assert place.bm.get_schedule("shop 2/ü")["orders"].interval == 120

    page.get_by_label("Locale").select_option("de-de")
    page.get_by_role("button", name="Change the market").click()
    said(page).to_contain_text("connection is changed")
    page.get_by_role("button", name="Disable", exact=True).click()
    expect(page.get_by_text("Workers send no requests")).to_be_visible()
    page.get_by_role("button", name="Enable", exact=True).click()
    said(page).to_contain_text("Enabled")
    page.get_by_label("Type its id").fill("shop 2")
    page.get_by_role("button", name="Remove for good").click()
    expect(page.get_by_role("alert").filter(has_text="nothing was removed")).to_be_visible()
    page.get_by_label("Type its id").fill("shop 2/ü")
    page.get_by_role("button", name="Remove for good").click()
    said(page).to_contain_text("Removed shop 2/ü")


def test_an_order_is_found_accepted_shipped_and_given_an_invoice(
    anna: Person, place: Place, seller: str, tmp_path: Path
) -> None:
    number = order_in(place, seller, 1)
    page = anna.open(f"/o/{seller}/orders")
    page.get_by_label("State").select_option("paid")
    page.get_by_label("SKU").fill("sku-0-0")
    page.get_by_role("button", name="Show").click()
    page.get_by_role("link", name=str(number)).click()
    expect(page.get_by_role("heading", name=f"Order {number}")).to_be_visible()

    page.get_by_role("button", name=re.compile("^Accept")).click()
    history = page.locator("#events")
    expect(history).to_contain_text(re.compile(r"requested by anna \(console login\): accept \S+ succeeded"))
    page.get_by_label("Tracking number").fill("PARCEL-1")
    page.get_by_label("Tracking URL").fill("https://user:pw@carrier.example/x y")
    page.get_by_role("button", name="Ship", exact=True).click()
    expect(page.get_by_role("alert").filter(has_text="tracking_url")).to_be_visible()
    expect(page.get_by_label("Tracking number")).to_have_value("PARCEL-1")
    page.get_by_label("Tracking URL").fill("https://carrier.example/PARCEL-1")
    page.get_by_role("button", name="Ship", exact=True).click()
    expect(history).to_contain_text(re.compile(r"ship \S+, parcel PARCEL-1 succeeded"))

    invoice = tmp_path / "invoice-1.pdf"
    invoice.write_bytes(label_pdf(1, 900))
    page.get_by_label("PDF").set_input_files(invoice)
    page.get_by_role("button", name="Upload the invoice").click()
    expect(history).to_contain_text("upload the invoice invoice-1.pdf succeeded")


def test_a_line_of_an_order_is_cancelled_once_a_person_is_sure(anna: Person, place: Place, seller: str) -> None:
    number = order_in(place, seller, 1, 1, index=1)
    page = anna.open(f"/o/{seller}/orders/{number}")
    cancel = page.get_by_role("form", name="Cancel").filter(has_text="SKU-1-1")
    cancel.get_by_label("I am sure").check()
    cancel.get_by_role("button", name="Cancel").click()
    expect(page).to_have_url(re.compile(rf"/orders/{number}$"))  # the browser asks for a reason
    cancel.get_by_label("I am sure").uncheck()
    cancel.get_by_label("Reason").select_option("0")
    cancel.get_by_role("button", name="Cancel").click()
    expect(page).to_have_url(re.compile(rf"/orders/{number}$"))  # the browser asks to be sure first
    cancel.get_by_label("I am sure").check()
    cancel.get_by_role("button", name="Cancel").click()
    expect(page.locator("#events")).to_contain_text(
        re.compile(r"requested by anna \(console login\): cancel SKU-1-1 succeeded")
    )
    states = {line.listing: int(line.state or 0) for line in place.bm.get_orderlines(seller, order_id=number)}
    assert states == {"SKU-1-0": 1, "SKU-1-1": 4}, "the other line stays"


def test_a_label_opens_by_its_link(anna: Person, place: Place, seller: str) -> None:
    wait_until(lambda: place.bm.get_deliveries(seller).items[0].stored_label, "a label is in the bucket")
    parcel = place.bm.get_deliveries(seller).items[0]
    page = anna.open(f"/o/{seller}/orders/{parcel.order_id}")
    link = page.get_by_role("link", name=f"Open the label of {parcel.shipment_id}").get_attribute("href")
    label = page.request.get(f"{place.url}{link}")
    assert label.ok
    assert label.body().startswith(b"%PDF-")


def test_a_listing_is_found_and_its_price_and_quantity_changed_in_place(
    anna: Person, place: Place, seller: str
) -> None:
    listing = next(each for each in place.bm.get_listings(seller, publication_state=1) if each.sku)
    page = anna.open(f"/o/{seller}/listings")
    page.get_by_label("SKU or title").fill(str(listing.sku).lower())
    page.get_by_label("SKU or title").press("Enter")
    expect(page.get_by_role("row")).to_have_count(2)
    price = page.get_by_label(f"Price of {listing.sku}")
    price.fill("cheap")
    price.press("Enter")
    expect(page.get_by_role("alert").filter(has_text="249.90")).to_be_visible()
    expect(price).to_have_value("cheap")
    price.fill("201.50")
    page.get_by_label(f"Quantity of {listing.sku}").fill("3")
    page.get_by_role("button", name=f"Save {listing.sku}").click()
    expect(row_of(page, str(listing.sku))).to_contain_text("succeeded")
    expect(price).to_have_value("201.50")
    truth = {each["sku"]: each for each in place.sandbox.truth(seller, "listings")}
    assert truth[listing.sku]["quantity"] == 3


def test_a_file_is_dropped_checked_sent_and_reported(anna: Person, place: Place, seller: str, tmp_path: Path) -> None:
    first, second, third = skus(place, seller)[-3:]
    page = anna.open(f"/o/{seller}/bulk")
    page.get_by_label("Drop a CSV or Excel file").set_input_files(csv_file(tmp_path, f"{first},1", f"{second},many"))
    page.get_by_role("button", name="Check the file").click()
    expect(page.locator("#check")).to_contain_text("Nothing was sent.")
    expect(row_of(page, "3")).to_contain_text("many")
    assert place.bm.get_bulk_jobs(seller).items == []
    anna.assert_accessible()

    page.get_by_label("Drop a CSV or Excel file").set_input_files(
        csv_file(tmp_path, f"{first},1", f"{second},2", f"{third},4")
    )
    page.get_by_role("button", name="Check the file").click()
    page.get_by_role("button", name="Send 3 lines").click()
    expect(page.get_by_role("heading", name="Bulk job")).to_be_visible()
    expect(page.locator("#job")).to_contain_text("3 of 3 lines")
    report = page.get_by_role("link", name="Download the report").get_attribute("href")
    lines = page.request.get(f"{place.url}{report}").text().splitlines()
    assert len(lines) == 4
    assert {each["quantity"] for each in place.sandbox.truth(seller, "listings") if each["sku"] == third} == {4}


def test_a_job_that_waits_for_the_quota_says_so_and_is_cancelled(anna: Person, place: Place, tmp_path: Path) -> None:
    place.sell("waits", orders=1)
    page = anna.open("/o/waits/bulk")
    lines = [f"{sku},7" for sku in skus(place, "waits")[:9]]
    page.get_by_label("Drop a CSV or Excel file").set_input_files(csv_file(tmp_path, *lines))
    page.get_by_role("button", name="Check the file").click()
    expect(page.locator("#check")).to_contain_text("The hourly quota allows this in")
    page.get_by_role("button", name="Send 9 lines").click()
    job = page.locator("#job")
    expect(job).to_contain_text("waiting for quota")
    expect(job).to_contain_text("It waits until")
    anna.open("/")
    expect(page.get_by_role("region", name="What waits for a limit")).to_contain_text("for lines of the hourly quota")
    page.get_by_role("link", name="bulk job").click()
    page.get_by_role("button", name="Cancel what is not sent").click()
    expect(job).to_contain_text("cancelled")
    expect(page.get_by_role("link", name="Download the report")).to_be_visible()
    place.bm.remove_connection("waits")


def test_who_looks_only_sees_all_and_can_do_nothing(visit: Visit, seller: str) -> None:
    otto = visit()
    otto.log_in("otto")
    page = otto.page
    expect(page.get_by_text("viewer")).to_be_visible()
    for path in ("", "/orders", "/listings", "/bulk", "/writes", "/deliveries", "/returns", "/labels"):
        otto.open(f"/o/{seller}{path}")
        expect(page.get_by_role("heading", level=1)).to_contain_text(seller)
        assert page.locator("main form[method=post], main [hx-post], main input:enabled[form]").count() == 0
    otto.assert_accessible()


def test_the_header_is_one_line_on_a_small_laptop(visit: Visit) -> None:
    person = visit(viewport={"width": 1100, "height": 760})
    person.log_in()
    boxes = [person.page.locator(each).bounding_box() for each in (".top .mark", ".top form:last-child")]
    first, last = (box["y"] + box["height"] / 2 for box in boxes if box)
    assert abs(first - last) < 10


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1366, 390])
def test_every_page_is_readable_and_fits(visit: Visit, place: Place, seller: str, scheme: str, width: int) -> None:
    person = visit(color_scheme=scheme, viewport={"width": width, "height": 800})
    person.log_in()
    number = order_in(place, seller, 2, index=2)
    home = f"/o/{seller}"
    for path in ("/", "/connect", home, f"{home}/orders", f"{home}/orders/{number}", f"{home}/listings", f"{home}/bulk",
                 f"{home}/writes", f"{home}/deliveries", f"{home}/returns", f"{home}/labels", "/ship", "/figures",
                 f"/figures?seller={seller}&span=year", f"/ship?seller={seller}", "/inbox", "/audit",
                 "/o/nobody"):  # fmt: skip
        person.open(path)
        person.page.get_by_role("heading", level=1).wait_for()
        person.assert_fits()
        if (width == 1366) == (scheme == "light"):
            person.assert_accessible()


def test_on_a_phone_the_tab_of_the_page_is_in_sight(visit: Visit, seller: str) -> None:
    person = visit(viewport={"width": 390, "height": 800})
    person.log_in()
    for path, tab in (("/writes", "Writes"), ("/listings", "Listings"), ("", "Status")):
        page = person.open(f"/o/{seller}{path}")
        expect(page.locator(".tabs").get_by_role("link", name=tab, exact=True)).to_be_in_viewport(ratio=0.9)


def test_times_are_those_of_the_reader(visit: Visit, place: Place, seller: str) -> None:
    person = visit(timezone_id="Asia/Tokyo", locale="en-GB")
    person.log_in()
    order = place.bm.get_orders(seller).items[0]
    assert order.date_creation
    page = person.open(f"/o/{seller}/orders/{order.order_id}")
    shown = page.evaluate(
        "at => new Intl.DateTimeFormat('en-GB', {dateStyle: 'medium', timeStyle: 'short', timeZone: 'Asia/Tokyo'})"
        ".format(new Date(at))",
        order.date_creation.isoformat(),
    )
    expect(page.get_by_text(shown).first).to_be_visible()


def test_a_console_that_is_away_is_said_and_comes_back(anna: Person, place: Place, seller: str) -> None:
    page = anna.open(f"/o/{seller}")
    anna.page.context.set_offline(True)
    page.get_by_role("button", name="Sync orders now").click()
    expect(page.get_by_role("alert").filter(has_text="is unreachable")).to_be_visible()
    anna.page.context.set_offline(False)
    page.get_by_role("button", name="Sync orders now").click()
    expect(page.get_by_role("alert").filter(has_text="is unreachable")).to_have_count(0)


def test_a_listings_markets_stand_side_by_side_and_each_price_is_changed(anna: Person, place: Place) -> None:
    seller = "sells-abroad"
    place.sell(seller, orders=0, listings=6, deliveries=0, returns=0, markets=["de-de", "en-gb"])
    page = anna.open(f"/o/{seller}")
    for market in ("de-de", "en-gb"):
        page.get_by_role("checkbox", name=market).check()
    page.get_by_role("button", name="Change the market").click()
    expect(page.get_by_role("row", name="listings in en-gb")).to_contain_text("ok")
    expect(page.get_by_role("row", name="listings in de-de")).to_contain_text("ok")
    listing = next(each for each in place.bm.get_listings(seller) if each.sku)
    page = anna.open(f"/o/{seller}/listings")
    price = page.get_by_label(f"Price of {listing.sku} in en-gb")
    price.fill("99.50")
    page.get_by_role("button", name=f"Save {listing.sku} in en-gb").click()
    expect(page.locator(f"#row-{listing.listing_id}-en-gb")).to_contain_text("succeeded")
    expect(price).to_have_value("99.50")
    shown = {row["id"]: row["price"] for row in place.sandbox.truth(seller, "listings", "en-gb")}
    assert shown[str(listing.listing_id)] == "99.50"
    assert {each["price"] for each in place.sandbox.truth(seller, "listings") if each["sku"] == listing.sku} == {
        str(listing.price)
    }
    anna.assert_accessible()
    page.set_viewport_size({"width": 390, "height": 800})
    for path in ("", "/listings"):
        anna.open(f"/o/{seller}{path}")
        anna.assert_fits()
