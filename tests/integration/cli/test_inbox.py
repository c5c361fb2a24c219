"""`backmarket inbox`, as people and programs use it."""

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
    shop.sell(ORG, orders=1)
    for name, value in environment(shop.settings).items():
        monkeypatch.setenv(name, value)
    yield shop
    shop.services.close()


def test_what_waits_is_listed_with_the_command_that_settles_it(shop: Shop) -> None:
    assert "Nothing waits for you." in CliRunner().invoke(app, ["inbox"]).stderr
    shop.execute("UPDATE backmarket.sync_state SET rows_missing = 400")
    shown = CliRunner().invoke(app, ["inbox"]).stdout
    assert "rows_missing" in shown
    assert "orders: 400 rows are gone: `sync --accept-missing`" in shown
    shop.execute("UPDATE backmarket.connections SET unauthorized_at = now(), refused_at = now()")
    (item,) = json.loads(CliRunner().invoke(app, ["inbox", ORG, "--json"]).stdout)["items"]
    assert (item["kind"], item["organization_id"]) == ("key_refused", ORG)
    assert CliRunner().invoke(app, ["inbox", "--limit", "0"]).exit_code == 2
