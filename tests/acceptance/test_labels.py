"""Labels with real processes, under faults: all that exist end in the bucket once; the rest have a reason."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import psutil
import pytest

from backmarket import BackMarket, LabelState
from backmarket.labels.queries import Label
from backmarket.sandbox.api.label_files import label_pdf, large_pdf
from backmarket.sandbox.world.fault_rules import FaultKind
from backmarket.settings import Settings
from backmarket.standalone.fleet import Fleet
from tests.support.gate import Gate, Reply
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop, environment
from tests.support.waiting import PATIENCE_SECONDS, wait_until

ORG = "auth0|1"
LARGE = 200_000_000
ELSEWHERE = label_pdf(0, 900)
"""What the second origin gives for every label."""

FAULTS: tuple[FaultKind, ...] = ("status", "cut", "slow", "close")
"""Half a percent each: 502, half a label, one that takes a second, a connection that is closed."""
NOT_WHOLE = {"status", "cut", "close", "early_404"}
"""Faults after which a label is asked for again."""


@pytest.fixture
def elsewhere() -> Iterator[Gate]:
    """The second origin, which is allowed, and remembers the keys that it was shown."""
    with Gate(Reply(body=ELSEWHERE)) as gate:
        gate.open.set()
        yield gate


@pytest.fixture
def shop(settings: Settings, elsewhere: Gate) -> Iterator[Shop]:
    with fresh_sandbox(limit=100_000) as sandbox:
        settings = settings.model_copy(
            update={"rate_limit": 100_000, "label_origins": (elsewhere.url,), "label_max_bytes": LARGE}
        )
        shop = Shop(settings, sandbox.control, ("deliveries", "returns"))
        yield shop
        shop.services.close()


class Truth:
    """What the seller's labels are.

    Args:
        shop: whose seller has 300 deliveries and 50 returns, and is not connected yet.
        elsewhere: the second origin.
    """

    def __init__(self, shop: Shop, elsewhere: Gate) -> None:
        self.shop = shop
        self.pdfs: dict[int, str] = {}
        """The digest of each label that can be had."""
        self.reasons: dict[int, str] = {}
        """The code of each that can't."""
        self._move_some(elsewhere)
        self.paths = {key: url.removeprefix(shop.sandbox.url) for key, url in self._urls().items()}
        self.pdfs |= {key: digest(label_pdf(key, 2000)) for key in self.paths if key not in self.pdfs | self.reasons}
        self._spoil_some(elsewhere)

    def _urls(self) -> dict[int, str]:
        rows = self.shop.sandbox.truth(ORG, "deliveries") + self.shop.sandbox.truth(ORG, "returns")
        urls = {row["shipmentId"]: row.get("labelUrl") or row.get("label") for row in rows}
        return {key: url for key, url in urls.items() if url}

    def _move_some(self, elsewhere: Gate) -> None:
        """Labels of returns at another origin: ten where it is allowed, and one where it is not."""
        returns = self.shop.sandbox.truth(ORG, "returns")
        *moved, astray = islice((row["shipmentId"] for row in returns if row["label"]), 11)
        for key in moved:
            self._set_label(key, f"{elsewhere.url}/{key}.pdf?signature=secret")
            self.pdfs[key] = digest(ELSEWHERE)
        self._set_label(astray, "http://labels.elsewhere.example/label.pdf")
        self.reasons[astray] = "origin_refused"

    def _set_label(self, key: int, url: str) -> None:
        self.shop.sandbox.change(ORG, resource="returns", modify=1, ids=[key], fields={"label": url})

    def _spoil_some(self, elsewhere: Gate) -> None:
        """What is wrong with single labels, then with all of them now and then."""
        sandbox = self.shop.sandbox
        own = [key for key in self.paths if self.paths[key].startswith("/static/shipment_labels/")]
        for key in own[4::10]:  # one in ten is missing at first
            sandbox.add_fault("early_404", path=self.paths[key], count=1)
        page, metadata, moved, large = own[:4]
        sandbox.add_fault("garbage", path=self.paths[page])
        sandbox.add_fault("redirect", path=self.paths[metadata], location="http://169.254.169.254/latest/meta-data")
        sandbox.add_fault("redirect", path=self.paths[moved], location=f"{elsewhere.url}/{moved}.pdf")
        sandbox.add_fault("large_pdf", path=self.paths[large], value=LARGE)
        self.reasons |= {page: "not_a_pdf", metadata: "origin_refused"}
        self.pdfs |= {moved: digest(ELSEWHERE), large: digest(*large_pdf(LARGE))}
        self.pdfs = {key: each for key, each in self.pdfs.items() if key not in self.reasons}
        for kind in FAULTS:
            for operation in ("deliveries.label", "returns.label"):
                sandbox.add_fault(kind, operation=operation, probability=0.005, status=502, seconds=1.0)


