"""Workers that are killed or frozen in the middle of a walk: another goes on, and the sleeper writes nothing."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from backmarket.settings import Settings
from backmarket.standalone.fleet import Fleet
from backmarket.standalone.pools import Pool
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop, environment
from tests.support.waiting import PATIENCE_SECONDS, wait_until

ORG = "auth0|1"
LEASE = 8.0
SLOW, QUICK = 1.0, 0.05
"""Seconds of an answer: while a walk must not end by itself, and from then on."""
UNFENCED = Path(__file__).parent / "unfenced"
WORKERS = (Pool("dispatch", ("dispatch",), 1), Pool("one", ("orders",)))


@pytest.fixture
def shop(settings: Settings) -> Iterator[Shop]:
    with fresh_sandbox(limit=100_000, latency=SLOW) as sandbox:
        settings = settings.model_copy(
            update={
                "rate_limit": 100_000,
                "lease_seconds": LEASE,
                "task_budget_pages": 10_000,
                "task_budget_seconds": PATIENCE_SECONDS,
            }
        )
        shop = Shop(settings, sandbox.control)
        yield shop
        shop.services.close()


def start_walk(shop: Shop, fleet: Fleet) -> None:
    """A walk over 20,000 orders is under way in worker `one`, and worker `two` stands by."""
    fleet.wait_ready()
    shop.sell(ORG, orders=20_000)
    wait_until(lambda: next_page(shop) > 60, "the walk is under way")


def next_page(shop: Shop) -> int:
    return int(shop.one("SELECT COALESCE(max(next_page), 0) FROM backmarket.walks"))


def test_after_sigkill_another_worker_goes_on_from_the_checkpoint(shop: Shop, tmp_path: Path) -> None:
    with Fleet(environment(shop.settings), directory=tmp_path, workers=WORKERS) as fleet:
        start_walk(shop, fleet)
        fleet.kill("one")
        before = len(shop.sandbox.requests())
        number = lease_number(shop)
        lease_ends = shop.one("SELECT extract(epoch FROM lease_until)::float8 FROM backmarket.sync_state")
        shop.sandbox.settings(latency=QUICK)
        fleet.start_worker(("orders",), "two")
        wait_until(lambda: lease_number(shop) > number, "the lease is taken over, long before a lost nudge expires")
        taken = shop.one("SELECT extract(epoch FROM last_started_at)::float8 FROM backmarket.sync_state")
        assert lease_ends <= taken, "not before the lease's end"
        wait_until(lambda: shop.one("SELECT last_success_at IS NOT NULL FROM backmarket.sync_state"), "all synced")
    pages = Counter(entry.page for entry in shop.sandbox.requests() if entry.operation == "orders.list")
    again = sum(times - 1 for times in pages.values())
    assert len(pages) == 400
    assert before < 400, "it was killed in the middle"
    assert again <= 96, f"{again} pages were asked for again"  # two windows, and the batch that was being written
    shop.assert_equals_truth(ORG)


def lease_number(shop: Shop) -> int:
    return int(shop.one("SELECT lease_number FROM backmarket.sync_state"))


@pytest.mark.slow
def test_a_worker_that_slept_past_its_lease_writes_nothing(shop: Shop, tmp_path: Path) -> None:
    assert asleep_and_awake(shop, tmp_path) == []


@pytest.mark.slow
def test_without_the_lease_check_the_sleeper_would_write(shop: Shop, tmp_path: Path) -> None:
    """The proof that the test above can fail."""
    assert asleep_and_awake(shop, tmp_path, PYTHONPATH=str(UNFENCED)) != []


def asleep_and_awake(shop: Shop, directory: Path, **sleeper: str) -> list[str]:
    """Freeze a worker beyond its lease, let another finish and the truth move on, then wake it.

    Returns:
        What the sleeper wrote.
    """
    settings = environment(shop.settings) | sleeper
    with Fleet(settings, directory=directory, workers=WORKERS) as fleet:
        start_walk(shop, fleet)
        fleet.kill("one", signal.SIGSTOP)
        shop.sandbox.settings(latency=QUICK)
        fleet.start_worker(("orders",), "two")
        wait_until(lambda: shop.one("SELECT last_success_at IS NOT NULL FROM backmarket.sync_state"), "all synced")
        shop.assert_equals_truth(ORG)
        fleet.kill("two", signal.SIGTERM)
        fleet.wait_exit("two", PATIENCE_SECONDS)
        shop.execute("UPDATE backmarket.schedule SET enabled = false")  # no other slice of the woken worker writes
        before = snapshot(shop)
        fleet.kill("one", signal.SIGCONT)
        wait_until(lambda: ends(directory / "one.log") - {"nothing_to_do"}, "the sleeper's slice ended")
        after = snapshot(shop)
    return [table for table in before if before[table] != after[table]]


def ends(log: Path) -> set[str]:
    """How the slices of a worker ended."""
    events = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{") and line.endswith("}")]
    return {event["end"] for event in events if event["event"] == "sync.slice"}


def snapshot(shop: Shop) -> dict[str, object]:
    """What the sleeper could have changed: every row version of the copies, and the state of the sync."""
    copies = {
        table: shop.execute(
            f"SELECT count(*), max(xmin::text::bigint), sum(hashtext(ctid::text)) FROM backmarket.{table}"
        )
        for table in ("orders", "orderlines", "changes", "walks", "walk_seen", "sync_runs")
    }
    return {
        **copies,
        "sync_state": shop.execute("SELECT watermark, served, runs, last_success_at FROM backmarket.sync_state"),
    }
