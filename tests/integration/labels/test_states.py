"""The states of labels, driven by every answer and every silence in any order: see docs/states.md.

Hypothesis plays the label's host, the clock, the bucket, the API's next address, a worker that dies, and a person.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from hypothesis.strategies import booleans, sampled_from

from backmarket import work
from backmarket.bucket.client import Bucket
from backmarket.errors import BucketUnavailable
from backmarket.labels.engine import run_slice
from backmarket.labels.requests import queue_all
from backmarket.labels.retry_policy import MIN_TRIES
from backmarket.settings import Settings
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop
from tests.support.state_machines import RIGHT, age, answer_with, run_machine

ORG = "auth0|1"
SHIPMENTS = 6

ANSWERS: list[dict[str, Any]] = [
    *({"kind": "status", "status": status} for status in (400, 408, 409, 500)),
    *({"kind": "status", "status": status, "html": True} for status in (403, 429)),
    *({"kind": kind} for kind in ("forbidden", "waf_html", "waf_json", "unauthorized", "rate_limited", "early_404")),
    *({"kind": kind} for kind in ("garbage", "empty", "close", "cut", "reset")),
    {"kind": "redirect", "location": "https://elsewhere.example/label.pdf"},
    {"kind": "large_pdf", "value": 200_000},
]

GIVE_UP_DAYS = 1
MAX_SLICES = 2 * SHIPMENTS * (MIN_TRIES + 24 * GIVE_UP_DAYS + 5)
"""Slices after which no label is still a worker's: an hour lies between two tries in the end, and a slice may find that
the limiter lets nothing through."""

MOMENTS = {"work": "due_at lease_until", "labels": "due_at noted_at"}
NEXT = "SELECT GREATEST(due_at, lease_until) FROM backmarket.work WHERE kind = 'labels' AND due_at < 'infinity'"


@pytest.fixture
def shop(settings: Settings) -> Iterator[Shop]:
    with fresh_sandbox(limit=100_000) as sandbox:
        quick = {"rate_limit": 100_000, "rate_window": 0.05, "label_max_bytes": 100_000}
        quick |= {"label_give_up_days": GIVE_UP_DAYS}
        shop = Shop(settings.model_copy(update=quick), sandbox.control, ("deliveries",))
        shop.sell(ORG, orders=10, deliveries=SHIPMENTS, returns=0)
        yield shop
        shop.services.close()


class LabelMachine(RuleBasedStateMachine):
    """The labels of one organization, from its first sync to their ends; one of them is answered as hypothesis says."""

    def __init__(self, shop: Shop, patch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.shop, self.patch = shop, patch
        shop.sandbox.remove_faults()
        shop.services.bucket_breaker.record_success()
        for table in ("labels", "deliveries", "work"):
            shop.execute(f"DELETE FROM backmarket.{table}")
        shop.execute("UPDATE backmarket.connections SET refused_at = NULL, unauthorized_at = NULL")
        self.patch.setattr(Bucket, "put", _PUT)
        shop.sync(ORG, "deliveries", full=True)
        self.there, self.slices = True, 0

    def labels(self, state: str) -> int:
        found: int = self.shop.one("SELECT count(*) FROM backmarket.labels WHERE state = %s", state)
        return found

    @property
    def is_a_workers(self) -> bool:
        """Whether a worker has to go on by itself."""
        return self.labels("wanted") > 0

    # --- what happens ---------------------------------------------------------------------------------------

    @rule(answer=sampled_from([RIGHT, *ANSWERS]), there=sampled_from([True, True, True, False]))
    def a_worker_looks(self, answer: dict[str, Any], there: bool) -> None:
        answer_with(self.shop, {"deliveries.label": answer})
        self.there = there
        self.patch.setattr(Bucket, "put", _PUT if there else _away)
        self.slice()

    @rule()
    def a_worker_dies(self) -> None:
        age(self.shop, MOMENTS, NEXT)
        work.take(self.shop.services.database, ORG, "labels", owner="dead", seconds=60)

    @rule()
    def the_api_gives_another_address(self) -> None:
        self.shop.sandbox.remove_faults()
        self.shop.sandbox.change(ORG, resource="deliveries", modify=1)
        self.shop.sync(ORG, "deliveries", full=True)

    @rule(labels=booleans())
    def a_shipment_is_added(self, labels: bool) -> None:
        """At most one: a walk without labels skips its label until a walk with labels."""
        self.shop.sandbox.remove_faults()
        if self.shop.one("SELECT count(*) FROM backmarket.deliveries") == SHIPMENTS:
            self.shop.sandbox.change(ORG, resource="deliveries", add=1)
        self.shop.sync(ORG, "deliveries", full=True, download_labels=labels)

    @rule()
    def a_person_fetches(self) -> None:
        given_up = self.labels("unavailable")
        queue_all(self.shop.services.database, ORG)
        assert self.labels("unavailable") == 0
        if given_up:
            self.slices = 0
            assert self.shop.one("SELECT due_at <= now() FROM backmarket.work WHERE kind = 'labels'")

    def slice(self) -> None:
        age(self.shop, MOMENTS, NEXT)
        self.shop.services.bucket_breaker.record_success()
        worked = self.is_a_workers
        run_slice(self.shop.services, ORG)
        self.slices += worked and self.there

    # --- what always holds ----------------------------------------------------------------------------------

    @invariant()
    def what_is_not_there_says_why(self) -> None:
        silent = self.shop.one(
            "SELECT count(*) FROM backmarket.labels"
            " WHERE (state = 'unavailable' OR state = 'wanted' AND due_at > now()) AND error IS NULL"
        )
        assert silent == 0

    @invariant()
    def what_is_a_workers_is_not_forgotten(self) -> None:
        if self.is_a_workers:
            assert self.shop.one("SELECT due_at < 'infinity' FROM backmarket.work WHERE kind = 'labels'")

    @invariant()
    def what_is_stored_is_in_the_bucket(self) -> None:
        stored = self.shop.execute("SELECT object_key FROM backmarket.labels WHERE state = 'stored'")
        assert {key for (key,) in stored} <= {each.key for each in self.shop.services.bucket.list("labels/")}

    def teardown(self) -> None:
        """The host answers so for ever, and the bucket is there: even so, each label is stored, or given up."""
        self.there = True
        self.patch.setattr(Bucket, "put", _PUT)
        self.slices = 0
        while self.is_a_workers:
            self.slice()
            assert self.slices <= MAX_SLICES, self.shop.execute(
                "SELECT shipment_id, tries, error, noted_at, due_at FROM backmarket.labels WHERE state = 'wanted'"
            )
        self.what_is_not_there_says_why()


_PUT = Bucket.put


def _away(*_: Any, **__: Any) -> None:
    raise BucketUnavailable("It is away.")


@pytest.mark.slow
def test_one_answer_for_ever_keeps_no_label_a_workers_whichever_it_is(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    for answer in ANSWERS:
        labels = LabelMachine(shop, monkeypatch)
        labels.a_worker_looks(answer, True)
        labels.teardown()
        assert labels.labels("unavailable") > 1, answer
        assert labels.labels("stored") == 0, answer


@pytest.mark.slow
def test_each_state_of_a_label_is_left_within_its_bound_or_is_a_persons(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_machine(lambda: LabelMachine(shop, monkeypatch))
