"""Label workers that are killed or frozen: every label ends in the bucket as its row says, few are fetched twice."""

from __future__ import annotations

import hashlib
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from backmarket import BackMarket, LabelState
from backmarket.bucket.keys import label_key
from backmarket.sandbox.api.label_files import label_pdf
from backmarket.settings import Settings
from backmarket.standalone.fleet import Fleet
from backmarket.standalone.pools import Pool
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop, environment
from tests.support.waiting import wait_until

ORG = "auth0|1"
LEASE = 10.0
WORKERS = (Pool("dispatch", ("dispatch",), 1), Pool("one", ("labels",), 4))


@pytest.fixture
def shop(settings: Settings) -> Iterator[Shop]:
    with fresh_sandbox(limit=100_000) as sandbox:
        shop = Shop(
            settings.model_copy(update={"rate_limit": 100_000, "lease_seconds": LEASE}),
            sandbox.control,
            ("deliveries",),
        )
        yield shop
        shop.services.close()


def sell(shop: Shop, deliveries: int) -> int:
    """A seller whose deliveries are synced; how many labels there are."""
    shop.sell(ORG, orders=30, deliveries=deliveries)
    shop.sync(ORG, "deliveries")
    return int(shop.one("SELECT count(*) FROM backmarket.labels"))


def stored(shop: Shop) -> int:
    return int(shop.one("SELECT count(*) FROM backmarket.labels WHERE state = 'stored'"))


def fetches(shop: Shop) -> Counter[str]:
    return Counter(shop.sandbox.stats().sellers[ORG].labels)


def assert_all_is_right(shop: Shop) -> None:
    """Each label's object is the label, and is what its row says."""
    bucket = shop.services.bucket
    with BackMarket(shop.settings) as bm:
        for label in bm.get_labels(ORG, limit=1000):
            assert label.state is LabelState.STORED
            assert label.sha256 == hashlib.sha256(label_pdf(label.shipment_id, 2000)).hexdigest()
            found = bucket.stat(label_key(ORG, "deliveries", label.shipment_id))
            assert (found.etag, found.sha256) == (label.etag, label.sha256)


@pytest.mark.slow
def test_killed_between_the_object_and_its_row(shop: Shop, tmp_path: Path) -> None:
    with Fleet(environment(shop.settings), directory=tmp_path, workers=WORKERS) as fleet:
        fleet.wait_ready()
        fleet.kill("one", signal.SIGSTOP)
        known = sell(shop, 6)
        with shop.services.database.transaction() as holding:
            holding.execute("SELECT 1 FROM backmarket.labels FOR UPDATE")  # objects may come, rows cannot be written
            fleet.kill("one", signal.SIGCONT)
            wait_until(lambda: len(shop.services.bucket.list("labels/")) == known, "all objects are there")
            assert stored(shop) == 0
            fleet.kill("one")
        fleet.start_worker(("labels",), "two")
        wait_until(lambda: stored(shop) == known, "another worker has stored them")
    assert set(fetches(shop).values()) == {2}, "one more fetch for one kill"
    assert_all_is_right(shop)


@pytest.mark.slow
def test_killed_again_and_again(shop: Shop, tmp_path: Path) -> None:
    kills = 2
    shop.sandbox.settings(latency=0.15)
    with Fleet(environment(shop.settings), directory=tmp_path, workers=WORKERS) as fleet:
        fleet.wait_ready()
        known = sell(shop, 300)
        for number in range(1, kills + 1):
            wait_until(lambda share=number: stored(shop) > share * known / 5, "labels are being stored")  # type: ignore[misc]
            fleet.kill("one")
            fleet.restart("one")
        wait_until(lambda: stored(shop) == known, "all labels are stored")
    again = sum(times - 1 for times in fetches(shop).values())
    assert max(fetches(shop).values()) <= 1 + kills
    assert again <= kills * 48, f"{again} labels were asked for again"
    assert_all_is_right(shop)


@pytest.mark.slow
def test_frozen_beyond_the_lease(shop: Shop, tmp_path: Path) -> None:
    with Fleet(environment(shop.settings), directory=tmp_path, workers=WORKERS) as fleet:
        fleet.wait_ready()
        shop.sandbox.settings(latency=1.0)
        known = sell(shop, 200)
        wait_until(lambda: stored(shop) > known / 5, "labels are being stored")
        fleet.kill("one", signal.SIGSTOP)
        before = stored(shop)
        assert before < known, "it was frozen in the middle"
        shop.sandbox.settings(latency=0.05)
        fleet.start_worker(("labels",), "two")
        wait_until(lambda: stored(shop) == known, "another has stored the rest")
        fleet.kill("one", signal.SIGCONT)
        wait_until(lambda: "labels.lease_lost" in (tmp_path / "one.log").read_text(), "the sleeper found out")
        wait_until(lambda: shop.one("SELECT due_at = 'infinity' FROM backmarket.work"), "nothing is left to do")
    assert max(fetches(shop).values()) <= 2
    assert sum(times - 1 for times in fetches(shop).values()) <= 48
    assert_all_is_right(shop)
