"""What real processes tell of their work, in figures, traces and logs: enough for an operator, nothing of a seller."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from backmarket.settings import Settings
from tests.support.exporter import NAMES, scrape, telling_fleet, values
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop, environment
from tests.support.waiting import wait_until

ORG = "auth0|a-shop-of-somebody"
ALL = ("orders", "listings", "deliveries", "returns")


@contextmanager
def collector() -> Iterator[tuple[str, list[bytes]]]:
    """Takes OTLP over HTTP; gives its address, and what it took."""
    taken: list[bytes] = []

    class Taking(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Taking)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1/traces", taken
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_what_was_done_is_told_and_no_seller_is_named(settings: Settings, tmp_path: Path) -> None:
    with fresh_sandbox(limit=100_000) as sandbox, collector() as (endpoint, traces):
        changes = {"rate_limit": 100_000, "traces_endpoint": endpoint}
        shop = Shop(settings.model_copy(update=changes), sandbox.control, ALL)
        with telling_fleet(environment(shop.settings), tmp_path) as ports:
            shop.sell(ORG, orders=120, deliveries=3)
            synced = "SELECT count(*) FROM backmarket.sync_state WHERE last_success_at IS NOT NULL"
            stored = "SELECT count(*) FROM backmarket.labels WHERE state = 'stored'"
            wait_until(lambda: shop.one(synced) == 4 and shop.one(stored) > 0, "synced, with labels")

            def done() -> float:
                return values(scrape(ports["worker"])).get(
                    ("backmarket_tasks_total", "done backmarket.fetch_labels"), 0
                )

            wait_until(done, "the last task ended")
            texts = {name: scrape(ports[name]) for name in NAMES}
        runs = dict(shop.execute("SELECT resource, started_at::text FROM backmarket.sync_runs"))
        shop.services.close()
    assert_lines_are_bound((tmp_path / "worker.log").read_text(), set(runs))
    worker, deployment = values(texts["worker"]), values(texts["metrics"])
    assert worker["backmarket_rows_total", "created orders"] == 120
    assert worker["backmarket_slices_total", "done orders"] >= 1
    assert worker["backmarket_api_requests_total", "GET 200"] >= 4
    assert worker["backmarket_limiter_wait_seconds_count", ""] >= 4
    assert worker["backmarket_downloads_total", "done"] >= 1
    assert worker["backmarket_store_seconds_count", "orders"] >= 1
    assert deployment["backmarket_sync_organizations", "orders"] == 1
    assert deployment["backmarket_sync_lagging_organizations", "orders"] == 0
    assert deployment["backmarket_reachable", "database"] == 1
    assert values(texts["beat"])["backmarket_heartbeat_age_seconds", ""] < 60
    texts["traces"] = b"".join(traces).decode(errors="replace")
    for name in ("backmarket.sync_orders", "api_request", "download", "store"):
        assert name in texts["traces"]
    for text in texts.values():
        assert "auth0" not in text
        assert "somebody" not in text
        assert f"token-of-{ORG}" not in text


def assert_lines_are_bound(log: str, resources: set[str]) -> None:
    """Each line of a sync is JSON with organization, resource, run and task."""
    lines = [json.loads(line) for line in log.splitlines()]
    slices = [line for line in lines if line["event"] == "sync.slice" and line["end"] == "done"]
    assert {line["resource"] for line in slices} >= resources
    for line in slices:
        assert line["organization"] == ORG
        assert line["task"] == f"backmarket.sync_{line['resource']}"
        assert line["task_id"]
        assert datetime.fromisoformat(line["run"]).tzinfo is not None
