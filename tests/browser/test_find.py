"""Find, and forms that did nothing, in a real browser."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import expect

from tests.browser.conftest import TIMEOUT_MILLISECONDS, Person, Place
from tests.support.waiting import PATIENCE_SECONDS

expect.set_options(timeout=TIMEOUT_MILLISECONDS)


def test_an_order_is_found_from_any_page_opened_by_enter_and_come_back_from(
    anna: Person, visit: Callable[..., Person], place: Place, seller: str
) -> None:
    order = place.bm.get_orders(seller).items[0]
    page = anna.open(f"/o/{seller}/listings")
    page.get_by_label("Find", exact=True).fill(str(order.order_id))
    page.keyboard.press("Enter")
    link = page.get_by_role("main").get_by_role("link", name=str(order.order_id))
    expect(link).to_be_focused()
    assert page.url == f"{place.url}/find", "the text is in no address"
    anna.assert_accessible()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=f"Order {order.order_id}")).to_be_visible()
    page.go_back()
    expect(link).to_be_visible()

    phone = visit(viewport={"width": 390, "height": 844}, color_scheme="dark")
    phone.log_in()
    address = order.shipping_address or {}
    phone.page.get_by_label("Find", exact=True).fill(str(address["lastName"])[:6].lower())
    phone.page.get_by_role("button", name="Find").click()
    expect(phone.page.get_by_role("main").get_by_role("link", name=str(order.order_id))).to_be_visible()
    phone.assert_fits()
    phone.assert_accessible()


def test_a_form_that_did_nothing_says_why_where_the_person_looks(anna: Person, place: Place) -> None:
    place.sell("words-1", orders=3)
    listing = next(each for each in place.bm.get_listings("words-1") if each.sku)
    write = place.bm.update_listing("words-1", listing.listing_id, quantity=5)
    write.wait(PATIENCE_SECONDS)
    with place.bm._services.database.transaction() as transaction:
        transaction.execute(
            "UPDATE backmarket.api_writes SET state = 'unknown', due_at = 'infinity' WHERE id = %s", (write.id,)
        )
    page = anna.open("/o/words-1/writes")
    row = page.get_by_role("row").filter(has_text=f"change {listing.sku}: quantity 5")
    row.get_by_text("Settle", exact=True).click()
    place.bm.settle_write("words-1", write.id, arrived=True)
    row.get_by_role("button", name="It arrived").click()
    why = row.get_by_role("alert")
    expect(why).to_contain_text("needs no decision by a person")
    expect(why).to_be_focused()
    assert page.url == f"{place.url}/o/words-1/writes"
    anna.assert_accessible()
