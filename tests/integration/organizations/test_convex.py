"""Leaving the Convex component: an export of its tables, a sync, and the proof that nothing is missing."""

from __future__ import annotations

import json
import re
import zipfile
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from backmarket import BackMarket
from backmarket.cli.app import app
from backmarket.errors import InvalidArgument
from backmarket.organizations.convex_import import Compared
from tests.support.convex_exports import ROOT, TABLES, write_export
from tests.support.sellers import Shop, environment

TOKEN = "token-of-the-seller"
PDF = b"%PDF-1.4 as the component had stored it"


def rows(shop: Shop, org: str, table: str, key: str, theirs: str) -> list[dict[str, Any]]:
    """The truth as the component stores it: whole numbers are floats."""
    found = (row[theirs] for row in shop.sandbox.truth(org, table))
    return [{"organizationId": org, key: float(each) if isinstance(each, int) else each} for each in found]


@pytest.fixture
def documents(shop: Shop, org: str) -> dict[str, list[dict[str, Any]]]:
    shop.sandbox.add_seller(org, TOKEN, orders=60, hidden=4, listings=20, deliveries=12, returns=6)
    connection = {
        "organizationId": org,
        "apiKey": TOKEN,
        "enabled": True,
        "locale": "de-de",
        "baseUrl": shop.sandbox.url,
    }
    return {
        "connections": [connection],
        "settings": [{"syncOrdersCronEnabled": True, "syncListingsCronEnabled": False}],
        "orders": rows(shop, org, "orders", "orderId", "order_id"),
        "listings": rows(shop, org, "listings", "listingId", "id"),
        "deliveries": rows(shop, org, "deliveries", "shipmentId", "shipmentId"),
        "returns": rows(shop, org, "returns", "shipmentId", "shipmentId"),
    }


def labelled(shop: Shop, org: str) -> list[int]:
    return [row["shipmentId"] for row in shop.sandbox.truth(org, "deliveries") if row["labelUrl"]]


