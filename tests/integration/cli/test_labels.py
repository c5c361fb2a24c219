"""`backmarket labels`, as people and programs use it."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from backmarket.cli.app import app
from backmarket.labels.engine import run_slice
from backmarket.sandbox.api.label_files import label_pdf
from backmarket.settings import Settings
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop, environment

ORG = "auth0|1"


@pytest.fixture
def shop(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Shop]:
    """Twelve deliveries, whose labels are stored but for one that is not there."""
    with fresh_sandbox(limit=100_000) as sandbox:
        shop = Shop(settings.model_copy(update={"rate_limit": 100_000}), sandbox.control, ("deliveries", "returns"))
        shop.sell(ORG, orders=30, deliveries=12)
        shop.sync(ORG, "deliveries")
        sandbox.control.add_fault("early_404", operation="deliveries.label", count=1)
        run_slice(shop.services, ORG)
        for name, value in environment(shop.settings).items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        yield shop
        shop.services.close()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["labels", *arguments])


def document(*arguments: str) -> Any:
    result = run(*arguments, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    return json.loads(result.stdout)


def missing(shop: Shop) -> int:
    return int(shop.one("SELECT shipment_id FROM backmarket.labels WHERE state = 'wanted'"))


def stored(shop: Shop) -> int:
    return int(shop.one("SELECT min(shipment_id) FROM backmarket.labels WHERE state = 'stored'"))


def test_the_list_says_what_is_where_and_why_not(shop: Shop) -> None:
    (waiting,) = document("list", ORG, "--state", "wanted")["items"]
    assert (waiting["shipment_id"], waiting["tries"], waiting["error_code"]) == (missing(shop), 1, "not_found")
    assert "url" not in waiting
    shown = run("list", ORG).stdout
    assert f"deliveries  {missing(shop)}   wanted" in shown
    assert "The API does not know this" in shown
    assert len(shown.splitlines()) == 1 + shop.one("SELECT count(*) FROM backmarket.labels")
    page = document("list", ORG, "--limit", "2")
    assert document("list", ORG, "--cursor", page["next_cursor"])["items"][0] not in page["items"]
    assert "No such label" in run("list", ORG, "--resource", "returns").stderr
    assert run("list", ORG, "--state", "gone").exit_code == 2
    assert run("list", "nobody").exit_code == 3


def test_a_link(shop: Shop) -> None:
    key = stored(shop)
    link = run("url", ORG, str(key)).stdout.strip()
    with urllib.request.urlopen(link) as answer:
        assert answer.read() == label_pdf(key, 2000)
    assert document("url", ORG, str(key), "--expires", "2h")["expires"] == 7200
    assert run("url", ORG, str(key), "--expires", "8d").exit_code == 2
    late = run("url", ORG, str(missing(shop)))
    assert (late.exit_code, late.stdout) == (1, "")
    assert "is not stored yet" in late.stderr
    assert run("url", ORG, str(key), "--return").exit_code == 3


def test_a_file(shop: Shop, tmp_path: Path) -> None:
    key = stored(shop)
    assert run("download", ORG, str(key)).exit_code == 0
    file = tmp_path / f"{key}.pdf"
    assert file.read_bytes() == label_pdf(key, 2000)
    again = run("download", ORG, str(key))
    assert again.exit_code == 2
    assert "--force" in again.stderr
    file.write_text("old")
    assert document("download", ORG, str(key), "--force")["file"] == file.name
    assert file.read_bytes() == label_pdf(key, 2000)
    assert run("download", ORG, str(key), "--to", "-").stdout_bytes == label_pdf(key, 2000)
    assert run("download", ORG, str(key), "--to", "-", "--json").exit_code == 2
    late = run("download", ORG, str(missing(shop)), "--timeout", "0.1")
    assert late.exit_code == 6
    assert "queue 'labels'" in late.stderr
    assert [each.name for each in tmp_path.iterdir()] == [file.name]


def test_a_delivery_is_shown_with_its_label(shop: Shop) -> None:
    key = stored(shop)
    shown = CliRunner().invoke(app, ["deliveries", "show", ORG, str(key), "--json"])
    assert json.loads(shown.stdout)["stored_label"]["object_key"] == f"labels/auth0%7C1/deliveries/{key}.pdf"
    assert (
        f"labels/auth0%7C1/deliveries/{key}.pdf"
        in CliRunner().invoke(app, ["deliveries", "show", ORG, str(key)]).stdout
    )


def test_fetching_what_waits(shop: Shop) -> None:
    assert document("fetch", ORG) == {"due": 1}
    run_slice(shop.services, ORG)
    assert "No label is missing" in run("fetch", ORG).stdout


def test_a_sweep(shop: Shop) -> None:
    known = shop.one("SELECT count(*) FROM backmarket.labels WHERE state = 'stored'")
    shop.services.bucket.delete([str(shop.one("SELECT min(object_key) FROM backmarket.labels"))])
    assert document("sweep") == {"objects": known - 1, "deleted": 0, "lost": 1}
    assert f"{known - 1} objects compared" in run("sweep").stdout
