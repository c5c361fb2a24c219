"""The day's work in the page "To ship": forty parcels, by keyboard and scanner."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from itertools import count
from typing import Any

import pytest
from playwright.sync_api import APIResponse, Page, Route, expect
from pypdf import PdfReader

from backmarket.sandbox.api.label_files import label_pdf
from tests.browser.conftest import TIMEOUT_MILLISECONDS, Person, Place
from tests.support.waiting import PATIENCE_SECONDS, wait_until

expect.set_options(timeout=TIMEOUT_MILLISECONDS)

PARCELS = 40
_NUMBERS = count(1)


def open_orders(place: Place, seller: str, number: int, *, state: int = 1, backship: bool = True) -> list[int]:
    """Orders of one line that wait for the seller, the first one late, in the order of their deadlines."""
    known = [row for row in place.sandbox.truth(seller) if row["state"] != 8]
    rows, others = known[:number], known[number:]
    assert len(rows) == number
    place.sandbox.change(seller, modify=len(others), ids=[row["order_id"] for row in others], fields={"state": 9})
    now = datetime.now(UTC)
    for place_in_line, row in enumerate(rows):
        only = row["orderlines"][0] | {"quantity": 1, "imei": None, "serial_number": "", "state": state}
        fields = {
            "state": 1 if state == 1 else 3,
            "is_backship": backship,
            "tracking_number": None,
            "orderlines": [only],
            "expected_dispatch_date": (now + timedelta(hours=place_in_line - 0.5)).isoformat(),
        }
        place.sandbox.change(seller, modify=1, ids=[row["order_id"]], fields=fields)
    place.bm.sync_orders(seller).wait(PATIENCE_SECONDS)
    return [row["order_id"] for row in rows]


class Hands:
    """Somebody who clicks and presses keys, and counts. What a scanner types is not counted, its Enter is."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.count = 0

    def click(self, name: str, role: Any = "button") -> None:
        self.page.get_by_role(role, name=name, exact=True).click()
        self.count += 1

    def scan(self, text: str) -> None:
        self.page.keyboard.insert_text(text)
        self.page.keyboard.press("Enter")
        self.count += 1


@pytest.fixture
def ships(place: Place) -> Iterator[str]:
    """A seller of its own."""
    seller = f"ships-{next(_NUMBERS)}"
    place.sell(seller, orders=PARCELS + 12, listings=5, deliveries=0, returns=0)
    yield seller
    place.bm.remove_connection(seller)


def row_of(page: Page, order: int) -> Any:
    return page.get_by_role("row").filter(has=page.get_by_role("link", name=str(order), exact=True))


def test_forty_parcels_are_accepted_labelled_and_shipped_with_at_most_three_strokes_each(
    anna: Person, place: Place, ships: str
) -> None:
    orders = open_orders(place, ships, PARCELS)
    page = anna.open("/")
    page.get_by_role("link", name=re.compile("to accept")).click()
    page.goto(f"{place.url}/ship?seller={ships}")
    hands = Hands(page)
    hands.click("Choose all orders of this page", role="checkbox")
    hands.click("Accept")
    expect(page.get_by_role("status").filter(has_text="Queued: accept")).to_be_visible()
    expect(page.get_by_role("textbox", name=re.compile("Tracking number of order"))).to_have_count(PARCELS)
    place.bm.sync_deliveries(ships).wait(PATIENCE_SECONDS)
    wait_until(lambda: len(place.bm.get_labels(ships, state="stored", limit=100).items) >= PARCELS, "labels are stored")
    expect(page.get_by_role("link", name=re.compile("Open the label"))).to_have_count(PARCELS)
    assert labels_printed(page, hands) == [shipment_of(place, ships, order) for order in orders]

    page.get_by_role("textbox", name=re.compile(f"IMEI .* in order {orders[0]}")).click()
    hands.count += 1
    for number, order in enumerate(orders):
        expect(page.get_by_role("textbox", name=re.compile(f"IMEI .* in order {order}"))).to_be_focused()
        hands.scan(imei(number))
        expect(page.get_by_role("textbox", name=f"Tracking number of order {order}")).to_be_focused()
        hands.scan(f"PARCEL-{number}")
    for number, order in enumerate(orders):
        expect(row_of(page, order)).to_contain_text(f"parcel PARCEL-{number}: succeeded")
    registered = [each.imei for order in orders for each in place.bm.get_orderlines(ships, order_id=order)]
    assert registered == [imei(number) for number in range(PARCELS)]
    stored = {order: place.bm.get_order_by_id(ships, order) for order in orders}
    assert [each.tracking_number for each in stored.values() if each] == [f"PARCEL-{n}" for n in range(PARCELS)]
    assert hands.count == 3 + 1 + 2 * PARCELS, "2.1 a parcel"
    page.reload()
    expect(page.get_by_text("No order waits to be accepted or shipped.")).to_be_visible()