def test_all_is_taken_over_and_proved(
    shop: Shop, org: str, documents: dict[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    taken, odd, *others = labelled(shop, org)
    files = {taken: "pdf", odd: "page"}
    for delivery in documents["deliveries"]:
        delivery["labelStorageId"] = files.get(int(delivery["shipmentId"]))
    invoiced = documents["orders"][0]
    invoiced["invoiceUploadedAt"] = 1_760_000_000_123.0
    documents["orders"].append({"organizationId": org, "orderId": 17.0})
    documents["orders"].append({"organizationId": "never connected", "orderId": 18.0})
    file = write_export(tmp_path / "snapshot.zip", documents, {"pdf.pdf": PDF, "page": b"<html>not found"})
    with BackMarket(shop.settings) as bm:
        first = bm.import_convex(file)
        assert (first.connections.connected, first.connections.refused, first.complete) == (1, [], False)
        assert first.resources["listings"] == Compared(exported=20, waiting=20)
        assert not bm.get_schedule()["listings"].enabled
        assert bm.get_connection_status(org).connection.locale == "de-de"

        for resource in ("orders", "listings", "deliveries", "returns"):
            shop.sync(org, resource)
        second = bm.import_convex(file)
        # the hidden ones, which no list shows, were asked for by their ids
        assert second.resources["orders"] == Compared(exported=66, stored=64, gone=1, waiting=1)
        assert second.resources["deliveries"] == Compared(exported=12, stored=12)
        assert (second.invoices, second.labels) == (1, 1)
        order = bm.get_order_by_id(org, int(invoiced["orderId"]))
        assert order is not None
        assert order.invoice_uploaded_at == datetime.fromtimestamp(1_760_000_000.123, UTC)
        assert stored(shop, bm, org, taken) == PDF
        assert stored(shop, bm, org, odd).startswith(b"%PDF-")
        assert stored(shop, bm, org, others[0]).startswith(b"%PDF-")

        documents["orders"].pop()
        third = bm.import_convex(write_export(tmp_path / "again.zip", documents, {"pdf.pdf": PDF}))
        assert (third.complete, third.connections.unchanged, third.invoices, third.labels) == (True, 1, 0, 0)


def stored(shop: Shop, bm: BackMarket, org: str, shipment_id: int) -> bytes:
    label = bm.get_label(org, "deliveries", shipment_id)
    assert label
    assert label.object_key
    with shop.services.bucket.get(label.object_key) as content:
        return b"".join(content.chunks)


def test_what_cannot_be_asked_for_is_missing_until_it_can(
    shop: Shop, org: str, documents: dict[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    file = write_export(tmp_path / "snapshot.zip", documents)
    with BackMarket(shop.settings) as bm:
        bm.import_convex(file)
        for resource in ("orders", "listings", "deliveries", "returns"):
            shop.sync(org, resource)
        shop.sandbox.add_fault("status", status=400, operation="orders.get")
        report = bm.import_convex(file)
        assert (report.resources["orders"].missing, report.complete) == (4, False)
        shop.sandbox.remove_faults()
        assert bm.import_convex(file).complete


def test_rows_without_a_usable_id_are_missing(shop: Shop, tmp_path: Path) -> None:
    ids: list[Any] = [None, "x", 1e300, -1.0, 2.0**60]
    odd: dict[str, list[dict[str, Any]]] = {
        "orders": [{"organizationId": "o", "orderId": each, "invoiceUploadedAt": 1e300} for each in ids],
        "listings": [{"organizationId": "o", "listingId": each} for each in ids],
        "returns": [{"organizationId": "nul\0", "shipmentId": 1.0}, {}],
    }
    with BackMarket(shop.settings) as bm:
        report = bm.import_convex(write_export(tmp_path / "snapshot.zip", odd))
    assert [each.missing for each in report.resources.values()] == [5, 5, 0, 2]


def test_connections_without_a_key_or_disabled_are_named_and_nothing_is_done(
    shop: Shop, org: str, documents: dict[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    (connection,) = documents["connections"]
    documents["connections"] += [
        {**connection, "organizationId": "disabled", "enabled": False},
        {"organizationId": "without a key", "enabled": True},
        {**connection, "organizationId": "elsewhere", "baseUrl": "https://elsewhere.example"},
        connection,
    ]
    with BackMarket(shop.settings) as bm:
        report = bm.import_convex(write_export(tmp_path / "snapshot.zip", documents), dry_run=True)
        assert report.connections.connected == 1
        assert [(each.row, each.code) for each in report.connections.refused] == [
            (2, "connection_disabled"), (3, "invalid_argument"), (4, "invalid_argument"), (5, "invalid_argument"),
        ]  # fmt: skip
        assert not any(TOKEN in each.reason for each in report.connections.refused)
        assert shop.one("SELECT count(*) FROM backmarket.connections") == 0


def test_another_file_is_refused_with_the_reason(shop: Shop, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.zip"
    with BackMarket(shop.settings) as bm:
        with pytest.raises(InvalidArgument, match="cannot be read: No such file"):
            bm.import_convex(wrong)
        wrong.write_bytes(b"PK not really")
        wrong.chmod(0o600)
        with pytest.raises(InvalidArgument, match="not a ZIP file, or is damaged"):
            bm.import_convex(wrong)
        write_export(wrong, {"orders": []}, root="elsewhere/")
        with zipfile.ZipFile(wrong, "a") as archive:
            for table in TABLES:
                archive.writestr(f"{ROOT}{table}/documents.jsonl", "{}\n")
        with pytest.raises(InvalidArgument, match="are in this file 2 times"):
            bm.import_convex(wrong)
        write_export(wrong, {}).chmod(0o644)
        with pytest.raises(InvalidArgument, match="Other users can read this file"):
            bm.import_convex(wrong)
        with zipfile.ZipFile(wrong, "w") as archive:
            for table in TABLES:
                archive.writestr(f"{table}/documents.jsonl", "not JSON\n")
        wrong.chmod(0o600)
        with pytest.raises(InvalidArgument, match=r"Line 1 of connections/documents\.jsonl in the export is not"):
            bm.import_convex(wrong)


def test_the_command_says_what_waits_until_all_is_there(
    shop: Shop, org: str, documents: dict[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    command = ["connections", "import-convex", str(write_export(tmp_path / "snapshot.zip", documents))]
    run = partial(CliRunner().invoke, app, env=environment(shop.settings))
    tried = run([*command, "--dry-run"])
    assert (tried.exit_code, "1 would be connected" in tried.output) == (0, True)
    first = run(command)
    assert first.exit_code == 1
    assert re.search(r"listings +20 +0 +0 +20 +0\n", first.output)
    for resource in ("orders", "listings", "deliveries", "returns"):
        shop.sync(org, resource)
    last = run([*command, "--json"])
    assert last.exit_code == 0
    assert json.loads(last.stdout)["complete"] is True
