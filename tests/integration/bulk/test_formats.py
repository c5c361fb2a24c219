"""How a file is read, from the object and by commands: preview, columns, the copy with the faults, the template."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from backmarket import BackMarket
from backmarket.bulk.csv_file.column_map import REASONS
from backmarket.bulk.formats import FileFormat
from backmarket.cli.app import app
from backmarket.errors import ConnectionNotFound, InvalidArgument
from backmarket.sandbox.control.client import SandboxControl
from tests.conftest import Bucket
from tests.support.bulk_files import opened_shop, run, settings_for
from tests.support.sellers import Shop, environment

EXPORT = "Artikelnummer;Preis;Menge\r\nA;1.229,00;5\r\nWeiß;12,50;viele\r\n".encode("cp1252")


@pytest.fixture
def shop(shared_url: str, redis_url: str, s3: Bucket, sandbox: SandboxControl, org: str) -> Iterator[Shop]:
    with opened_shop(settings_for(shared_url, redis_url, s3), sandbox, org, listings=3) as shop:
        yield shop


@pytest.fixture
def bm(shop: Shop) -> Iterator[BackMarket]:
    with BackMarket(shop.settings) as bm:
        yield bm


@pytest.fixture
def command(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    for name, value in environment(shop.settings).items():
        monkeypatch.setenv(name, value)

    def run_it(exit_code: int, *arguments: str) -> Result:
        result = CliRunner().invoke(app, ["bulk", *arguments])
        assert result.exit_code == exit_code, result.output
        return result

    return run_it


def test_an_application_shows_a_file_has_it_matched_and_gives_the_faults_back(bm: BackMarket, org: str) -> None:
    found = bm.preview_listings_file(org, io.BytesIO(EXPORT), rows=1, encoding="cp1252", decimal=",", thousands=".")
    assert (found.rows, found.columns[1].cells[0].text) == ((2,), "1229.00")
    into = io.BytesIO()
    with bm.prepare_listings_file(
        org, io.BytesIO(EXPORT), encoding="cp1252", decimal=",", thousands=".", columns=found.matching
    ) as prepared:
        assert (prepared.check.lines, prepared.check.bad_lines, prepared.check.is_workbook) == (2, 1, False)
        assert prepared.write_faults(into) == "listings-faults.csv"
    assert into.getvalue().startswith(EXPORT.split(b"\r\n")[0] + f";{REASONS}\r\n".encode())
    with pytest.raises(InvalidArgument, match="Columns are matched by names"):
        bm.check_listings_file(org, "sku;price\nA;1\n", columns={"price": 1})  # type: ignore[dict-item]


def test_columns_are_part_of_what_a_key_names(shop: Shop, bm: BackMarket, org: str) -> None:
    sku = shop.sandbox.truth(org, "listings")[0]["sku"]
    text = f"Artikelnummer;Menge;Lager\n{sku};8;x\n"
    matched = {"artikelnummer": "sku", "menge": "quantity", "lager": ""}
    handle = bm.create_or_update_listings(org, text, columns=matched, idempotency_key="once")
    with pytest.raises(InvalidArgument, match="other options"):
        bm.create_or_update_listings(org, text, columns=matched | {"lager": "note"}, idempotency_key="once")
    run(shop, org, handle.id)
    assert {each["quantity"] for each in shop.sandbox.truth(org, "listings") if each["sku"] == sku} == {8}
    assert [(each.line, each.sku) for each in handle.report()] == [(2, sku)]


def test_the_report_of_skipped_lines_names_the_skus_of_a_matched_column(shop: Shop, bm: BackMarket, org: str) -> None:
    text = "Artikelnummer;Menge\nA;8\nB;viele\n"
    matched = {"artikelnummer": "sku", "menge": "quantity"}
    handle = bm.create_or_update_listings(org, text, columns=matched, skip_bad_lines=True)
    run(shop, org, handle.id)
    assert [(each.line, each.sku) for each in handle.report()] == [(2, "A"), (3, "B")]


def test_a_format_is_remembered_for_its_organization_until_that_is_removed(
    shop: Shop, bm: BackMarket, org: str
) -> None:
    assert bm.get_listings_file_format(org) == FileFormat()
    bm.save_listings_file_format(org, FileFormat(encoding="CP1252", decimal=",", columns={" Preis ": "price"}))
    bm.save_listings_file_format(org, FileFormat(thousands=" ", columns={"Lager": "", "preis": "min_price"}))
    assert bm.get_listings_file_format(org) == FileFormat(thousands=" ", columns={"preis": "min_price", "lager": ""})
    many = {str(number): "" for number in range(499)}
    bm.save_listings_file_format(org, FileFormat(columns=many))
    assert bm.get_listings_file_format(org).columns == many, "those before are given up where they are too many"
    with pytest.raises(ConnectionNotFound):
        bm.save_listings_file_format("nobody", FileFormat())
    for wrong in (
        {"encoding": "klingon"},
        {"decimal": "_"},
        {"columns": {"": "price"}},
        {"columns": many | {"x": "", "y": ""}},
    ):
        with pytest.raises(InvalidArgument):
            FileFormat(**wrong)
    bm.remove_connection(org)
    assert shop.one("SELECT count(*) FROM backmarket.bulk_formats") == 0


def test_commands_show_match_and_copy(command: Callable[..., Result], bm: BackMarket, org: str, tmp_path: Path) -> None:
    export, copy = tmp_path / "export.csv", tmp_path / "faults.csv"
    export.write_bytes(EXPORT)
    signs = ("--encoding", "cp1252", "--decimal", ",", "--thousands", ".")
    shown = command(0, "preview", org, str(export), *signs).stdout
    assert "1229.00" in shown
    assert "viele (?)" in shown
    found: dict[str, Any] = json.loads(command(0, "preview", org, str(export), *signs, "--json").stdout)
    assert found["matching"] == {"Artikelnummer": "sku", "Preis": "price", "Menge": "quantity"}
    columns = ("--column", "artikelnummer=sku", "--column", "Preis=price", "--column", "Menge=quantity")
    command(2, "check", org, str(export), *signs, *columns, "--faults-to", str(copy))
    assert copy.read_bytes().startswith(EXPORT.split(b"\r\n")[0] + f";{REASONS}\r\nA;1.229,00;5;\r\n".encode())
    assert "A name with .csv" in command(
        2, "check", org, str(export), *signs, *columns, "--faults-to", str(tmp_path / "x.xlsx")
    ).output.replace("Give a", "A")
    assert "NAME=FIELD" in command(2, "check", org, str(export), "--column", "Menge").output
    bm.save_listings_file_format(
        org, FileFormat(encoding="cp1252", decimal=",", thousands=".", columns=found["matching"])
    )
    command(0, "check", org, str(export), "--remembered", "--column", "Menge=")
    command(2, "check", org, str(export), "--remembered")


def test_a_command_writes_the_template(command: Callable[..., Result], shop: Shop, org: str, tmp_path: Path) -> None:
    shop.sync(org, "listings")
    path = tmp_path / "listings.xlsx"
    assert "Wrote 3 listings" in command(0, "template", org, "--output", str(path)).stderr
    assert "3 of 3 lines can be sent" in command(0, "check", org, str(path)).stdout
    assert ".xlsx" in command(2, "template", org, "--output", str(tmp_path / "x.csv")).output
    assert "cannot be written" in command(2, "template", org, "--output", str(tmp_path / "no" / "x.xlsx")).output
