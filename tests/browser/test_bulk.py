"""A file as Excel saves it in Germany, from the page: matched, previewed, corrected, sent."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.browser.conftest import TIMEOUT_MILLISECONDS, Person, Place

expect.set_options(timeout=TIMEOUT_MILLISECONDS)

NAMES = "Artikelnummer;VK brutto;Währung;Menge;Lagerort"


def export(directory: Path, *rows: str) -> Path:
    path = directory / "Bestand.csv"
    path.write_bytes("\r\n".join([NAMES, *rows, ""]).encode("cp1252"))
    return path


def choose(page: Page, path: Path) -> None:
    page.get_by_label("Drop a CSV or Excel file").set_input_files(path)


def looked_at(person: Person) -> None:
    person.assert_accessible()
    person.assert_fits()


def match(page: Page) -> None:
    """Choose encoding, signs and columns, each by what the preview shows."""
    expect(page.get_by_text("Some letters cannot be read")).to_be_visible()
    page.get_by_label("encoding").select_option("cp1252")
    expect(page.get_by_text("Which column is the SKU?")).to_have_count(0)
    page.get_by_label("Column B, VK brutto, is sent as").select_option("price")
    expect(row(page, "VK brutto")).to_contain_text("1.229,00 not understood")
    page.get_by_label("decimal sign").select_option(",")
    page.get_by_label("thousands").select_option(".")
    expect(row(page, "VK brutto")).to_contain_text("1229.00")
    expect(row(page, "VK brutto")).not_to_contain_text("not understood")
    place_of = page.get_by_label("Column E, Lagerort, is sent as")
    place_of.focus()
    place_of.select_option("")
    expect(page.locator("tr.left-out")).to_contain_text("Lagerort")
    expect(place_of).to_be_focused()
    expect(row(page, "Menge")).to_contain_text("viele not understood")


def test_a_choice_outlives_a_preview_that_was_on_its_way(
    visit: Callable[..., Person], place: Place, tmp_path: Path
) -> None:
    place.sell("hurried", orders=1, listings=2, deliveries=0, returns=0)
    anna = visit()
    anna.log_in()
    page = anna.open("/o/hurried/bulk")
    choose(page, export(tmp_path, "A-1;1.229,00;EUR;5;Köln"))
    expect(page.get_by_text("Some letters cannot be read")).to_be_visible()
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/bulk/preview", hold, times=1)
    page.get_by_label("encoding").select_option("cp1252")
    page.wait_for_function("document.querySelector('#reading').classList.contains('htmx-request')")
    page.evaluate(  # the file is read again for each choice, and this one takes its time
        """() => {
            const read = Blob.prototype.arrayBuffer;
            const turn = new Promise((go) => (window.go = go));
            Blob.prototype.arrayBuffer = async function () { await turn; return read.call(this); };
        }"""
    )
    price = page.get_by_label("Column B, VK brutto, is sent as")
    price.select_option("price")
    if page.locator("#reading.htmx-request").count():  # nobody has given it up
        held[0].continue_()
        expect(page.get_by_text("Some letters cannot be read")).to_have_count(0)
    page.evaluate("window.go()")
    expect(page.get_by_text("Some letters cannot be read")).to_have_count(0)
    expect(row(page, "VK brutto")).to_contain_text("1.229,00 not understood")


@pytest.mark.parametrize("width", [1366, 390])
def test_a_german_export_is_matched_previewed_corrected_and_sent(
    visit: Callable[..., Person], place: Place, tmp_path: Path, width: int
) -> None:
    seller = f"exports-{width}"
    place.sell(seller, orders=1, listings=3, deliveries=0, returns=0)
    first, second = sorted(each.sku for each in place.bm.get_listings(seller) if each.sku)[:2]
    anna = visit(viewport={"width": width, "height": 800})
    anna.log_in()
    page = anna.open(f"/o/{seller}/bulk")
    with page.expect_download() as template:
        page.get_by_role("link", name="Download the template with your listings").click()
    assert template.value.suggested_filename.endswith(".xlsx")

    path = export(tmp_path, f"{first};1.229,00;EUR;5;Köln", f"{second};312,50;EUR;viele;Köln")
    choose(page, path)
    match(page)
    looked_at(anna)

    page.get_by_role("button", name="Check the file").click()
    expect(page.locator("#check")).to_contain_text("1 of 2 lines are bad")
    looked_at(anna)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the file with its faults").click()
    assert download.value.suggested_filename == "Bestand-faults.csv"
    copy = tmp_path / "copy.csv"
    download.value.save_as(copy)
    text = copy.read_bytes().decode("cp1252")
    assert f"{first};1.229,00;EUR;5;Köln;\r\n" in text
    assert "row 3, column D (Menge)" in text

    copy.write_bytes(text.replace("viele", "7").encode("cp1252"))
    page.reload()
    choose(page, copy)
    expect(row(page, "VK brutto")).to_contain_text("1229.00")
    expect(page.get_by_label("Column B, VK brutto, is sent as")).to_have_value("price")
    expect(row(page, "What is wrong")).to_contain_text("never sent")
    page.get_by_role("button", name="Check the file").click()
    expect(page.get_by_role("button", name="Send 2 lines")).to_be_visible()
    looked_at(anna)
    page.get_by_role("button", name="Send 2 lines").click()
    expect(page.locator("#job")).to_contain_text("2 of 2 lines")
    truth = {each["sku"]: each for each in place.sandbox.truth(seller, "listings")}
    assert [(float(truth[sku]["price"]), truth[sku]["quantity"]) for sku in (first, second)] == [(1229, 5), (312.5, 7)]
    place.bm.remove_connection(seller)


def test_a_file_that_was_changed_on_the_disk_or_is_too_large_is_said(
    anna: Person, place: Place, seller: str, tmp_path: Path
) -> None:
    page = anna.open(f"/o/{seller}/bulk")
    path = export(tmp_path, "A;1,00;EUR;5;")
    choose(page, path)
    expect(page.get_by_text("The first lines as they are understood")).to_be_visible()
    export(tmp_path, "A;1,00;EUR;5;", "B;1,00;EUR;5;")
    os.utime(path, (0, 0))  # browsers compare whole seconds
    page.get_by_role("button", name="Check the file").click()
    expect(page.get_by_text("The file has changed since you chose it. Choose it again.")).to_be_visible()
    page.locator("input[type=file]").evaluate("field => { field.dataset.most = '10' }")
    choose(page, path)
    expect(page.locator("#check").get_by_text("Split it into smaller files.")).to_be_visible()
    page.get_by_role("button", name="Check the file").click()
    assert place.bm.get_listings_file_format(seller).columns == {}, "it was not sent"


def row(page: Page, name: str) -> Locator:
    return page.get_by_role("row").filter(has=page.get_by_role("rowheader", name=name))