SEND_AS_IT_COMES = """([row, imei]) => {
    window.stayed = true;
    new MutationObserver((_, observer) => {
        observer.disconnect();
        const field = document.getElementById(row).querySelector("input[name=imei]");
        field.value = imei;
        field.form.requestSubmit();
    }).observe(document.querySelector("table tbody"), {childList: true});
}"""


def test_a_field_that_has_just_come_is_sent_in_its_row(anna: Person, place: Place, ships: str) -> None:
    """A scanner is faster than the 20 ms for which htmx by default leaves a new row to the browser, which would
    load the whole page.
    """
    (order,) = open_orders(place, ships, 1, state=2, backship=False)
    page = anna.open(f"/ship?seller={ships}")
    page.evaluate(SEND_AS_IT_COMES, [row_of(page, order).get_attribute("id"), "1"])
    page.get_by_role("button", name=f"Ship order {order}").click()  # without a number: the row comes with the reason
    expect(row_of(page, order).get_by_role("alert").filter(has_text="IMEI")).to_be_visible()
    assert page.evaluate("window.stayed"), "the page is the same"


def test_what_was_read_before_a_parcel_was_entered_does_not_take_it_from_the_page(
    anna: Person, place: Place, ships: str
) -> None:
    """The page asks each second what has become of its rows; the answer may be late, and the scanner quicker."""
    (order,) = open_orders(place, ships, 1, state=2, backship=False)
    page = anna.open(f"/ship?seller={ships}")
    row = row_of(page, order)
    late: list[tuple[Route, APIResponse]] = []

    def hold(route: Route) -> None:
        answer = route.fetch()
        if late or "<tr" not in answer.text():
            route.fulfill(response=answer)
        else:
            late.append((route, answer))

    page.route("**/ship/outcomes*", hold)
    page.get_by_role("textbox", name=re.compile(f"IMEI .* in order {order}")).fill(imei(1))
    page.keyboard.press("Enter")
    while not late:
        page.wait_for_timeout(50)  # milliseconds, in which the browser's requests are handled
    page.get_by_label(f"Tracking number of order {order}").fill("PARCEL-1")
    page.keyboard.press("Enter")
    expect(row).to_contain_text("parcel PARCEL-1")
    ((route, answer),) = late
    route.fulfill(response=answer)
    expect(row).to_contain_text("parcel PARCEL-1: succeeded")
    expect(row).to_contain_text(imei(1))


def test_a_lost_answer_and_a_refusal_are_told_in_their_rows(anna: Person, place: Place, ships: str) -> None:
    lost, refused = open_orders(place, ships, 2, state=2, backship=False)
    page = anna.open(f"/ship?seller={ships}")
    page.get_by_label("Carrier").fill("DHL")
    place.sandbox.add_fault("close", operation="orders.update", seller=ships, count=1, applied=True)
    page.get_by_label(f"Tracking number of order {lost}").fill("LOST-1")
    page.keyboard.press("Enter")
    expect(page.get_by_label(f"Tracking number of order {refused}")).to_be_focused()
    expect(row_of(page, lost)).to_contain_text("unknown")
    page.evaluate("document.activeElement.removeAttribute('maxlength')")
    page.get_by_label(f"Tracking number of order {refused}").fill("x" * 201)
    page.keyboard.press("Enter")
    expect(row_of(page, refused).get_by_role("alert")).to_contain_text("tracking_number")
    field = page.get_by_role("textbox", name=re.compile(f"IMEI .* in order {refused}"))
    field.fill(imei(1)[:-1] + ("0" if imei(1)[-1] != "0" else "1"))
    field.press("Enter")
    expect(row_of(page, refused).get_by_role("alert").filter(has_text="last digit")).to_be_visible()
    anna.assert_accessible()
    expect(row_of(page, lost)).to_contain_text("confirmed by reading it back; the answer was lost")
    stored = place.bm.get_order_by_id(ships, lost)
    assert stored
    assert (stored.tracking_number, stored.shipper_display) == ("LOST-1", "DHL")


