"""The inbox: what waits for a person, with its reason and its buttons, and gone once it is decided."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from backmarket import BackMarket
from backmarket.standalone.embedded import Stack
from backmarket.status.inbox import InboxKind
from backmarket.writes.engine.slice import run_slice as run_write_slice
from tests.support import bulk_files
from tests.support.console import Visitor, console_settings, opened_shop, words
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop

ORG = "shop-1"


@pytest.fixture(scope="module")
def shop(stack: Stack, s3_url: str, shared_url: str) -> Iterator[Shop]:
    settings = console_settings(stack, shared_url, s3_url, bulk_poll_initial_seconds=0.01)
    with fresh_sandbox(limit=100_000) as server, opened_shop(settings, server.control, ORG) as shop:
        yield shop


@pytest.fixture
def anna(anna: Visitor) -> Visitor:
    assert "Nothing waits for you." in anna.text("/inbox"), "each test leaves nothing behind"
    return anna


def count(anna: Visitor, path: str = "/") -> str:
    """What stands beside the name of the inbox."""
    found = re.search(r'<b id="inbox-count"[^>]*?( hidden)?>(\d+)', anna.get(path).text)
    assert found
    return found[2] + ("" if found[1] is None else " hidden")


def lost_write(shop: Shop, bm: BackMarket) -> int:
    """A change of a listing whose answer was lost, and that reading back cannot settle."""
    listing = next(each for each in bm.get_listings(ORG) if each.sku)
    handle = bm.update_listing(ORG, listing.listing_id, quantity=7)
    shop.execute(
        "UPDATE backmarket.api_writes SET state = 'unknown', due_at = 'infinity', sent_at = now() - interval '1 h',"
        " error = 'The answer was lost.' WHERE id = %s", handle.id
    )  # fmt: skip
    return handle.id


def test_an_unknown_write_waits_on_every_page_until_it_is_settled(shop: Shop, anna: Visitor, bm: BackMarket) -> None:
    assert count(anna) == "0 hidden"
    write = lost_write(shop, bm)
    for path in ("/", "/ship", "/inbox", f"/o/{ORG}", f"/o/{ORG}/orders", f"/o/{ORG}/listings", f"/o/{ORG}/bulk"):
        assert count(anna, path) == "1", path
    assert "1 waits for you" in anna.text("/"), "the seller's light is not green"
    assert "1 waits for you" in anna.text(f"/o/{ORG}/orders")
    text = anna.text("/inbox")
    assert "Did this change arrive?" in text
    assert "The answer was lost." in text
    assert "requested by" in text
    (item,) = bm.get_inbox(ORG)
    assert (item.kind, item.write_id, item.count) == (InboxKind.WRITE, write, 1)
    assert bm.get_inbox_counts([ORG, "other"]) == {ORG: 1}
    assert "Nothing waits for you." in anna.do(f"/o/{ORG}/writes/{write}", what="arrived", back="/inbox")
    assert count(anna) == "0 hidden"
    assert "waits for you" not in anna.text(f"/o/{ORG}")


def test_a_bulk_part_is_settled_from_the_inbox(shop: Shop, anna: Visitor, bm: BackMarket) -> None:
    skus = sorted(each.sku for each in bm.get_listings(ORG) if each.sku)[:2]
    job = bulk_files.submit(shop, ORG, [{"sku": sku, "quantity": 3} for sku in skus])
    shop.execute(
        "UPDATE backmarket.bulk_parts SET state = 'unknown', due_at = 'infinity', sent = 1, sent_at = now(),"
        " error = 'The listings were changed by something else meanwhile.' WHERE job_id = %s", job
    )  # fmt: skip
    text = anna.text("/inbox")
    assert "Did these 2 lines arrive?" in text
    assert "changed by something else" in text
    assert "Nothing waits for you." in anna.do(f"/o/{ORG}/bulk/{job}/parts/1", outcome="arrived", back="/inbox")


def test_labels_given_up_are_fetched_again_while_their_parcels_are_under_way(
    shop: Shop, anna: Visitor, bm: BackMarket
) -> None:
    under_way, arrived = bm.get_deliveries(ORG, limit=2).items
    shop.execute("UPDATE backmarket.deliveries SET date_delivery = NULL WHERE shipment_id = %s", under_way.shipment_id)
    shop.execute("UPDATE backmarket.deliveries SET date_delivery = now() WHERE shipment_id = %s", arrived.shipment_id)
    shop.execute(
        "UPDATE backmarket.labels SET state = 'unavailable', error = 'The host answered 404.'"
        " WHERE shipment_id = ANY(%s)", [under_way.shipment_id, arrived.shipment_id]
    )  # fmt: skip
    text = anna.text("/inbox")
    assert "1 label could not be fetched" in text
    assert "The host answered 404." in text
    said = anna.do(f"/o/{ORG}/inbox", what="fetch_labels", back="/inbox")
    assert "Nothing waits for you." in said
    assert re.search(rf"Workers fetch \d+ labels of {ORG} now.", said)


def test_a_refused_key_comes_first_and_is_tried_again(shop: Shop, anna: Visitor, bm: BackMarket) -> None:
    write = lost_write(shop, bm)
    shop.execute("UPDATE backmarket.connections SET unauthorized_at = now(), refused_at = now()")
    assert [each.kind for each in bm.get_inbox()] == [InboxKind.KEY_REFUSED, InboxKind.WRITE]
    text = anna.text("/inbox")
    assert "Back Market refuses the key" in text
    assert "Enter a new key Try the same key again" in text
    said = anna.do(f"/o/{ORG}/inbox", what="try_key", back="/inbox")
    assert f"Workers try the key of {ORG} now." in said
    anna.do(f"/o/{ORG}/writes/{write}", what="not_arrived", back="/inbox")


@pytest.mark.parametrize(
    ("column", "headline", "what"),
    [
        ("rows_missing", "400 orders are no longer listed", "look_again"),
        ("rows_missing", "400 orders are no longer listed", "take_for_gone"),
        ("rows_rejected", "400 orders could not be stored", "look_again"),
    ],
)
def test_rows_that_are_missing_or_rejected_wait(
    shop: Shop, anna: Visitor, bm: BackMarket, column: str, headline: str, what: str
) -> None:
    of_orders = "organization_id = 'shop-1' AND resource = 'orders'"
    shop.execute(f"UPDATE backmarket.sync_state SET {column} = 400 WHERE {of_orders}")
    text = anna.text("/inbox")
    assert headline in text
    before = shop.one(f"SELECT requested FROM backmarket.sync_state WHERE {of_orders}")
    anna.do(f"/o/{ORG}/inbox", what=what, resource="orders", back="/inbox")
    now, full, accepted = shop.execute(
        f"SELECT requested, full_requested, accept_missing FROM backmarket.sync_state WHERE {of_orders}"
    )[0]
    assert (now, full, accepted) == (before + 1, True, what == "take_for_gone")
    shop.execute(
        f"UPDATE backmarket.sync_state SET {column} = 0, full_requested = false, accept_missing = false"
        f" WHERE {of_orders}"
    )


def test_of_one_seller_has_that_seller_s_alone(shop: Shop, anna: Visitor, bm: BackMarket) -> None:
    write = lost_write(shop, bm)
    shop.sell("shop-2", orders=1)
    assert "Did this change arrive?" in anna.text(f"/inbox?seller={ORG}")
    assert "Nothing waits for you." in anna.text("/inbox?seller=shop-2")
    assert anna.get("/inbox?seller=nobody").status_code == 404
    otto = Visitor(shop.settings)
    otto.log_in("otto")
    assert "It arrived" not in otto.text("/inbox"), "a viewer sees it, and can decide nothing"
    otto.close()
    anna.do(f"/o/{ORG}/writes/{write}", what="retry", back="/inbox")
    run_write_slice(shop.services, ORG)


def test_what_no_button_says_is_refused(anna: Visitor) -> None:
    assert "Choose one of the buttons." in anna.do(f"/o/{ORG}/inbox", what="explode")
    assert words(anna.get("/inbox/count").text) == "0 entries"