def digest(*pieces: bytes) -> str:
    whole = hashlib.sha256()
    for piece in pieces:
        whole.update(piece)
    return whole.hexdigest()


def labels(bm: BackMarket, state: LabelState | None = None) -> dict[int, Label]:
    return {each.shipment_id: each for each in bm.get_labels(ORG, state=state, limit=1000)}


def fetched(shop: Shop) -> Counter[str]:
    """How often each label was asked for, and came whole or could have."""
    requests = shop.sandbox.requests()
    return Counter(each.label for each in requests if each.label and each.fault not in NOT_WHOLE)


@pytest.mark.slow
def test_all_labels_that_exist_are_stored_once_and_the_rest_have_a_reason(
    shop: Shop, elsewhere: Gate, tmp_path: Path
) -> None:
    shop.sandbox.add_seller(ORG, "token", orders=300, deliveries=300, returns=50)
    truth = Truth(shop, elsewhere)
    assert len(truth.pdfs) > 250
    with Fleet(environment(shop.settings), directory=tmp_path) as fleet, BackMarket(shop.settings) as bm:
        fleet.wait_ready()
        worker = psutil.Process(fleet.pids["work"])
        before = worker.memory_info().rss
        shop.connect(ORG, "token")
        until_all_are_stored(bm, truth)
        grown = worker.memory_info().rss - before
        check(shop, bm, truth)
        sandbox_saw, elsewhere_saw = fetched(shop), Counter(elsewhere.paths)
        page = sandbox_saw.pop(next(truth.paths[key] for key, code in truth.reasons.items() if code == "not_a_pdf"))
        refused = sandbox_saw.pop(truth.paths[list(truth.reasons)[-1]])
        assert set(sandbox_saw.values()) == {1}
        assert (page >= 1, refused >= 1) == (True, True)
        assert set(elsewhere_saw.values()) == {1}
        assert len(elsewhere_saw) == 11
        assert set(elsewhere.keys) == {None}, "the token went to nobody else"
        again(shop, bm)
        assert fetched(shop) == Counter()
        assert Counter(elsewhere.paths) == elsewhere_saw
        assert not fleet.died
    assert grown < 40_000_000, f"{grown / 1e6:.0f} MB"


def until_all_are_stored(bm: BackMarket, truth: Truth) -> None:
    """Those that wait for their next try are asked for, as their pauses are longer than a test may be."""
    wait_until(lambda: len(labels(bm)) == len(truth.paths), "the syncs have noted all labels")

    def all_stored() -> bool:
        waiting = [each for each in labels(bm, LabelState.WANTED).values() if each.tries]
        if (
            len(waiting)
            == len(labels(bm, LabelState.WANTED))
            > sum(code == "not_a_pdf" for code in truth.reasons.values())
        ):
            bm.fetch_labels(ORG)
        return set(labels(bm, LabelState.STORED)) == set(truth.pdfs)

    wait_until(all_stored, "all labels that exist are stored")


def check(shop: Shop, bm: BackMarket, truth: Truth) -> None:
    stored = labels(bm, LabelState.STORED)
    assert {key: each.sha256 for key, each in stored.items()} == truth.pdfs
    for label in stored.values():
        with shop.services.bucket.get(str(label.object_key)) as content:
            assert digest(*content.chunks) == label.sha256
    wait_until(
        lambda: {key: each.error_code for key, each in labels(bm).items() if key not in stored} == truth.reasons,
        "the rest have their reasons",
    )
    objects = [each.key for each in shop.services.bucket.list("labels/")]
    assert sorted(objects) == sorted(str(each.object_key) for each in stored.values())


def again(shop: Shop, bm: BackMarket) -> None:
    """Sync everything once more."""
    shop.sandbox.remove_faults()
    shop.sandbox.reset()
    shop.execute("UPDATE backmarket.labels SET due_at = now() + interval '1 h' WHERE state = 'wanted'")
    for handle in (bm.sync_deliveries(ORG, full=True), bm.sync_returns(ORG, full=True)):
        handle.wait(PATIENCE_SECONDS)