def test_a_view_is_saved_and_lists_are_printed(anna: Person, place: Place, ships: str) -> None:
    first, second = open_orders(place, ships, 2, state=2, backship=False)
    page = anna.open(f"/ship?seller={ships}")
    page.get_by_text("Filters", exact=True).click()
    page.get_by_label("Deadline").select_option("late")
    page.get_by_role("button", name="Show").click()
    expect(page).to_have_url(re.compile("due=late"))
    expect(row_of(page, first)).to_contain_text("late")
    expect(row_of(page, second)).to_have_count(0)
    page.get_by_label("Save these filters as").fill("Late here")
    page.get_by_role("button", name="Save the view").click()
    anna.open("/ship")
    page.get_by_role("link", name="Late here").click()
    expect(page).to_have_url(re.compile(f"seller={ships}.*due=late"))
    page.get_by_role("button", name="Remove the saved view Late here").click()
    expect(page.get_by_role("link", name="Late here")).to_have_count(0)

    anna.open(f"/ship?seller={ships}")
    page.get_by_role("checkbox", name=f"Choose order {second}").check()
    expect(page.get_by_text("1 chosen")).to_be_visible()
    for button, heading in (
        ("Pick list", "Pick list"),
        ("Packing slips", f"Order {second}"),
        ("Print labels", "Labels"),
    ):
        with page.expect_popup() as popup:
            page.get_by_role("button", name=button).click()
        expect(popup.value.get_by_role("heading", name=heading, exact=True)).to_be_visible()
        popup.value.close()


def test_what_waits_is_counted_on_every_page_and_decided_in_the_inbox(anna: Person, place: Place, ships: str) -> None:
    (order,) = open_orders(place, ships, 1, state=2, backship=False)
    place.sandbox.add_fault("close", operation="orders.invoice", seller=ships, count=1, applied=True)
    place.bm.upload_order_invoice(ships, order, content=label_pdf(1, 900), filename="invoice.pdf")
    wait_until(lambda: place.bm.count_inbox(ships) == 1, "the lost answer waits for a person")
    page = anna.open(f"/o/{ships}/listings")
    expect(page.get_by_role("link", name="1 waits for you")).to_be_visible()
    page.get_by_role("navigation", name="Console").get_by_role("link", name=re.compile("Inbox 1")).click()
    expect(page.get_by_role("heading", name="Did this change arrive?")).to_be_visible()
    anna.assert_accessible()
    page.get_by_role("button", name="It arrived").click()
    expect(page.get_by_text("Nothing waits for you.")).to_be_visible()
    anna.open(f"/o/{ships}")
    expect(page.get_by_role("link", name="1 waits for you")).to_have_count(0)


def imei(number: int) -> str:
    """A number of a device, with its check digit."""
    digits = f"35693803564{number:03}"
    total = sum(sum(divmod(int(digit) * (1 + place % 2), 10)) for place, digit in enumerate(digits))
    return f"{digits}{-total % 10}"


def labels_printed(page: Page, hands: Hands) -> list[int]:
    """The shipments on the pages of the PDF that the button opens, in their order."""
    answers: list[bytes] = []
    page.context.route("**/ship/labels", lambda route: answers.append(passed(route)))
    with page.expect_popup() as popup:
        hands.click("Print labels")
    popup.value.get_by_text("a PDF").wait_for()
    popup.value.close()
    page.bring_to_front()
    page.context.unroute("**/ship/labels")
    found = [re.search(r"Shipment (\d+)", each.extract_text()) for each in PdfReader(BytesIO(answers[0])).pages]
    return [int(each[1]) for each in found if each]


def passed(route: Any) -> bytes:
    answer = route.fetch()
    content: bytes = answer.body()
    assert answer.headers["content-type"] == "application/pdf", content[:2000]
    route.fulfill(status=200, content_type="text/plain", body="a PDF")
    return content


def shipment_of(place: Place, seller: str, order: int) -> int:
    (parcel,) = place.bm.get_deliveries_by_order_id(seller, order).items
    return parcel.shipment_id
