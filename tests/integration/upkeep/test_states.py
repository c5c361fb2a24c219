"""The states of a deletion from the bucket, driven by every answer and every silence in any order: see docs/states.md.

Hypothesis plays the S3 server, the clock, a worker that dies, and one that still stores what is to be deleted.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from hypothesis.strategies import booleans, integers, sampled_from

from backmarket.bucket import deletion_queue
from backmarket.bucket.keys import label_key, labels_prefix
from backmarket.errors import BucketRefused, BucketUnavailable, NotDeleted
from backmarket.settings import Settings
from backmarket.upkeep import bucket_deletions, bucket_reconcile
from backmarket.upkeep.bucket_deletions import CLAIM_SECONDS, QUIET_SECONDS
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop
from tests.support.state_machines import age, run_machine

CONTENT = b"%PDF-1.7 a label"
SINGLE = [label_key("one", "deliveries", number) for number in range(3)]
BELOW = [label_key("gone", "deliveries", number) for number in range(5)]
"""Objects that are deleted by their keys, and by the prefix of their organization; two pages of them."""

LONGEST_PAUSE = 3600
MAX_SLICES = 40
"""Slices after which all is deleted, once the server answers: each deletes a page, or claims anew what was put off."""

MOMENTS = {"bucket_deletions": "due_at requested_at"}
NEXT = "SELECT min(due_at) FROM backmarket.bucket_deletions"


class Killed(BaseException):
    """The worker's end, before its request or after it."""


@pytest.fixture
def shop(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.setattr(bucket_deletions, "YOUNG_SECONDS", -60)  # as if each object had been stored long ago
    monkeypatch.setattr(bucket_reconcile, "PAGE", 3)
    with fresh_sandbox() as sandbox:
        shop = Shop(settings, sandbox.control)
        yield shop
        shop.services.close()


class DeletionMachine(RuleBasedStateMachine):
    """Three single objects and those of a removed organization, from the request to the end."""

    def __init__(self, shop: Shop) -> None:
        super().__init__()
        self.shop, self.bucket = shop, shop.services.bucket
        shop.execute("DELETE FROM backmarket.bucket_deletions")
        for key in (*SINGLE, *BELOW):
            self.put(key)
        with shop.services.database.transaction() as transaction:
            deletion_queue.request(transaction, [*SINGLE, labels_prefix("gone")])

    def put(self, key: str) -> None:
        digest = hashlib.sha256(CONTENT).hexdigest()
        self.bucket.put(key, io.BytesIO(CONTENT), size=len(CONTENT), content_type="application/pdf", sha256=digest)

    @property
    def is_open(self) -> bool:
        is_open: bool = self.shop.one("SELECT count(*) > 0 FROM backmarket.bucket_deletions")
        return is_open

    # --- what happens ---------------------------------------------------------------------------------------

    @rule(error=sampled_from([None, BucketUnavailable, BucketRefused]))
    def a_worker_looks(self, error: type[BucketUnavailable] | type[BucketRefused] | None) -> None:
        def fail(*_: Any, **__: Any) -> None:
            assert error is not None
            raise error("It does not.")

        with pytest.MonkeyPatch.context() as patch:
            for name in ("delete", "list") if error is not None else ():
                patch.setattr(self.bucket, name, fail)
            self.slice()

    @rule()
    def the_bucket_was_away_for_days(self) -> None:
        self.shop.execute("UPDATE backmarket.bucket_deletions SET tries = 30, error = 'It does not.'")
        self.a_worker_looks(BucketUnavailable)

    @rule(held=sampled_from([SINGLE[0], BELOW[1]]))
    def an_object_lock_holds_one(self, held: str) -> None:
        delete = self.bucket.delete

        def refuse(keys: Sequence[str]) -> None:
            delete([key for key in keys if key != held])
            if held in keys:
                raise NotDeleted("Locked.", {held})

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.bucket, "delete", refuse)
            self.slice()

    @rule(deleted=booleans())
    def a_worker_dies(self, deleted: bool) -> None:
        delete = self.bucket.delete

        def killed(keys: Sequence[str]) -> None:
            if deleted:
                delete(keys)
            raise Killed

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.bucket, "delete", killed)
            self.slice()

    @rule(number=integers(0, 2))
    def a_worker_still_stores_one(self, number: int) -> None:
        """It began before the deletion was requested, so it has ended when that is done for the second time."""
        if self.shop.one("SELECT max(requested_at) > now() - interval '4 min' FROM backmarket.bucket_deletions"):
            self.put([*SINGLE[:2], BELOW[0]][number])

    def slice(self, seconds: float = 0.0) -> float:
        passed = age(self.shop, MOMENTS, NEXT) if self.is_open else 0.0
        with suppress(Killed):
            bucket_deletions.work_off(self.shop.services, seconds=seconds)
        return passed

    # --- what always holds ----------------------------------------------------------------------------------

    @invariant()
    def each_wait_has_an_end(self) -> None:
        rows = self.shop.execute(
            "SELECT extract(epoch FROM due_at - now())::float8, tries, error FROM backmarket.bucket_deletions"
        )
        for due, tries, error in rows:
            pause = min(LONGEST_PAUSE, 30 * 2 ** max(0, tries - 1))
            assert due <= max(CLAIM_SECONDS, pause if error else QUIET_SECONDS)
            assert bool(error) == (tries > 0), "what is put off says why"

    def teardown(self) -> None:
        seconds, slices = 0.0, 0
        while self.is_open:
            seconds += self.slice()
            slices += 1
            assert slices <= MAX_SLICES
        assert seconds <= LONGEST_PAUSE + CLAIM_SECONDS + QUIET_SECONDS
        left = {each.key for prefix in ("labels/",) for each in self.bucket.list(prefix)}
        assert left & {*SINGLE, *BELOW} <= {BELOW[1]}, "what a lock holds under a prefix is left to the sweep"


@pytest.mark.slow
def test_each_state_of_a_deletion_is_left_within_its_bound(shop: Shop) -> None:
    run_machine(lambda: DeletionMachine(shop))
