"""A connection's further markets in the console: chosen, synced, side by side, each price changed in place."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from backmarket import BackMarket
from backmarket.standalone.embedded import Stack
from backmarket.writes.engine.slice import run_slice as run_write_slice
from tests.support.console import Visitor, console_settings, opened_shop, words
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop

ORG = "markets-1"
HOME = f"/o/{ORG}"


@pytest.fixture(scope="module")
def shop(stack: Stack, s3_url: str, shared_url: str) -> Iterator[Shop]:
    settings = console_settings(stack, shared_url, s3_url)
    with fresh_sandbox(limit=100_000) as server, opened_shop(settings, server.control, "another") as shop:
        shop.sell(ORG, orders=0, listings=5, markets=["de-de", "en-gb"])
        for market in ("", "de-de", "en-gb"):
            shop.sync(ORG, "listings", market=market)
        yield shop


def test_a_listing_is_shown_in_all_markets_and_each_price_is_changed(shop: Shop, anna: Visitor, bm: BackMarket) -> None:
    listing = next(each for each in bm.get_listings(ORG) if each.sku)
    page = anna.get(f"{HOME}/listings").text
    rows = re.findall(rf'<tr id="row-({listing.listing_id}[^"]*)"', page)
    assert rows == [str(listing.listing_id), *(f"{listing.listing_id}-{market}" for market in ("de-de", "en-gb"))]
    assert f"Price of {listing.sku} in en-gb" in page
    assert page.count(f'aria-label="Quantity of {listing.sku}') == 1, "the quantity is common"
    assert "GBP" in page
    path = f"{HOME}/listings/{listing.listing_id}?market=de-de"
    before = bm.get_listing_by_id(ORG, listing.listing_id, market="de-de")
    assert before
    wrong = anna.send(path, partial=True, price="cheap", price_shown=str(before.price))
    assert (wrong.status_code, f'id="row-{listing.listing_id}-de-de"' in wrong.text) == (422, True)
    row = anna.send(path, partial=True, price="111,50", price_shown=str(before.price)).text
    polled = re.search(r'hx-get="([^"]+)"', row)
    assert polled
    run_write_slice(shop.services, ORG)
    after = anna.get(polled[1].replace("&amp;", "&")).text
    assert "succeeded confirmed by Back Market" in words(after)
    assert 'value="111.50"' in after
    prices = {each.market: each.price for each in bm.get_listing_markets(ORG, [listing.listing_id])}
    assert prices["de-de"] == Decimal("111.50") != prices["en-gb"]
    assert bm.get_listing_by_id(ORG, listing.listing_id).price == listing.price  # type: ignore[union-attr]
    assert anna.get(f"{HOME}/listings/{listing.listing_id}?market=it-it").status_code == 404


def test_a_file_is_of_the_chosen_market(shop: Shop, anna: Visitor, bm: BackMarket) -> None:
    there = next(each for each in bm.get_listings(ORG, market="en-gb") if each.sku)
    assert '<select name="market"><option value="">fr-fr' in anna.get(f"{HOME}/bulk").text

    def checked(market: str) -> str:
        content = f"sku,price,currency\n{there.sku},{there.price},{there.currency}\n".encode()
        file = {"file": ("a.csv", io.BytesIO(content), "text/csv")}
        answer = anna.send(f"{HOME}/bulk/check", partial=True, files=file, market=market, skip_unchanged="1")
        return words(answer.text)

    assert "1 changes nothing and is skipped" in checked("en-gb")
    assert "changes nothing" not in checked("")
    assert "has no market" in checked("it-it")


def test_markets_are_chosen_and_their_syncs_shown(shop: Shop, anna: Visitor, bm: BackMarket) -> None:
    page = anna.get(HOME).text
    assert "listings in de-de" in words(page)
    assert re.search(r'name="markets" value="de-de" checked', page)
    anna.send(f"{HOME}/sync", resource="listings", market="de-de")
    requested = shop.execute(
        "SELECT market FROM backmarket.sync_state WHERE organization_id = %s AND requested > served", ORG
    )
    assert requested == [("de-de",)]
    kept: dict[str, Any] = {
        "environment": "production",
        "region": "EU",
        "locale": "fr-fr",
        "base_url": shop.sandbox.url,
    }
    assert "The connection is changed" in anna.do(f"{HOME}/market", page=HOME, **kept, markets="en-gb")
    assert bm.get_connection_status(ORG).connection.markets == ["en-gb"]
    refused = anna.send(f"{HOME}/market", **kept, markets="ja-jp")
    assert (refused.status_code, "no locale" in words(refused.text)) == (422, True)
    assert bm.get_connection_status(ORG).connection.markets == ["en-gb"]
    answer = anna.send("/connect", organization="markets-2", api_key="a-key", **kept, markets="nl-nl")
    assert answer.status_code == 303
    assert bm.get_connection_status("markets-2").connection.markets == ["nl-nl"]
