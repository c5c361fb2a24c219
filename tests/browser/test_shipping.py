"""The day's work in the page "To ship": forty parcels, by keyboard and scanner."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from pypdf import PdfReader

from tests.browser.conftest import TIMEOUT_MILLISECONDS, Person, Place
from tests.support.waiting import PATIENCE_SECONDS, wait_until

expect.set_options(timeout=TIMEOUT_MILLISECONDS)

PARCELS = 40
SELLER = "ships"


def open_orders(place: Place, seller: str, count: int, *, state: int = 1, backship: bool = True) -> list[int]:
    """Orders of one line that wait for the seller, the first one late, in the order of their deadlines."""
    known = [row for row in place.sandbox.truth(seller) if row["state"] != 8]
    rows, others = known[:count], known[count:]
    assert len(rows) == count
    place.sandbox.change(seller, modify=len(others), ids=[row["order_id"] for row in others], fields={"state": 9})
    now = datetime.now(UTC)
    for number, row in enumerate(rows):
        only = row["orderlines"][0] | {"quantity": 1, "imei": None, "serial_number": "", "state": state}
        fields = {
            "state": 1 if state == 1 else 3,
            "is_backship": backship,
            "tracking_number": None,
            "orderlines": [only],
            "expected_dispatch_date": (now + timedelta(hours=number - 0.5)).isoformat(),
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
    place.sell(SELLER, orders=PARCELS + 12, listings=5, deliveries=0, returns=0)
    yield SELLER
    place.bm.remove_connection(SELLER)


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
