"""Who removed a seller, changed a price, refunded, rotated a key: told afterwards by `backmarket audit`."""

from __future__ import annotations

import io
import json
import os
import pwd
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from typer.testing import CliRunner

from backmarket import BackMarket
from backmarket.bulk import reports
from backmarket.cli.app import app
from backmarket.console.access.auth import TRIES_OF_AN_ADDRESS
from backmarket.console.paths import organization as at
from backmarket.errors import BackMarketError, InvalidArgument
from backmarket.settings import Settings
from backmarket.standalone.embedded import Stack
from tests.support.bulk_files import as_csv
from tests.support.console import Visitor, console_settings, opened_shop
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop, environment

ORG = "auth0|1"
KEY = "a-second-key-5f1c"
ME = pwd.getpwuid(os.getuid()).pw_name
CUSTOMER_WORDS = "please send it to my aunt"


@pytest.fixture(scope="module")
def settings(stack: Stack, s3_url: str, shared_url: str) -> Settings:
    return console_settings(stack, shared_url, s3_url)


@pytest.fixture(scope="module")
def shop(settings: Settings) -> Iterator[Shop]:
    with fresh_sandbox(limit=100_000) as server, opened_shop(settings, server.control, ORG) as shop:
        yield shop


@pytest.fixture(autouse=True)
def _empty_trail(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(shop.settings).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LOGNAME", "somebody-else")
    shop.execute("DELETE FROM backmarket.audit")


@pytest.fixture
def bm(shop: Shop) -> Iterator[BackMarket]:
    with BackMarket(shop.settings) as bm:
        yield bm


def told(*options: str) -> list[dict[str, Any]]:
    """What `backmarket audit` prints, the oldest first."""
    result = CliRunner().invoke(app, ["audit", *options, "--json"])
    assert (result.exit_code, result.stderr) == (0, "")
    return list(reversed(json.loads(result.stdout)["items"]))


def who_did(*options: str) -> list[tuple[str | None, ...]]:
    names = ("actor", "proved_by", "action", "organization_id", "outcome")
    return [tuple(each[name] for name in names) for each in told(*options)]


def shipped(shop: Shop, bm: BackMarket) -> tuple[int, str]:
    """An order whose line may be refunded, and the line's SKU."""
    row = shop.sandbox.truth(ORG)[0]
    line = row["orderlines"][0] | {"state": 3, "quantity": 1, "listing": "SKU-0"}
    shop.sandbox.change(ORG, modify=1, ids=[row["order_id"]], fields={"state": 3, "orderlines": [line]})
    return bm.fetch_order(ORG, row["order_id"]).order_id, "SKU-0"


def sku(shop: Shop) -> str:
    return str(shop.sandbox.truth(ORG, "listings")[0]["sku"])


class TestConsole:
    @pytest.fixture
    def anna(self, shop: Shop) -> Iterator[Visitor]:
        visitor = Visitor(shop.settings, client=("192.0.2.7", 4000))
        visitor.log_in()
        yield visitor
        visitor.close()

    def test_a_session_names_the_person_who_logged_in_and_the_address(
        self, shop: Shop, anna: Visitor, bm: BackMarket
    ) -> None:
        shop.sell("seller-1", orders=0)
        shop.execute("DELETE FROM backmarket.audit")
        number, _ = shipped(shop, bm)
        page = f"{at(ORG)}/orders/{number}"
        line = str(bm.get_orderlines(ORG, order_id=number).items[0].orderline_id)
        refund = {"state": "6", "sku": "SKU-0", "line": line, "return_reason": "0", "return_message": CUSTOMER_WORDS}
        anna.do(f"{page}/state", page=page, **refund)
        listing = bm.get_listings(ORG).items[0]
        shown: dict[str, Any] = {"price_shown": str(listing.price), "quantity_shown": str(listing.quantity)}
        path = f"{at(ORG)}/listings/{listing.listing_id}"
        anna.send(path, partial=True, price="123.45", quantity=str(listing.quantity), **shown)
        anna.do("/o/seller-1/key", api_key=KEY)
        anna.do("/o/seller-1/remove", confirm="seller-1")
        by_anna = ("anna", "console login")
        assert who_did() == [
            (*by_anna, "order.refund", ORG, "asked"),
            (*by_anna, "listing.change", ORG, "asked"),
            (*by_anna, "connection.change", "seller-1", "done"),
            (*by_anna, "connection.remove", "seller-1", "done"),
        ]
        assert {each["origin"] for each in told()} == {"192.0.2.7"}
        assert told("--what", "connection.change")[0]["details"]["fields"] == ["api_key"]
        assert told("--what", "listing")[0]["details"]["fields"] == ["currency", "price"]
        text = json.dumps(told())
        assert [each for each in (KEY, CUSTOMER_WORDS, "123.45") if each in text] == []
        assert "anna (console login)" in anna.text(f"{at(ORG)}/writes")
        page = anna.text("/audit?organization=seller-1&actor=anna")
        assert "connection.remove" in page
        assert "192.0.2.7" in page
        assert "order.refund" not in page.partition("Outcome")[2]
        assert anna.get("/audit?from=never").status_code == 422

    def test_what_a_proxy_names_is_told_as_that(self, shop: Shop) -> None:
        trusting = shop.settings.model_copy(
            update={
                "console_proxy_user_header": "X-User",
                "console_proxy_addresses": ("127.0.0.1/32",),
                "console_proxy_operator_group": "ops",
            }
        )
        visitor = Visitor(trusting)
        visitor.http.headers.update({"X-User": "berta", "X-Forwarded-Groups": "ops", "X-Forwarded-For": "192.0.2.9"})
        visitor.http.headers[trusting.console_proxy_groups_header] = "ops"
        visitor.do(f"{at(ORG)}/disable", page=at(ORG))
        visitor.do(f"{at(ORG)}/enable", page=at(ORG))
        visitor.close()
        assert {(each["actor"], each["proved_by"], each["origin"]) for each in told()} == {
            ("berta", "console proxy", "192.0.2.9")
        }

    def test_logins_and_logouts_are_told_and_refused_ones_by_the_minute(self, shop: Shop) -> None:
        visitor = Visitor(shop.settings, client=("192.0.2.8", 4000))
        for name in ("anna", "anna", "my-password-by-mistake", "nobody"):
            assert visitor.log_in(name, "wrong").status_code == 401
        visitor.log_in("otto")
        visitor.send("/logout")
        visitor.send("/logout", page="/login")
        visitor.close()
        names = ("actor", "action", "object_id", "outcome", "code")
        assert [tuple(each[name] for name in names) for each in told()] == [
            (None, "console.login", "anna", "refused", "wrong_password"),
            (None, "console.login", None, "refused", "wrong_password"),
            ("otto", "console.login", "otto", "done", None),
            ("otto", "console.logout", "otto", "done", None),
        ]
        assert {(each["proved_by"], each["origin"]) for each in told()} == {("console login", "192.0.2.8")}
        assert "mistake" not in json.dumps(told())

    def test_an_address_that_has_to_wait_is_told(self, shop: Shop) -> None:
        visitor = Visitor(shop.settings, client=("192.0.2.10", 4000))
        for _ in range(TRIES_OF_AN_ADDRESS):
            visitor.app.state.auth._of_address.reserve("192.0.2.10")
        assert visitor.log_in("anna").status_code == 429
        visitor.close()
        (row,) = told()
        assert (row["action"], row["outcome"], row["code"]) == ("console.login", "refused", "too_many_tries")

    def test_what_a_viewer_may_not_do_is_told_once_a_minute(self, shop: Shop) -> None:
        visitor = Visitor(shop.settings)
        visitor.log_in("otto")
        for _ in range(3):
            assert visitor.send(f"{at(ORG)}/remove", confirm=ORG).status_code == 403
        visitor.close()
        (row,) = told("--what", "console.act")
        assert (row["actor"], row["organization_id"], row["outcome"], row["code"]) == ("otto", ORG, "refused", "role")
        assert row["details"] == {"form": "/o/{organization}/remove"}

    def test_a_viewer_sees_neither_the_trail_nor_a_link_to_it(self, shop: Shop) -> None:
        visitor = Visitor(shop.settings)
        visitor.log_in("otto")
        assert 'href="/audit"' not in visitor.get("/").text
        assert visitor.get("/audit").status_code == 403
        visitor.close()


def test_a_command_names_the_user_of_the_operating_system(shop: Shop, bm: BackMarket) -> None:
    shop.sell("seller-2", orders=0)
    shop.execute("DELETE FROM backmarket.audit")
    number, line_sku = shipped(shop, bm)
    for arguments in (
        ("orders", "update", ORG, str(number), "--state", "6", "--sku", line_sku, "--return-reason", "0", "--no-wait"),
        ("listings", "update", ORG, "--sku", sku(shop), "--price", "120", "--no-wait"),
        ("keys", "rotate"),
        ("connections", "remove", "seller-2", "--yes"),
    ):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, (arguments, result.output)
    assert [each[:3] for each in who_did()] == [
        (ME, "cli", "order.refund"),
        (ME, "cli", "listing.change"),
        (ME, "cli", "keys.rotate"),
        (ME, "cli", "connection.remove"),
    ]
    write = bm.get_writes(ORG).items[0].id
    shown = CliRunner().invoke(app, ["writes", "show", ORG, str(write)])
    assert f"{ME} (cli)" in shown.stdout


def test_an_application_names_its_user(shop: Shop, bm: BackMarket) -> None:
    shop.sell("seller-3", orders=0)
    shop.execute("DELETE FROM backmarket.audit")
    number, line_sku = shipped(shop, bm)
    with bm.acting_as("anna"):
        bm.update_order(ORG, number, 6, sku=line_sku, return_reason=0)
        bm.update_listing(ORG, sku=sku(shop), price="121")
        with bm.acting_as("berta (console login)"):
            bm.rotate_keys()
        bm.upsert_connection("seller-3", KEY, base_url=shop.sandbox.url)
    bm.remove_connection("seller-3")
    assert [each[:3] for each in who_did()] == [
        ("anna", "application", "order.refund"),
        ("anna", "application", "listing.change"),
        ("berta (console login)", "application", "keys.rotate"),
        ("anna", "application", "connection.change"),
        (None, "application", "connection.remove"),
    ]
    assert bm.get_writes(ORG).items[0].asked_by == "anna (application)"
    for name in ("", "x" * 201, "a\nb", "\ud800"):
        with pytest.raises(InvalidArgument, match="1 to 200 printable"):
            bm.acting_as(name)


def test_a_message_is_told_as_unverified(shop: Shop, bm: BackMarket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backmarket.services.current", lambda: shop.services)
    worker = Celery("audited", include=["tasks.bulk", "tasks.labels", "tasks.sync"], set_as_current=False)
    worker.loader.import_default_modules()
    with io.BytesIO(as_csv([{"sku": sku(shop), "price": "77.00"}])) as upload:
        reports.store(shop.services, "uploads/prices.csv", upload)
    shop.execute("UPDATE backmarket.labels SET state = 'unavailable', object_key = NULL")
    with bm.acting_as("anna"):  # what the process around a task says is not the sender's
        worker.tasks["backmarket.submit_bulk"].apply([ORG, "uploads/prices.csv"], throw=True)
        worker.tasks["backmarket.fetch_labels"].apply([ORG], throw=True)
        worker.tasks["backmarket.sync_orders"].apply([ORG], throw=True)
    assert who_did() == [
        (None, "unverified (broker)", "bulk.submit", ORG, "asked"),
        (None, "unverified (broker)", "labels.requeue", ORG, "asked"),
    ]
    job = bm.get_bulk_jobs(ORG).items[0]
    assert job.asked_by == "unverified (broker)"
    shown = CliRunner().invoke(app, ["bulk", "show", ORG, str(job.id)])
    assert "unverified (broker)" in shown.stdout


def test_refused_messages_do_not_fill_the_trail(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backmarket.services.current", lambda: shop.services)
    worker = Celery("flooded", include=["tasks.bulk"], set_as_current=False)
    worker.loader.import_default_modules()
    for name in ("none", ORG):
        with pytest.raises(BackMarketError):
            worker.tasks["backmarket.submit_bulk"].apply([name, "uploads/none.csv"], throw=True)
    assert told() == []


def test_the_export_is_a_line_of_json_each_read_page_by_page(
    shop: Shop, bm: BackMarket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backmarket.cli.audit.EXPORTED_AT_ONCE", 2)
    for _ in range(5):
        bm.rotate_keys()
    result = CliRunner().invoke(app, ["audit", "--export"])
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [each["id"] for each in lines] == [each["id"] for each in reversed(told())]
    assert len(lines) == 5
    assert "keys.rotate" in CliRunner().invoke(app, ["audit"]).stdout
