"""Messages of clients that are not ours: a sync, and a bulk file, by name."""

from __future__ import annotations

import io
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import redis

from backmarket.bulk import reports
from backmarket.messages import SYNC_ORDERS
from backmarket.resources import RESOURCES
from backmarket.settings import Settings
from backmarket.standalone.fleet import Fleet
from tests.support.bad_messages import message
from tests.support.bulk_files import as_csv
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop, environment
from tests.support.waiting import PATIENCE_SECONDS, wait_until

ORG = "auth0|1 é'"
KEY = "uploads/spring.csv"

NODE = """
const celery = require('celery-node');
(async () => {
  const [url, queue, task, args, kwargs] = process.argv.slice(1);
  const client = celery.createClient(url, url, queue);
  await client.isReady();
  client.sendTask(task, JSON.parse(args), JSON.parse(kwargs));
  await new Promise(resolve => setImmediate(resolve));
  await client.disconnect();
})();
"""
PYTHON = """
import json, sys
from celery import Celery
protocol, url, queue, task, args, kwargs = sys.argv[1:]
app = Celery('other', broker=url)
app.conf.task_protocol = int(protocol)
app.send_task(task, args=json.loads(args), kwargs=json.loads(kwargs), queue=queue, ignore_result=True)
"""


@pytest.fixture
def shop(settings: Settings) -> Iterator[Shop]:
    with fresh_sandbox(limit=100_000) as sandbox:
        quick = {"rate_limit": 100_000, "bulk_poll_initial_seconds": 0.5, "bulk_poll_max_seconds": 1.0}
        shop = Shop(settings.model_copy(update=quick), sandbox.control, tuple(RESOURCES))
        shop.sell(ORG, token="token", orders=5, listings=5)
        shop.every(3_000_000)
        yield shop
        shop.services.close()


def runs_what_was_sent(shop: Shop, directory: Path, command: Sequence[str], environ: dict[str, str]) -> None:
    """A sync and a bulk file, sent by the command."""

    def send(queue: str, task: str, args: Sequence[str], kwargs: dict[str, object]) -> None:
        sent = [*command, url, queue, task, json.dumps(args), json.dumps(kwargs)]
        subprocess.run(sent, check=True, env={**os.environ, **environ}, timeout=PATIENCE_SECONDS)

    url = shop.settings.need("redis_url")
    with Fleet(environment(shop.settings), directory=directory) as fleet:
        fleet.wait_ready(PATIENCE_SECONDS)
        wait_until(lambda: shop.one("SELECT count(*) FROM backmarket.sync_state WHERE runs = 0") == 0, "all is synced")
        before = shop.one("SELECT runs FROM backmarket.sync_state WHERE resource = 'orders'")
        send("orders", SYNC_ORDERS, [ORG], {})
        wait_until(
            lambda: shop.one("SELECT runs FROM backmarket.sync_state WHERE resource = 'orders'") > before, "a sync ran"
        )
        listing = shop.sandbox.truth(ORG, "listings")[0]
        with io.BytesIO(as_csv([{"sku": listing["sku"], "quantity": 77}])) as file:
            reports.store(shop.services, KEY, file)
        send("bulk", "backmarket.submit_bulk", [ORG, KEY], {"idempotency_key": "spring", "max_age": 3600})
        wait_until(
            lambda: (
                shop.execute("SELECT state FROM backmarket.bulk_jobs WHERE idempotency_key = 'spring'") == [("done",)]
            ),
            "the job is done",
        )
        assert next(row for row in shop.sandbox.truth(ORG, "listings") if row["id"] == listing["id"])["quantity"] == 77
        assert fleet.died == []
    said = "".join(file.read_text() for file in directory.glob("*.log"))
    assert "message.refused" not in said


def test_a_node_client_s_messages_are_run(shop: Shop, tmp_path: Path) -> None:
    modules = os.environ["TEST_NODE_MODULES"]
    runs_what_was_sent(shop, tmp_path, ["node", "-e", NODE, "--"], {"NODE_PATH": modules})


@pytest.mark.parametrize("protocol", ["1", "2"])
def test_an_older_celery_s_messages_are_run(shop: Shop, tmp_path: Path, protocol: str) -> None:
    python = os.environ["TEST_OLD_CELERY"]
    runs_what_was_sent(shop, tmp_path, [python, "-I", "-c", PYTHON, protocol], {})


def test_rust_s_message_without_delivery_info_is_refused_in_a_line_and_the_next_one_runs(
    shop: Shop, tmp_path: Path
) -> None:
    url = shop.settings.need("redis_url")
    with (
        Fleet(environment(shop.settings), directory=tmp_path) as fleet,
        redis.Redis.from_url(url) as client,
    ):
        fleet.wait_ready(PATIENCE_SECONDS)
        subprocess.run([os.environ["TEST_RUST_SENDER"], url, "orders", ORG], check=True, timeout=PATIENCE_SECONDS)
        wait_until(lambda: "message.refused" in (tmp_path / "sync.log").read_text(), "it is refused")
        before = shop.one("SELECT runs FROM backmarket.sync_state WHERE resource = 'orders'")
        client.lpush("orders", json.dumps(message(SYNC_ORDERS, [ORG])))
        wait_until(
            lambda: shop.one("SELECT runs FROM backmarket.sync_state WHERE resource = 'orders'") > before,
            "the next ran",
        )
        assert fleet.died == []
        wait_until(lambda: client.hlen("unacked") == 0, "nothing of it is kept")
    lines = [json.loads(line) for line in (tmp_path / "sync.log").read_text().splitlines()]
    (refused,) = [line for line in lines if line["event"] == "message.refused"]
    assert (refused["queue"], refused["raised"]) == ("orders", "KeyError")
