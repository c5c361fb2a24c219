"""The page for files of listings: preview and columns, the copy with the faults, the template."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from html import unescape
from typing import Any

import pytest

from backmarket import BackMarket
from backmarket.bulk.csv_file.column_map import REASONS
from backmarket.bulk.csv_file.reader import open_source
from backmarket.bulk.formats import FileFormat
from backmarket.console.paths import organization as at
from backmarket.standalone.embedded import Stack
from tests.support import bulk_files
from tests.support.console import Visitor, console_settings, opened_shop, words
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop

ORG = "auth0|files"
BULK = at(ORG, "bulk")
SIGNS: dict[str, Any] = {"decimal": ",", "thousands": ".", "encoding": "cp1252"}


@pytest.fixture(scope="module")
def shop(stack: Stack, s3_url: str, shared_url: str) -> Iterator[Shop]:
    settings = console_settings(stack, shared_url, s3_url, bulk_poll_initial_seconds=0.01)
    with fresh_sandbox(limit=100_000) as server, opened_shop(settings, server.control, ORG) as shop:
        server.control.settings(task_delay=0.0)
        yield shop


@pytest.fixture(autouse=True)
def nothing_remembered(shop: Shop) -> None:
    shop.execute("DELETE FROM backmarket.bulk_formats")


def file(content: bytes | str, name: str = "Bestand März.csv") -> dict[str, Any]:
    data = content.encode("cp1252") if isinstance(content, str) else content
    return {"file": (name, io.BytesIO(data), "text/csv")}


def matched(html: str) -> dict[str, Any]:
    """What the form of a preview sends: its columns, and what each is sent as."""
    selects = re.findall(r"<select id=\"sent-as.*?</select>", html, re.DOTALL)
    chosen = [re.search(r'value="([^"]*)" selected', each) for each in selects]
    names = re.findall(r'name="column" value="([^"]*)"', html)
    return {"column": list(map(unescape, names)), "sent_as": [unescape(each[1]) for each in chosen if each]}


def preview(anna: Visitor, content: bytes | str, **fields: Any) -> str:
    found = anna.send(f"{BULK}/preview", partial=True, files=file(content), **fields)
    assert found.status_code == 200, words(found.text)
    html: str = found.text
    return html


def german(sku: str, *rows: str) -> str:
    return "\r\n".join(["Artikelnummer;Preis;Währung;Menge;Lager", f"{sku};1.229,00;EUR;5;=Köln", *rows, ""])


def skus(bm: BackMarket) -> list[str]:
    return sorted(each.sku for each in bm.get_listings(ORG) if each.sku)


def test_a_file_with_other_names_is_matched_checked_corrected_and_sent(
    shop: Shop, anna: Visitor, bm: BackMarket
) -> None:
    first, second = skus(bm)[:2]
    content = german(first, f"{second};12,50;EUR;viele;")
    html = preview(anna, content, **SIGNS)
    assert "1229.00" in words(html)
    assert re.search(r"viele\s+not understood", words(html))
    form = matched(html)
    assert dict(zip(form["column"], form["sent_as"], strict=True)) == {
        "Artikelnummer": "sku", "Preis": "price", "Währung": "currency", "Menge": "quantity", "Lager": "Lager"
    }  # fmt: skip
    form["sent_as"][-1] = ""
    refused = anna.send(f"{BULK}/check", partial=True, files=file(content), **SIGNS, **form)
    assert "C (Menge)" in words(refused.text) or "D (Menge) viele" in words(refused.text)

    copy = anna.send(f"{BULK}/faults", files=file(content), **SIGNS, **form)
    assert copy.headers["content-disposition"] == "attachment; filename*=UTF-8''Bestand%20M%C3%A4rz-faults.csv"
    header, good, bad, _ = copy.content.decode("cp1252").split("\r\n")
    assert header == f"Artikelnummer;Preis;Währung;Menge;Lager;{REASONS}"
    assert good == f"{first};1.229,00;EUR;5;=Köln;", "a seller's cell stays as it is, also a formula"
    assert bad.startswith(f'{second};12,50;EUR;viele;;"row 3, column D (Menge): ""viele"" is not a number of pieces')

    corrected = copy.content.replace(b"viele", b"7")
    form = matched(preview(anna, corrected, **SIGNS, **form))
    assert form["sent_as"] == ["sku", "price", "currency", "quantity", ""]
    checked = anna.send(f"{BULK}/check", partial=True, files=file(corrected), **SIGNS, **form)
    digest = re.search(r'name="checked" value="([^"]+)"', checked.text)
    assert digest, words(checked.text)
    other = form | {"sent_as": ["sku", "min_price", "currency", "quantity", ""]}
    again = anna.send(BULK, partial=True, files=file(corrected), checked=digest[1], **SIGNS, **other)
    assert again.status_code == 200, "what was chosen since the check is checked first"
    assert bm.get_bulk_jobs(ORG).items == []
    sent = anna.send(BULK, partial=True, files=file(corrected), checked=digest[1], **SIGNS, **form)
    bulk_files.run(shop, ORG, int(sent.headers["hx-redirect"].rpartition("/")[2]))
    truth = {each["sku"]: each for each in shop.sandbox.truth(ORG, "listings")}
    assert (float(truth[first]["price"]), truth[first]["quantity"], truth[second]["quantity"]) == (1229.0, 5, 7)


def test_what_was_chosen_is_there_the_next_time_for_this_seller_in_every_console(
    shop: Shop, anna: Visitor, bm: BackMarket
) -> None:
    content = german("A", "B;12,50;EUR;x;")
    form = matched(preview(anna, content, **SIGNS)) | {"sent_as": ["sku", "min_price", "currency", "quantity", ""]}
    assert "A bad" not in anna.send(f"{BULK}/check", partial=True, files=file(content), **SIGNS, **form).text
    other = Visitor(shop.settings)
    other.log_in()
    page = other.get(BULK).text
    for value in (",", ".", "cp1252"):
        assert f'value="{value}" selected' in page
    assert matched(preview(other, content, **SIGNS)) == form
    without = other.send(f"{BULK}/check", partial=True, files=file(content), **SIGNS)
    assert "1 of 2 lines are bad" in words(without.text), "read as last time, where the form matches nothing"
    other.close()
    shop.sell("another", orders=0, listings=1, deliveries=0, returns=0)
    assert bm.get_listings_file_format("another") == FileFormat()
    assert bm.get_listings_file_format(ORG).columns["preis"] == "min_price"


def test_encoding_and_the_column_of_the_sku_are_asked_for(anna: Visitor) -> None:
    html = preview(anna, "Code;Größe;Menge\r\nA;1;5\r\n")
    assert "Which column is the SKU?" in html
    assert "choose the encoding" in html
    assert matched(html)["column"] == ["Code", "Menge"]
    form: dict[str, Any] = {"column": ["Code"], "sent_as": ["sku"]}
    html = preview(anna, "Code;Größe;Menge\r\nA;1;5\r\n", encoding="cp1252", **form)
    assert "Which column" not in html
    assert matched(html) == {"column": ["Code", "Größe", "Menge"], "sent_as": ["sku", "Größe", "quantity"]}


@pytest.mark.parametrize("path", ["preview", "check"])
def test_what_is_no_list_or_too_large_is_said_in_a_sentence(anna: Visitor, path: str) -> None:
    pdf = anna.send(f"{BULK}/{path}", partial=True, files=file(b"%PDF-1.7\n\x01\x02"))
    assert "neither a CSV file nor an Excel workbook" in pdf.text
    large = anna.http.post(
        f"{BULK}/{path}", content=b"", headers={"Content-Length": str(600 * 1024**2), "HX-Request": "true"}
    )
    assert (large.status_code, "at most 512 MB" in large.text) == (413, True)
    odd = anna.send(f"{BULK}/{path}", partial=True, files=file("sku;price\r\nA;1\r\n"), encoding="klingon")
    assert (odd.status_code, "The encoding is not supported" in odd.text) == (422, True)


def test_without_a_fault_there_is_no_copy(anna: Visitor) -> None:
    assert "No line of the file has a fault" in anna.send(f"{BULK}/faults", files=file("sku;quantity\r\nA;1\r\n")).text
    assert "column names are wrong" in words(anna.send(f"{BULK}/faults", files=file("sku;Menge\r\nA;1\r\n")).text)
    assert anna.send(f"{BULK}/faults").status_code == 422


def test_a_name_of_a_column_is_text(anna: Visitor) -> None:
    html = preview(anna, 'sku;"<script>alert(1)</script>";price\r\nA;"<b>x</b>";1\r\n')
    assert "<script>" not in html
    assert "<b>x" not in html


def test_the_template_has_the_sellers_listings_and_changes_nothing(shop: Shop, anna: Visitor, bm: BackMarket) -> None:
    shop.sync(ORG, "listings")
    answer = anna.get(f"{BULK}/template")
    assert re.fullmatch(r"attachment; filename\*=UTF-8''listings-[\d-]+\.xlsx", answer.headers["content-disposition"])
    assert int(answer.headers["content-length"]) == len(answer.content)
    with open_source(io.BytesIO(answer.content)) as source:
        rows: list[Any] = list(source.records())
    assert sorted(row.cells[0] for row in rows[1:]) == skus(bm)
    checked = anna.send(f"{BULK}/check", partial=True, files=file(answer.content, "listings.xlsx"), skip_unchanged="1")
    assert f"{len(skus(bm))} change nothing and are skipped" in words(checked.text)


def test_a_workbooks_copy_is_a_workbook(anna: Visitor, bm: BackMarket) -> None:
    template = anna.get(f"{BULK}/template").content
    twice: Mapping[str, Any] = {"column": ["quantity"], "sent_as": ["min_price"]}
    wrong = file(template, "listings.xlsx")
    assert "is sent as min_price" in words(anna.send(f"{BULK}/check", partial=True, files=wrong, **twice).text)
    prices: dict[str, Any] = {"column": ["price", "quantity"], "sent_as": ["quantity", ""]}
    copy = anna.send(f"{BULK}/faults", files=file(template, "listings.xlsx"), **prices)
    assert copy.headers["content-disposition"].endswith("listings-faults.xlsx")
    with open_source(io.BytesIO(copy.content)) as source:
        rows: list[Any] = list(source.rows())
    assert rows[0].cells[-1] == REASONS
    assert all("is not a number of pieces" in row.cells[-1] for row in rows[1:] if "." in row.cells[2])
