"""Words and states: who asked for what, for which SKU, when; sandbox sellers; a form that did nothing says why."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from backmarket import BackMarket
from backmarket.standalone.embedded import Stack
from tests.support import bulk_files
from tests.support.console import Visitor, console_settings, opened_shop, words
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop

ORG = "shop-1"
HOME = f"/o/{ORG}"


@pytest.fixture(scope="module")
def shop(stack: Stack, s3_url: str, shared_url: str) -> Iterator[Shop]:
    settings = console_settings(stack, shared_url, s3_url, bulk_poll_initial_seconds=0.01)
    with fresh_sandbox(limit=100_000) as server, opened_shop(settings, server.control, ORG) as shop:
        yield shop


def order_in(shop: Shop, bm: BackMarket, state: int, *, index: int) -> int:
    """An order with one line in this state, stored."""
    row = [each for each in shop.sandbox.truth(ORG) if each["state"] != 8][index]
    line = row["orderlines"][0] | {"state": state, "listing": "SKU-9", "quantity": 1, "imei": None, "serial_number": ""}
    shop.sandbox.change(ORG, modify=1, ids=[row["order_id"]], fields={"state": 1, "orderlines": [line]})
    return bm.fetch_order(ORG, row["order_id"]).order_id


def lost(shop: Shop, write: int) -> None:
    """Nobody knows whether it arrived."""
    shop.execute(
        "UPDATE backmarket.api_writes SET state = 'unknown', due_at = 'infinity', sent_at = now() - interval '1 h',"
        " error = 'The answer was lost.' WHERE id = %s", write
    )  # fmt: skip


def faults(html: str) -> list[str]:
    """The reasons on a page, and which form each stands in; outside of forms it is the top."""
    told = re.findall(r'name="about" value="([^"]*)"><p class="fault" role="alert"[^>]*>(.*?)</p>', html)
    return [f"{name}: {words(text)}" for name, text in told] + re.findall(
        r'class="said bad" role="alert">(.*?)</p>', html
    )


def test_a_form_that_did_nothing_says_why_beside_its_button_and_leaves_the_page(
    shop: Shop, anna: Visitor, bm: BackMarket
) -> None:
    order = order_in(shop, bm, 1, index=0)
    write = bm.update_order(ORG, order, 2).id
    lost(shop, write)
    name = f"write-{write}"
    for page in (f"{HOME}/writes?state=unknown", f"{HOME}/orders/{order}", "/inbox", f"/inbox?seller={ORG}", "/ship"):
        sent = anna.send(f"{HOME}/writes/{write}", page=page, what="explode", back=page, about=name)
        assert sent.headers["location"] == page
        assert faults(anna.get(page).text) == [f"{name}: Choose the outcome."], page
        assert faults(anna.get(page).text) == [], "once"
    bm.settle_write(ORG, write, arrived=False)
    page = f"{HOME}/writes?state=unknown"
    anna.send(f"{HOME}/writes/{write}", page=page, what="arrived", back=page, about=name)
    (why,) = faults(anna.get(page).text)
    assert "needs no decision" in why, "the form is gone: the reason stands at the top"


def test_so_does_a_part_of_a_bulk_file(shop: Shop, anna: Visitor, bm: BackMarket) -> None:
    sku = next(each.sku for each in bm.get_listings(ORG) if each.sku)
    job = bulk_files.submit(shop, ORG, [{"sku": sku, "quantity": 3}])
    shop.execute(
        "UPDATE backmarket.bulk_parts SET state = 'unknown', due_at = 'infinity', sent = 1, sent_at = now() - interval"
        " '1 h' WHERE job_id = %s", job
    )  # fmt: skip
    name = f"part-{job}-1"
    for page in (f"{HOME}/bulk/{job}", "/inbox"):
        anna.send(f"{HOME}/bulk/{job}/parts/1", page=page, outcome="explode", back=page, about=name)
        assert faults(anna.get(page).text) == [f"{name}: Choose the outcome."], page
    assert "Did this line arrive?" in anna.text("/inbox")
    anna.do(f"{HOME}/bulk/{job}/parts/1", outcome="arrived", back="/inbox", about=name)


def test_an_order_s_card_keeps_what_was_typed_and_says_why_beside_its_button(
    shop: Shop, anna: Visitor, bm: BackMarket
) -> None:
    order = order_in(shop, bm, 2, index=1)
    line = bm.get_orderlines(ORG, order_id=order).items[0].orderline_id
    sent = anna.send(
        f"{HOME}/orders/{order}/state", page=f"{HOME}/orders/{order}",
        state="3", line=str(line), tracking_number="1Z999", tracking_url="no link",
    )  # fmt: skip
    assert sent.status_code == 422
    card = sent.text.partition('value="1Z999"')[2].partition("</form>")[0]
    assert re.search(r'<p class="fault" role="alert" tabindex="-1" autofocus>[^<]*</p>\s*<button', card)
    sent = anna.send(f"{HOME}/orders/{order}/lines/{line}", page=f"{HOME}/orders/{order}", imei="123")
    assert sent.status_code == 422
    assert 'value="123"' in sent.text


def test_writes_name_the_sku_and_who_asked(shop: Shop, anna: Visitor, bm: BackMarket) -> None:
    listing = next(each for each in bm.get_listings(ORG) if each.sku)
    sent = anna.send(
        f"{HOME}/listings/{listing.listing_id}", page=f"{HOME}/listings", price=str(listing.price), quantity="8",
        price_shown=str(listing.price), quantity_shown=str(listing.quantity),
    )  # fmt: skip
    assert sent.status_code == 303
    order = order_in(shop, bm, 2, index=2)
    line = bm.get_orderlines(ORG, order_id=order).items[0].orderline_id
    bm.update_orderline(ORG, line, imei="490154203237518")
    bm.update_order(ORG, order, 3, tracking_number="1Z1")
    acts = [each for what in ("listing", "orderline", "order.ship") for each in bm.audit(what=what, limit=1)]
    assert [(each.actor, each.details["sku"]) for each in acts] == [("anna", listing.sku), *[(None, "SKU-9")] * 2]
    page = anna.text(f"{HOME}/writes")
    assert f"by anna (console login) change {listing.sku} : quantity 8" in page
    assert f"register the device of SKU-9 , line {line}" in page
    assert "ship SKU-9 , parcel 1Z1" in page
    history = anna.text(f"{HOME}/orders/{order}")
    assert re.search(r"requested by application: ship SKU-9 , parcel 1Z1", history)
    assert {each.sku for each in bm.get_writes(ORG, order_id=order)} == {"SKU-9"}
    shop.execute("DELETE FROM backmarket.api_writes")


def test_the_history_says_when_it_happened_and_when_it_was_seen(shop: Shop, anna: Visitor, bm: BackMarket) -> None:
    order = order_in(shop, bm, 1, index=3)
    page = anna.text(f"{HOME}/orders/{order}")
    stored = bm.get_order_by_id(ORG, order)
    assert stored is not None
    assert stored.date_modification is not None
    moment = r"\d{4}-\d\d-\d\d \d\d:\d\d UTC"
    there = f"{stored.date_modification:%Y-%m-%d %H:%M} UTC"
    assert re.search(rf"{there} changed at Back Market: .*?seen here {moment}", page)
    assert re.search(rf"created at Back Market seen here {moment}", page)


def test_sandbox_sellers_are_marked_wherever_they_are_listed(shop: Shop, anna: Visitor, bm: BackMarket) -> None:
    shop.execute("UPDATE backmarket.connections SET environment = 'sandbox'")
    shop.execute("UPDATE backmarket.sync_state SET failing_since = now(), failures = 2, error_code = 'server_error'")
    order = order_in(shop, bm, 2, index=4)
    shop.execute("UPDATE backmarket.orders SET state = 3 WHERE order_id = %s", order)
    assert f"{ORG} sandbox orders failing" in anna.text("/")
    for path in (HOME, f"{HOME}/orders", "/ship"):
        assert f"{ORG} sandbox" in anna.text(path) or "sandbox" in anna.text(path).partition(ORG)[2][:200], path
    for what in ("pick", "slips", "labels"):
        sent = anna.send(f"/ship/{what}", page="/ship", order=f"{ORG}/{order}")
        assert f"{order} sandbox" in words(sent.text) or f"{ORG} sandbox" in words(sent.text), what
    shop.execute("UPDATE backmarket.connections SET environment = 'production'")
