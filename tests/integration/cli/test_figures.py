"""`backmarket figures`, as people and programs use it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from backmarket.cli.app import app
from backmarket.sandbox.control.client import SandboxControl
from backmarket.settings import Settings
from tests.support.sellers import Shop, environment

ORG = "auth0|1"
WRONG = (
    (["--span", "decade"], 2),
    (["--until", "soon"], 2),
    (["--time-zone", "Paris"], 2),
    (["--csv", "--json"], 2),
    (["nobody"], 3),
)


@pytest.fixture
def shop(settings: Settings, sandbox: SandboxControl, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    shop = Shop(settings, sandbox)
    shop.sell(ORG, orders=2)
    shop.sync(ORG, "orders")
    shop.execute(
        "UPDATE backmarket.orders SET date_creation = now() - interval '1 minute', state = 9, currency = 'EUR',"
        " country_code = 'fr-fr'"
    )
    shop.execute("UPDATE backmarket.orderlines SET state = 3, price = 10, quantity = 1, currency = 'EUR'")
    for name, value in environment(shop.settings).items():
        monkeypatch.setenv(name, value)
    yield shop
    shop.services.close()


def test_figures_for_people_and_for_programs(shop: Shop) -> None:
    lines = shop.execute("SELECT count(*) FROM backmarket.orderlines WHERE removed_at IS NULL")[0][0]
    shown = CliRunner().invoke(app, ["figures", "--span", "week"])
    assert shown.exit_code == 0
    assert "PERIOD" in shown.stdout
    (market,) = [line.split() for line in shown.stdout.splitlines() if line.startswith("fr-fr")]
    assert market == ["fr-fr", "EUR", "2", f"{lines * 10}", "0", "0"]
    shop.execute("UPDATE backmarket.sync_state SET watermark = NULL WHERE resource = 'orders'")
    shown = CliRunner().invoke(app, ["figures", "--span", "week"])
    assert "The orders of 1 organization were never copied completely" in shown.stderr
    found = json.loads(CliRunner().invoke(app, ["figures", ORG, "--json"]).stdout)
    assert (found["span"], found["time_zone"], len(found["periods"])) == ("month", "UTC", 30)
    assert sum(row["orders"] for row in found["rows"]) == 2
    assert sum(each["units"] for each in found["skus"]) == lines
    rows = csv.DictReader(io.StringIO(CliRunner().invoke(app, ["figures", ORG, "--csv"]).stdout), delimiter=";")
    assert sum(int(row["orders"]) for row in rows) == 2

    for arguments, code in WRONG:
        assert CliRunner().invoke(app, ["figures", *arguments]).exit_code == code, arguments
