"""Processes as they are started for real: ready, cut off, told to end, dying, and never outliving their owner."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from backmarket.errors import UsageError
from backmarket.messages import Nudge
from backmarket.settings import Settings
from backmarket.standalone import programs
from backmarket.standalone.embedded import Stack
from backmarket.standalone.fleet import Fleet, FleetError
from backmarket.standalone.pools import Pool
from backmarket.standalone.programs import CHECKOUT
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop, environment
from tests.support.waiting import PATIENCE_SECONDS, wait_until

ORG = "auth0|1"
SYNC = Pool("sync", ("orders",))
OWNER = """
import json, os, sys, time
from pathlib import Path
from backmarket.standalone.fleet import Fleet
from backmarket.standalone.pools import Pool
with Fleet(json.loads(sys.argv[1]), directory=Path(sys.argv[2]), workers=(Pool("sync", ("orders",)),)) as fleet:
    fleet.wait_ready()
    print(json.dumps(fleet.pids), flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def shop(settings: Settings) -> Iterator[Shop]:
    with fresh_sandbox(limit=100_000) as sandbox:
        changes = {"rate_limit": 100_000, "request_deadline": PATIENCE_SECONDS}
        shop = Shop(settings.model_copy(update=changes), sandbox.control)
        yield shop
        shop.services.close()


def events(log: Path) -> list[dict[str, Any]]:
    """The lines of a log; each is JSON."""
    return [json.loads(line) for line in log.read_text().splitlines()]


def walking(shop: Shop) -> bool:
    return int(shop.one("SELECT COALESCE(max(next_page), 0) FROM backmarket.walks")) > 20


def synced(shop: Shop) -> bool:
    return bool(shop.one("SELECT last_success_at IS NOT NULL FROM backmarket.sync_state"))


class TestLife:
    @pytest.mark.slow
    def test_every_line_of_every_log_is_json_and_beat_leaves_no_file(self, shop: Shop, tmp_path: Path) -> None:
        before = set(os.listdir(CHECKOUT))
        with Fleet(environment(shop.settings), directory=tmp_path) as fleet:
            fleet.wait_ready()
            shop.sell(ORG, orders=60)
            wait_until(lambda: synced(shop), "synced")
            assert fleet.stop() == [], "nothing had to be killed"
        for name in ("dispatch", "sync"):
            found = [event["event"] for event in events(tmp_path / f"{name}.log")]
            assert "process.ready" in found
            assert found[-1] == "process.stopped"
        assert [event["event"] for event in events(tmp_path / "beat.log")] == ["process.ready"]
        assert set(os.listdir(CHECKOUT)) == before
        assert {path.suffix for path in tmp_path.iterdir()} == {".log"}

    @pytest.mark.slow
    def test_a_slice_hands_on_when_its_worker_is_told_to_end_and_the_next_worker_goes_on(
        self, shop: Shop, tmp_path: Path
    ) -> None:
        shop.sandbox.settings(latency=1.0)
        with Fleet(environment(shop.settings), directory=tmp_path) as fleet:
            fleet.wait_ready()
            shop.sell(ORG, orders=10_000)
            wait_until(lambda: walking(shop), "the walk is under way")
            fleet.kill("sync", signal.SIGTERM)
            shop.sandbox.settings(latency=0.05)
            assert fleet.wait_exit("sync", PATIENCE_SECONDS) == 0
            assert [event["end"] for event in events(tmp_path / "sync.log") if event["event"] == "sync.slice"] == [
                "handed_on"
            ]
            assert not fleet.died
            fleet.start_worker(("orders",), "next")
            wait_until(lambda: synced(shop), "the next worker went on, not only when a lost nudge expires")
        shop.assert_equals_truth(ORG)

    @pytest.mark.slow
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_the_second_signal_ends_a_worker_at_once(self, shop: Shop, tmp_path: Path, number: signal.Signals) -> None:
        shop.sandbox.add_fault("timeout", seconds=PATIENCE_SECONDS)
        shop.sell(ORG, orders=60)
        with Fleet(environment(shop.settings), directory=tmp_path) as fleet:
            fleet.wait_ready()
            wait_until(lambda: shop.sandbox.stats().requests, "a request is under way")
            fleet.kill("sync", number)
            wait_until(lambda: not (tmp_path / "sync.ready").exists(), "the first signal arrived")
            with pytest.raises(FleetError, match="sync still runs after"):
                fleet.wait_exit("sync", 0)
            fleet.kill("sync", number)
            assert fleet.wait_exit("sync", PATIENCE_SECONDS) == 128 + number

    @pytest.mark.slow
    def test_another_applications_celery_settings_change_nothing(
        self, shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("CELERY_BROKER_URL", "BROKER_URL"):
            monkeypatch.setenv(name, "redis://nowhere.invalid/0")
        theirs = environment(shop.settings) | {"CELERY_BROKER_URL": "redis://nowhere.invalid/0"}
        with Fleet(theirs, directory=tmp_path, workers=(SYNC,)) as fleet:
            fleet.wait_ready()

    @pytest.mark.slow
    def test_one_message_after_another_without_a_pause_between(self, shop: Shop, tmp_path: Path) -> None:
        """With Celery's own pool of threads, 40 messages take a minute where one is worked on at a time."""
        pool = Pool("sync", ("orders",), 1)
        with Fleet(environment(shop.settings), directory=tmp_path, workers=(pool,), beat=False) as fleet:
            fleet.wait_ready()
            assert shop.services.producer.nudge(Nudge("orders", f"nobody-{n}") for n in range(40)) == 40
            wait_until(lambda: self.slices(tmp_path / "sync.log") == 40, "40 slices")

    @staticmethod
    def slices(log: Path) -> int:
        return sum(event["event"] == "sync.slice" for event in events(log))


class TestBroker:
    @pytest.mark.slow
    def test_a_worker_goes_on_by_itself_when_the_broker_was_killed_under_it(
        self, shop: Shop, stack: Stack, tmp_path: Path
    ) -> None:
        shop.sandbox.settings(latency=1.0)
        with Fleet(environment(shop.settings), directory=tmp_path) as fleet:
            fleet.wait_ready()
            pids = fleet.pids
            shop.sell(ORG, orders=10_000)
            wait_until(lambda: walking(shop), "the walk is under way")
            stack.valkey.kill()
            wait_until(lambda: "broker.unavailable" in (tmp_path / "sync.log").read_text(), "it misses the broker")
            shop.sandbox.settings(latency=0.05)
            stack.valkey.start()
            shop.services.limiter.skip_recovery()
            wait_until(lambda: synced(shop), "the walk ended")
            shop.assert_equals_truth(ORG)
            runs = shop.one("SELECT runs FROM backmarket.sync_state")
            shop.execute("UPDATE backmarket.sync_state SET next_due_at = now(), nudged_until = NULL")
            wait_until(lambda: shop.one("SELECT runs FROM backmarket.sync_state") > runs, "the next slice")
            assert fleet.pids == pids, "nobody died"
            assert "py.warnings" not in {event["logger"] for event in events(tmp_path / "sync.log")}
            assert fleet.stop() == []


class TestDeath:
    def test_a_process_that_dies_is_named_with_the_end_of_its_log(self, shop: Shop, tmp_path: Path) -> None:
        wrong = environment(shop.settings) | {"BACKMARKET_SECRET_KEYS": "no-key"}
        with Fleet(wrong, directory=tmp_path, workers=(SYNC,), beat=False) as fleet:
            with pytest.raises(FleetError, match=r"sync ended with code 1. The end of .*sync\.log:\n.*SECRET_KEYS"):
                fleet.wait_ready()
            assert fleet.died == ["sync"]

    @pytest.mark.slow
    def test_a_process_that_was_killed_starts_again(self, shop: Shop, tmp_path: Path) -> None:
        with Fleet(environment(shop.settings), directory=tmp_path, workers=(SYNC,), beat=False) as fleet:
            fleet.wait_ready()
            first = fleet.pids["sync"]
            os.kill(first, signal.SIGKILL)
            wait_until(lambda: fleet.died == ["sync"], "its death is seen")
            with pytest.raises(FleetError, match="sync ended with code -9"):
                fleet.check()
            fleet.restart("sync")
            fleet.wait_ready()
            assert fleet.pids["sync"] != first

    @pytest.mark.slow
    def test_nothing_outlives_an_owner_that_was_killed(self, shop: Shop, tmp_path: Path) -> None:
        command = [sys.executable, "-c", OWNER, json.dumps(environment(shop.settings)), str(tmp_path)]
        with subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
            assert owner.stdout is not None
            pids = json.loads(owner.stdout.readline())
            assert set(pids) == {"sync", "beat"}
            os.kill(pids["beat"], signal.SIGSTOP)  # not even one that can't hear
            owner.kill()
            wait_until(lambda: not any(psutil.pid_exists(pid) for pid in pids.values()), "all are gone")

    @pytest.mark.slow
    def test_what_does_not_end_in_time_is_killed_and_named(self, shop: Shop, tmp_path: Path) -> None:
        shop.sandbox.add_fault("timeout", seconds=PATIENCE_SECONDS)
        shop.sell(ORG, orders=60)
        with Fleet(environment(shop.settings), directory=tmp_path) as fleet:
            fleet.wait_ready()
            wait_until(lambda: shop.sandbox.stats().requests, "a request is under way")
            pids = fleet.pids
            for name in sorted({*pids} - {"sync"}):
                fleet.kill(name, signal.SIGTERM)
                fleet.wait_exit(name, PATIENCE_SECONDS)
            assert fleet.stop(timeout=3.0) == ["sync"]
            assert not any(psutil.pid_exists(pid) for pid in pids.values())

    def test_without_workers_a_sentence_says_so(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(programs, "CHECKOUT", tmp_path)
        with pytest.raises(UsageError, match="are missing"):
            Fleet({}, directory=tmp_path)
