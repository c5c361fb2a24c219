"""`backmarket find`, as people and programs use it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from backmarket.cli.app import app
from backmarket.sandbox.control.client import SandboxControl
from backmarket.settings import Settings
from tests.support.sellers import Shop, environment

ORG = "auth0|1"


@pytest.fixture
def shop(settings: Settings, sandbox: SandboxControl, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    shop = Shop(settings, sandbox)
    shop.sell(ORG, orders=10)
    shop.sync(ORG)
    for name, value in environment(shop.settings).items():
        monkeypatch.setenv(name, value)
    yield shop
    shop.services.close()


def test_what_is_found_is_told_with_its_reason_and_without_personal_data(shop: Shop) -> None:
    number, name = shop.execute("SELECT order_id, shipping_address ->> 'lastName' FROM backmarket.orders LIMIT 1")[0]
    shown = CliRunner().invoke(app, ["find", str(number)]).stdout
    assert ORG in shown
    assert "order number" in shown
    by_name = CliRunner().invoke(app, ["find", "-", "--json"], input=f"{name}\n").stdout
    hit = next(each for each in json.loads(by_name)["orders"] if each["row"]["order_id"] == number)
    assert hit["matched_by"] == ["name"]
    assert "shipping_address" not in hit["row"]
    assert name not in by_name
    personal = CliRunner().invoke(app, ["find", str(number), "--json", "--personal"]).stdout
    assert json.loads(personal)["orders"][0]["row"]["shipping_address"]["lastName"] == name
    assert "Nothing matches." in CliRunner().invoke(app, ["find", "nothing-at-all"]).stderr
    assert CliRunner().invoke(app, ["find", "x", "--limit", "0"]).exit_code == 2
