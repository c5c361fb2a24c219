"""Figures in a browser: a span is chosen, a table opened, the stock of a SKU looked at, the file downloaded."""

from __future__ import annotations

import csv
from pathlib import Path

from playwright.sync_api import expect

from tests.browser.conftest import TIMEOUT_MILLISECONDS, Person, Place

expect.set_options(timeout=TIMEOUT_MILLISECONDS)


def test_figures_are_read_as_pictures_as_tables_and_as_a_file(anna: Person, place: Place, seller: str) -> None:
    page = anna.open(f"/o/{seller}")
    page.get_by_role("navigation", name="Organization").get_by_role("link", name="Figures").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(seller)
    page.get_by_role("link", name="Year", exact=True).click()
    picture = page.get_by_role("img", name="Orders", exact=False).first
    expect(picture).to_be_visible()
    figure = page.locator("figure#orders")
    expect(figure).to_contain_text(f"{place.bm.get_figures(seller, span='year').total().orders} orders")
    figure.locator("summary").click()
    expect(figure.get_by_role("row")).to_have_count(13)
    anna.assert_accessible()
    sku = page.get_by_role("table").last.get_by_role("link").first
    name = sku.inner_text()
    sku.click()
    expect(page.get_by_role("heading", name=f"Stock of {name}")).to_be_visible()
    with page.expect_download() as coming:
        page.get_by_role("link", name="Download CSV").click()
    file = Path(coming.value.path())
    assert coming.value.suggested_filename.startswith("figures-year-")
    rows = [*csv.DictReader(file.read_text().splitlines(), delimiter=";")]
    assert sum(int(row["orders"]) for row in rows) == place.bm.get_figures(seller, span="year").total().orders
    anna.assert_accessible()
