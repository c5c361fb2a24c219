"""The page "Figures": charts with their tables, filters in the address, the file, and what is said not to be known."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html import unescape
from urllib.parse import parse_qs, urlsplit

import pytest

from backmarket.console.rendering import DASH
from backmarket.standalone.embedded import Stack
from tests.support.console import Visitor, console_settings, opened_shop, words
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop

ORG = "shop-1"
TODAY = datetime.now(UTC)


@pytest.fixture(scope="module")
def shop(stack: Stack, s3_url: str, shared_url: str) -> Iterator[Shop]:
    settings = console_settings(stack, shared_url, s3_url, figures_time_zone="Europe/Paris")
    with fresh_sandbox(limit=100_000) as server, opened_shop(settings, server.control, ORG) as shop:
        shop.execute("UPDATE backmarket.orders SET date_creation = now() - interval '40 days', state = 8")
        shop.execute("UPDATE backmarket.returns SET date_creation = now() - interval '400 days'")
        rows = (
            "(1, 9, 'fr-fr', 'EUR', 3, 3, '100.00', 'A'), (2, 3, 'fr-fr', 'EUR', 2, 2, '50.50', 'A'),"
            " (3, 9, 'de-de', 'EUR', 2, 4, '70.00', 'B'), (4, 9, 'en-gb', 'GBP', 1, 6, '30.00', '<B>')"
        )
        made = f"(VALUES {rows}) AS v (id, state, market, currency, days, line, price, sku)"
        shop.execute(
            "INSERT INTO backmarket.orders (organization_id, order_id, state, country_code, currency, date_creation,"
            " date_shipping, expected_dispatch_date, raw, content) SELECT %s, id, state, market, currency,"
            " now() - make_interval(days => days),"
            " CASE WHEN state = 9 THEN now() - make_interval(hours => 24 * days - 12) END,"
            f" now() - make_interval(hours => 1), '{{}}', id FROM {made}", ORG
        )  # fmt: skip
        shop.execute(
            "INSERT INTO backmarket.orderlines (organization_id, orderline_id, order_id, state, price, currency,"
            " listing, quantity, raw)"
            f" SELECT %s, id, id, line, price::numeric, currency, sku, 1, '{{}}' FROM {made}", ORG
        )  # fmt: skip
        yield shop


def table_of(anna: Visitor, key: str, path: str = "/figures?span=week") -> dict[str, list[str]]:
    """The table behind a chart: a row by its name."""
    page = anna.get(path)
    assert page.status_code == 200, words(page.text)
    (figure,) = re.findall(rf'<figure class="card figure" id="{key}">(.*?)</figure>', page.text, re.DOTALL)
    rows = re.findall(r"<tr>(.*?)</tr>", figure, re.DOTALL)
    cells = [[unescape(words(each)) for each in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)] for row in rows]
    return {row[0]: row[1:] for row in cells}


def charts(anna: Visitor, path: str) -> list[str]:
    return re.findall(r'<figure class="card figure" id="([^"]+)">', anna.get(path).text)


def column(rows: dict[str, list[str]], number: int) -> list[str]:
    """The values of a column, with anything in them."""
    return [row[number] for row in [*rows.values()][1:] if row[number] not in {"0", "0.00"}]


def test_each_chart_has_its_table(anna: Visitor) -> None:
    orders = table_of(anna, "orders")
    assert orders["Period"] == ["Orders", "Pieces sold", "Not paid"]
    assert len(orders) == 8
    assert column(orders, 0) == ["1", "2", "1"]
    assert column(table_of(anna, "money-EUR"), 0) == ["100.00", "50.50"]
    assert column(table_of(anna, "money-EUR"), 1) == ["70.00"]
    assert column(table_of(anna, "money-GBP"), 2) == ["30.00"]
    assert column(table_of(anna, "losses"), 0) == ["1"]
    assert column(table_of(anna, "deadline"), 0) == ["1", "1", "1"]
    assert column(table_of(anna, "deadline"), 2) == ["1"], "one is overdue"
    assert [each for each in column(table_of(anna, "hours"), 0) if each != DASH] == ["12.0"] * 3
    assert table_of(anna, "markets")["fr-fr"] == ["EUR", "2", "150.50", "0.00", "0.00"]
    assert set(charts(anna, "/figures?span=week")) == {
        "orders", "money-EUR", "money-GBP", "losses", "returns", "deadline", "hours", "markets",
    }  # fmt: skip


def test_the_page_says_what_it_counts_and_whose_days(anna: Visitor) -> None:
    text = anna.text("/figures")
    assert "days of Europe/Paris" in text
    assert "4 orders, 2 pieces sold" in text
    assert "100% of 3 in time, 1 overdue" in text
    assert "(so far)" in text
    assert "currencies are never added" in text
    assert "days of Asia/Tokyo" in anna.text("/figures?zone=Asia/Tokyo")


def test_filters_are_in_the_address(anna: Visitor) -> None:
    assert column(table_of(anna, "orders", "/figures?span=week&market=de-de"), 0) == ["1"]
    assert "money-GBP" not in charts(anna, "/figures?span=week&currency=EUR")
    assert "money-EUR" not in charts(anna, "/figures?span=week&market=en-gb")
    page = anna.get("/figures?span=quarter&currency=EUR&until=2026-01-31").text
    (earlier,) = re.findall(r'<a href="([^"]+)" rel="prev">', page)
    asked = parse_qs(urlsplit(unescape(earlier)).query)
    assert asked == {"span": ["quarter"], "currency": ["EUR"], "until": ["2025-11-02"]}
    (later,) = re.findall(r'<a href="([^"]+)" rel="next">', page)
    assert parse_qs(urlsplit(unescape(later)).query)["until"] == ["2026-05-03"]
    assert 'rel="next"' not in anna.get("/figures").text, "tomorrow is not counted"


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("span=decade", "There is no span"),
        ("until=soon", "is not a date"),
        ("until=0001-01-01", "2000 to 9000"),
        ("zone=Paris", "There is no time zone"),
    ],
)
def test_a_filter_that_is_wrong_is_said(anna: Visitor, query: str, why: str) -> None:
    page = anna.get(f"/figures?{query}")
    assert page.status_code == 422
    assert why in words(page.text)
    assert anna.get(f"/figures/csv?{query}").status_code == 422


def test_the_stock_of_a_seller_and_of_one_sku(anna: Visitor, shop: Shop) -> None:
    assert "Choose a seller in the filters to see stock by SKU." in anna.text("/figures")
    listing = anna.bm.get_listings(ORG).items[0]
    page = anna.get(f"/figures?seller={ORG}")
    assert "<B>" not in page.text, "a SKU is text"
    assert f"{ORG}" in words(page.text)
    stock = table_of(anna, "stock", f"/figures?seller={ORG}&span=week&sku={listing.sku}")
    assert [*stock.values()][-1] == [str(listing.quantity)]
    assert "Nothing of this SKU is listed" in anna.text(f"/figures?seller={ORG}&sku=none")
    assert anna.get("/figures?seller=nobody").status_code == 404


def test_the_file_is_downloaded_with_the_filters_of_the_page(anna: Visitor) -> None:
    page = anna.get(f"/figures?seller={ORG}&span=week").text
    (path,) = re.findall(r'<a href="([^"]+)" download>', page)
    file = anna.get(unescape(path))
    assert file.headers["content-type"] == "text/csv; charset=utf-8"
    assert re.fullmatch(r'attachment; filename="figures-week-[\d-]{10}\.csv"', file.headers["content-disposition"])
    rows = [*csv.DictReader(io.StringIO(file.text), delimiter=";")]
    assert sum(int(row["orders"]) for row in rows) == 4
    assert {row["currency"] for row in rows} == {"EUR", "GBP", ""}
    assert anna.get("/figures/csv?seller=nobody").status_code == 404


def test_what_is_not_known_is_said(anna: Visitor, shop: Shop) -> None:
    assert "The oldest stored order is of" in anna.text("/figures?span=year")
    assert [*table_of(anna, "orders", "/figures?span=year").values()][1] == [DASH] * 3
    assert "never copied completely" not in anna.text("/figures")
    shop.execute("UPDATE backmarket.sync_state SET watermark = NULL WHERE resource = 'orders'")
    assert "The orders of 1 seller were never copied completely" in anna.text("/figures")
    assert "The orders of this seller were never copied completely" in anna.text(f"/figures?seller={ORG}")
    shop.execute("UPDATE backmarket.sync_state SET watermark = now() WHERE resource = 'orders'")


def test_a_viewer_sees_it_and_it_is_linked_from_each_page(shop: Shop) -> None:
    otto = Visitor(shop.settings)
    otto.log_in("otto")
    assert '<a href="/figures">Figures</a>' in otto.get("/").text
    assert f'<a href="/figures?seller={ORG}">Figures</a>' in otto.get(f"/o/{ORG}").text
    assert "Orders by market" in otto.text("/figures")
    otto.close()


def test_days_without_orders_are_zero(anna: Visitor) -> None:
    until = (TODAY - timedelta(days=10)).date()
    assert column(table_of(anna, "orders", f"/figures?span=week&until={until}"), 0) == []
