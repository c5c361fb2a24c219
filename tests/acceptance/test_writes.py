"""Writes with real beat, dispatcher and workers: ahead of syncs, without Redis's memory, and by the command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from typer.testing import CliRunner

from backmarket import BackMarket
from backmarket.cli.app import app
from backmarket.sandbox.api.label_files import label_pdf
from backmarket.settings import Settings
from backmarket.standalone.fleet import Fleet
from backmarket.standalone.pools import Pool
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop, environment
from tests.support.waiting import PATIENCE_SECONDS, wait_until

ORG = "auth0|1"
LIMIT, WINDOW = 20, 4.0
BEAT_AND = (Pool("dispatch", ("dispatch",), 1), Pool("sync", ("orders", "listings"), 4))
WRITES = Pool("writes", ("writes",), 4)


@pytest.fixture
def shop(settings: Settings) -> Iterator[Shop]:
    with fresh_sandbox(limit=LIMIT, window=WINDOW, latency=0.05) as sandbox:
        changes = {"rate_limit": LIMIT, "rate_window": WINDOW, "request_deadline": 5.0}
        shop = Shop(settings.model_copy(update=changes), sandbox.control, ("orders", "listings"))
        shop.sell(ORG, orders=20_000, listings=10)
        yield shop
        shop.services.close()


@pytest.fixture
def bm(shop: Shop) -> Iterator[BackMarket]:
    with BackMarket(shop.settings) as bm:
        yield bm


@pytest.mark.slow
def test_a_write_goes_ahead_of_a_sync_that_uses_the_whole_limit(shop: Shop, bm: BackMarket, tmp_path: Path) -> None:
    listing = shop.sandbox.truth(ORG, "listings")[0]["id"]
    bm.fetch_listing(ORG, listing)
    with Fleet(environment(shop.settings), directory=tmp_path, workers=(*BEAT_AND, WRITES)) as fleet:
        fleet.wait_ready()
        wait_until(lambda: shop.sandbox.stats().count("orders.list") > 20, "the sync uses the whole limit")
        meanwhile = []
        for number in range(2):
            before = shop.sandbox.stats().count("orders.list")
            bm.update_listing(ORG, listing, quantity=number).wait(PATIENCE_SECONDS)
            meanwhile.append(shop.sandbox.stats().count("orders.list") - before)
        running = bm.get_connection_status(ORG).resources["orders"]
        assert running.last_success_at is None, "the sync went on all the while"
    assert max(meanwhile) <= 3 * LIMIT, f"requests of the sync while a write waited: {meanwhile}"
    assert shop.sandbox.stats().violations == 0


@pytest.mark.slow
def test_a_pending_write_survives_the_loss_of_redis(shop: Shop, bm: BackMarket, tmp_path: Path) -> None:
    order = shop.sandbox.truth(ORG)[0]["order_id"]
    bm.fetch_order(ORG, order)
    handle = bm.upload_order_invoice(ORG, order, content=label_pdf(1, 900))
    with redis.Redis.from_url(shop.settings.need("redis_url")) as client:
        assert client.llen("writes") == 1
        client.flushdb()
    shop.execute("UPDATE backmarket.schedule SET enabled = false")
    shop.execute("UPDATE backmarket.work SET nudged_until = now() - interval '1 s'")
    shop.services.limiter.skip_recovery()
    with Fleet(environment(shop.settings), directory=tmp_path, workers=(BEAT_AND[0], WRITES)) as fleet:
        fleet.wait_ready()
        assert handle.wait(PATIENCE_SECONDS).requests == 1
    assert len(shop.sandbox.truth(ORG, "invoices")) == 1


@pytest.mark.slow
def test_by_the_command(shop: Shop, bm: BackMarket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.execute("UPDATE backmarket.schedule SET enabled = false")
    row = next(one for one in shop.sandbox.truth(ORG) if one["state"] not in {0, 8})
    line = row["orderlines"][0] | {"state": 1, "quantity": 1, "imei": None, "serial_number": ""}
    order, line_id = str(row["order_id"]), str(line["id"])
    shop.sandbox.change(ORG, modify=1, ids=[row["order_id"]], fields={"state": 1, "orderlines": [line]})
    listing = shop.sandbox.truth(ORG, "listings")[0]
    bm.fetch_order(ORG, row["order_id"])
    bm.fetch_listing(ORG, listing["id"])
    invoice = tmp_path / "invoice.pdf"
    invoice.write_bytes(label_pdf(1, 900))
    shop.sandbox.add_fault("close", operation="orders.invoice", count=1)
    cli = Command(shop, monkeypatch)
    with Fleet(environment(shop.settings), directory=tmp_path, workers=(BEAT_AND[0], WRITES)) as fleet:
        fleet.wait_ready()
        assert cli.document("orders", "update", ORG, order, "--state", "accepted", "--idempotency-key", "k")["outcome"]
        shipped = ("--state", "3", "--tracking-number", "TRACK-1", "--shipper", "DHL")
        assert "Done: Back Market confirmed it" in cli("orders", "update", ORG, order, *shipped)[1]
        assert cli("orderlines", "update", ORG, line_id, "--imei", "490154203237518")[0] == 0
        assert cli("listings", "update", ORG, "--sku", listing["sku"], "--price", "99.90", "--set", "comment=")[0] == 0
        lost = cli("orders", "invoice", ORG, order, str(invoice))
        assert lost[0] == 1
        assert "writes retry" in lost[2]
        (unknown,) = cli.document("writes", "list", ORG, "--state", "unknown")["items"]
        assert "request" not in unknown
        assert " you " in cli("writes", "list", ORG, "--state", "unknown")[1]
        number = str(unknown["id"])
        assert cli("writes", "retry", ORG, number)[0] == 2, "nobody to ask"
        assert cli("writes", "retry", ORG, number, "--yes")[0] == 0
        assert cli.document("writes", "show", ORG, number, "--personal")["request"]["filename"] == "invoice.pdf"
        assert cli("writes", "settle", ORG, number, "--arrived", "--yes")[0] == 2
        assert cli("writes", "show", ORG, "999")[0] == 3
        assert cli("orders", "update", ORG, "1", "--state", "2")[0] == 3
        refused = cli("orders", "update", ORG, order, "--state", "2")
        assert refused[0] == 2
        assert "new_state" in refused[2]
        assert cli("listings", "update", ORG, listing["id"], "--set", "colour=red")[0] == 2
    assert "TRACK-1" not in cli("writes", "list", ORG)[1]
    shown = shop.sandbox.truth(ORG, "listings")[0]
    assert (shown["price"], shown["comment"]) == ("99.90", None)
    assert cli("listings", "update", ORG, listing["id"], "--quantity", "1", "--timeout", "1")[0] == 6
    assert cli("listings", "update", ORG, listing["id"], "--quantity", "1", "--no-wait")[0] == 0


class Command:
    """The command, with the settings of this test."""

    def __init__(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in environment(shop.settings).items():
            monkeypatch.setenv(name, value)

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        ran = CliRunner().invoke(app, arguments)
        return ran.exit_code, ran.stdout, ran.stderr

    def document(self, *arguments: str) -> Any:
        code, out, errors = self(*arguments, "--json")
        assert (code, errors) == (0, ""), errors
        return json.loads(out)
