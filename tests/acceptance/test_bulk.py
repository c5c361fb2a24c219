"""Bulk jobs with real processes: each line once, the quota kept and used, many jobs that wait without a worker."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest
from celery import Celery

from backmarket import BackMarket
from backmarket.bulk import reports
from backmarket.settings import Settings
from backmarket.standalone.embedded import Stack
from backmarket.standalone.fleet import Fleet
from backmarket.standalone.pools import Pool
from tests.support.bulk_files import as_csv
from tests.support.large_file import LIMIT, LINES, REFUSED, LargeFile
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop, environment
from tests.support.waiting import PATIENCE_SECONDS, wait_until

ORG = "auth0|1"
MANY = 200
SHORT_WINDOW = 8.0
"""Seconds; the killed job (tests/chaos) has one of 20."""
WORKERS = (Pool("dispatch", ("dispatch",), 1), Pool("bulk", ("bulk",), 4))


@pytest.fixture
def shop(settings: Settings) -> Iterator[Shop]:
    with fresh_sandbox(limit=100_000) as sandbox:
        quick = {
            "rate_limit": 100_000,
            "request_deadline": 5.0,
            "bulk_poll_initial_seconds": 0.5,
            "bulk_poll_max_seconds": 1.0,
        }
        shop = Shop(settings.model_copy(update=quick), sandbox.control, ("listings",))
        yield shop
        shop.services.close()


@pytest.mark.slow
def test_five_thousand_lines_at_two_thousand_in_a_window(shop: Shop, tmp_path: Path) -> None:
    shop.sandbox.settings(sku_lines_limit=LIMIT, sku_lines_window=SHORT_WINDOW, task_delay=0.5)
    shop.restart(sku_lines_limit=LIMIT, sku_lines_window=SHORT_WINDOW)
    shop.sell(ORG, listings=LINES)
    shop.sync(ORG, "listings")
    shop.execute("UPDATE backmarket.schedule SET enabled = false")
    file = LargeFile.of(shop, ORG)
    with (
        Fleet(environment(shop.settings), directory=tmp_path, workers=WORKERS) as fleet,
        BackMarket(shop.settings) as bm,
    ):
        fleet.wait_ready()
        began = monotonic()
        handle = bm.create_or_update_listings(ORG, file.text)
        assert handle.expected_duration.total_seconds() == 2 * SHORT_WINDOW
        handle.wait(PATIENCE_SECONDS)
        took = monotonic() - began
        assert not fleet.died
        wait_until(lambda: handle.status().reported_at, "the report is in the bucket")
    job = file.assert_done_once(shop, ORG, handle)
    sys.stderr.write(f"{LINES} lines in {took:.0f} s, {job.parts} parts; refused: {REFUSED}\n")
    assert took > 2 * SHORT_WINDOW, "the quota was kept"


@pytest.mark.slow
def test_two_hundred_jobs_that_wait_for_back_market_occupy_no_worker(shop: Shop, tmp_path: Path) -> None:
    """One worker, four threads: while 200 tasks go on at Back Market, a job that a message asks for is sent at once."""
    shop.sandbox.settings(task_delay=3600.0)
    shop.restart(bulk_poll_initial_seconds=3600.0, bulk_poll_max_seconds=3600.0)
    names = [f"org|{number}" for number in range(MANY)]
    for name in names:
        shop.sell(name, orders=0, listings=2)
    shop.execute("UPDATE backmarket.schedule SET enabled = false")
    text = as_csv([{"sku": row["sku"], "quantity": 99} for row in shop.sandbox.truth(names[0], "listings")]).decode()
    with (
        Fleet(environment(shop.settings), directory=tmp_path, workers=WORKERS) as fleet,
        BackMarket(shop.settings) as bm,
    ):
        fleet.wait_ready()
        began = monotonic()
        for name in names:
            bm.create_or_update_listings(name, text)
        submitted = "SELECT count(*) FROM backmarket.bulk_parts WHERE state = 'submitted'"
        wait_until(lambda: shop.one(submitted) == MANY, "all of them were sent")
        busy = "SELECT count(*) FROM backmarket.work WHERE lease_until IS NOT NULL"
        wait_until(lambda: shop.one(busy) == 0, "nobody works on any of them")
        sent = monotonic() - began
        slices = (tmp_path / "bulk.log").read_text().count("bulk.slice")
        shop.sell(ORG, orders=0, listings=5)
        shop.execute("UPDATE backmarket.schedule SET enabled = false")
        began = monotonic()
        rows = [{"sku": row["sku"], "quantity": 1} for row in shop.sandbox.truth(ORG, "listings")]
        with io.BytesIO(as_csv(rows)) as upload:
            reports.store(shop.services, "uploads/another.csv", upload)
        with Celery(broker=shop.settings.broker) as stranger:
            options = {"max_age": 3600, "idempotency_key": "mine"}
            stranger.send_task("backmarket.submit_bulk", [ORG, "uploads/another.csv"], options, queue="bulk")
        arrived = "SELECT count(*) FROM backmarket.bulk_parts WHERE organization_id = %s AND state = 'submitted'"
        wait_until(lambda: shop.one(arrived, ORG) == 1, "the job of another was sent")
        after = monotonic() - began
        assert [job.file_name for job in bm.get_bulk_jobs(ORG, idempotency_key="mine")] == ["another.csv"]
        assert not fleet.died
    sys.stderr.write(f"{MANY} jobs sent in {sent:.1f} s, {slices} slices; then another in {after:.2f} s\n")
    assert slices < 2 * MANY, "no slice comes back before the next look at its task"


@pytest.mark.slow
def test_a_file_that_a_message_names_waits_while_the_bucket_is_away(shop: Shop, stack: Stack, tmp_path: Path) -> None:
    shop.sell(ORG, orders=0, listings=2)
    rows = [{"sku": row["sku"], "quantity": 1} for row in shop.sandbox.truth(ORG, "listings")]
    with io.BytesIO(as_csv(rows)) as upload:
        reports.store(shop.services, "uploads/early.csv", upload)
    with (
        Fleet(environment(shop.settings), directory=tmp_path, workers=WORKERS) as fleet,
        BackMarket(shop.settings) as bm,
        Celery(broker=shop.settings.broker) as stranger,
    ):
        fleet.wait_ready()
        stack.s3.stop()
        stranger.send_task("backmarket.submit_bulk", [ORG, "uploads/early.csv"], queue="bulk")
        wait_until(lambda: "task.failed" in (tmp_path / "bulk.log").read_text(), "the worker puts it off")
        assert bm.get_bulk_jobs(ORG).items == []
        stack.s3.start()
        wait_until(lambda: bm.get_bulk_jobs(ORG).items, "the job is written down")
        (job,) = bm.get_bulk_jobs(ORG)
        assert job.file_name == "early.csv"
