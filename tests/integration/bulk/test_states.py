"""The states of a bulk job's parts, driven by every answer and every silence in any order: see docs/states.md.

Hypothesis plays the API, the clock, the bucket, another client, a worker that dies, and a person.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from hypothesis.strategies import booleans, sampled_from

from backmarket.bulk import jobs
from backmarket.bulk.engine import poll, send, verify
from backmarket.bulk.engine.requests import ApiRequests
from backmarket.bulk.engine.slice import run_slice
from backmarket.bulk.engine.verdicts import LOOKS, SENDS
from backmarket.bulk.jobs import Part, PartState
from backmarket.errors import BucketUnavailable, InvalidArgument, ObjectNotFound
from backmarket.sandbox.control.client import SandboxControl
from backmarket.work.send_deadline import send_deadline
from tests.conftest import Bucket
from tests.support.bulk_files import job_of, opened_shop, parts_of, settings_for, submit
from tests.support.sellers import Shop
from tests.support.state_machines import LOST, NEVER_ARRIVES, RIGHT, SHOWN, age, answer_with, run_machine

MAX_TRIES, MAX_LOOKS = 6, 4
"""Shorter than in the product, so that each example sees the ends."""

HANGS_AFTER = 300.0
"""Seconds; so that a task that hangs is polled some ten times."""

LINES = 3
PARTS = 2

MAX_SLICES = 2 * PARTS * (SENDS * MAX_TRIES + LOOKS * MAX_LOOKS + 15)
"""Slices after which no part without a person's decision is still a worker's."""

SENT: list[dict[str, Any]] = [RIGHT, RIGHT, *NEVER_ARRIVES, *LOST, *LOST, {"kind": "sku_quota"}]
SENT += [{"kind": "task_fails"}, {"kind": "task_hangs"}, {"kind": "task_odd"}]
SHAPES = ["recorded", "dict", "errors", "nothing"]
AWAY = {"there": None, "away": BucketUnavailable("It is away."), "lost": ObjectNotFound("It is gone.")}
MOMENTS = {
    "work": "due_at lease_until",
    "bulk_parts": "due_at sent_at submitted_at unexplained_since missing_since",
    "bulk_jobs": "waits_until report_due_at",
    "sku_quota": "free_at",
}
NEXT = "SELECT GREATEST(due_at, lease_until) FROM backmarket.work WHERE kind = 'bulk' AND due_at < 'infinity'"


class Killed(BaseException):
    """The worker's end, in the middle of a request."""


@pytest.fixture
def shop(shared_url: str, redis_url: str, s3: Bucket, sandbox: SandboxControl, org: str) -> Iterator[Shop]:
    settings = settings_for(
        shared_url,
        redis_url,
        s3,
        rate_limit=100_000,
        rate_window=0.05,
        bulk_unexplained_after=HANGS_AFTER,
        bulk_poll_initial_seconds=5.0,
    )
    with opened_shop(settings, sandbox, org, listings=12) as shop:
        shop.sync(org, "listings")
        yield shop
        sandbox.remove_faults()


class PartMachine(RuleBasedStateMachine):
    """The two parts of a job, from the file to their ends."""

    def __init__(self, shop: Shop, org: str, patch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.shop, self.org, self.patch = shop, org, patch
        shop.sandbox.remove_faults()
        for table in ("bulk_parts", "bulk_jobs", "sku_quota"):
            shop.execute(f"DELETE FROM backmarket.{table}")
        shop.execute("UPDATE backmarket.work SET due_at = 'infinity', lease_until = NULL, nudged_until = NULL")
        shop.execute("UPDATE backmarket.connections SET refused_at = NULL, unauthorized_at = NULL")
        rows = [
            {"sku": row["sku"], "quantity": row["quantity"] + 7, "price": f"{float(row['price']) + 1:.2f}"}
            for row in shop.sandbox.truth(org, "listings")[:LINES]
        ]
        self.id = submit(shop, org, rows, part_lines=LINES - 1)
        self.slices = 0

    @property
    def parts(self) -> list[Part]:
        return parts_of(self.shop, self.org, self.id)

    @property
    def is_a_workers(self) -> bool:
        """Whether a worker has to go on by itself."""
        return job_of(self.shop, self.org, self.id).ended_at is None

    # --- what happens ---------------------------------------------------------------------------------------

    @rule(
        sent=sampled_from(SENT), polled=sampled_from(SHOWN), shown=sampled_from(SHOWN), shape=sampled_from(SHAPES),
        bucket=sampled_from(["there", "there", "there", *AWAY]),
    )  # fmt: skip
    def a_worker_looks(self, sent: Any, polled: Any, shown: Any, shape: str, bucket: str) -> None:
        answers = {"listings.bulk": sent, "tasks.get": polled, "listings.detail": shown, "listings.list": shown}
        answer_with(self.shop, answers)
        self.shop.sandbox.settings(assumptions={"task_result": shape})
        self.patch.setattr(self.shop.services.bucket, "get", _bucket(self.shop, bucket))
        self.slice()

    @rule(arrived=booleans())
    def a_worker_dies_while_it_sends(self, arrived: bool) -> None:
        post = ApiRequests.post

        def killed(*args: Any) -> None:
            if arrived:
                post(*args)
            raise Killed

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ApiRequests, "post", killed)
            self.slice()

    @rule()
    def a_worker_is_held_up_before_it_sends(self) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(send, "SEND_WITHIN", -1.0)
            self.slice()

    @rule(quantity=sampled_from([0, 9]))
    def another_client_changes_the_same(self, quantity: int) -> None:
        key = self.shop.sandbox.truth(self.org, "listings")[0]["id"]
        self.shop.sandbox.change(self.org, resource="listings", modify=1, ids=[key], fields={"quantity": quantity})

    @rule()
    def the_listings_are_synced(self) -> None:
        self.shop.sandbox.remove_faults()
        if not self.shop.one("SELECT bool_or(unauthorized_at IS NOT NULL) FROM backmarket.connections"):
            self.shop.sync(self.org, "listings", full=True)

    @rule()
    def a_person_cancels(self) -> None:
        jobs.cancel(self.shop.services, self.org, self.id)
        assert PartState.PENDING not in {part.state for part in self.parts}

    @rule(number=sampled_from([1, 2]), arrived=booleans())
    def a_person_settles(self, number: int, arrived: bool) -> None:
        part = self.parts[number - 1]

        def act() -> None:
            jobs.settle_part(self.shop.services, self.org, self.id, number, arrived=arrived)

        if self.may_be_settled(part):
            act()
            self.slices = 0
            assert self.parts[number - 1].state is (PartState.DONE if arrived else PartState.PENDING)
        else:
            with pytest.raises(InvalidArgument, match="nothing to settle"):
                act()

    def may_be_settled(self, part: Part) -> bool:
        """A person's decision is refused only while the outcome may change by itself."""
        if part.state is PartState.SUBMITTED:
            return (part.submitted_seconds or 0.0) >= HANGS_AFTER
        too_late = (part.sent_seconds or 0.0) >= send_deadline(self.shop.settings.request_longest)
        return part.state in {PartState.SUBMITTING, PartState.UNKNOWN} and (too_late or part.due_at is None)

    def slice(self) -> None:
        age(self.shop, MOMENTS, NEXT)
        worked = self.is_a_workers
        with suppress(Killed):
            run_slice(self.shop.services, self.org)
        self.slices += worked

    # --- what always holds ----------------------------------------------------------------------------------

    @invariant()
    def no_request_and_no_try_too_many(self) -> None:
        for part in self.parts:
            assert part.sent <= SENDS
            assert part.state is PartState.SUBMITTED or part.tries <= max(MAX_TRIES, MAX_LOOKS)

    @invariant()
    def what_is_a_persons_says_why(self) -> None:
        for part in self.parts:
            if part.state is PartState.UNKNOWN and part.due_at is None:
                assert part.error_code
                assert "backmarket bulk settle" in str(part.error)
            if part.state in {PartState.FAILED, PartState.CANCELLED}:
                assert part.error

    @invariant()
    def what_is_a_workers_is_not_forgotten(self) -> None:
        if self.is_a_workers:
            assert self.shop.one("SELECT due_at < 'infinity' FROM backmarket.work WHERE kind = 'bulk'")

    @invariant()
    def each_line_is_counted_once(self) -> None:
        job = job_of(self.shop, self.org, self.id)
        counted = job.lines_pending + job.lines_submitted + job.lines_done + job.lines_failed + job.lines_unknown
        assert counted + job.lines_not_sent == LINES

    def teardown(self) -> None:
        """The answers stay as they are, for ever: even so, each part ends, or is a person's."""
        while self.is_a_workers:
            self.slice()
            assert self.slices <= MAX_SLICES, self.parts
        self.no_request_and_no_try_too_many()
        self.what_is_a_persons_says_why()
        self.each_line_is_counted_once()


def _bucket(shop: Shop, how: str) -> Callable[..., Any]:
    def get(*args: Any, **options: Any) -> Any:
        error = AWAY[how]
        if error is not None:
            raise error
        return type(shop.services.bucket).get(shop.services.bucket, *args, **options)

    return get


@pytest.fixture
def quick_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(send, "MAX_TRIES", MAX_TRIES)
    monkeypatch.setattr(poll, "MAX_LOOKS", MAX_LOOKS)
    monkeypatch.setattr(verify, "MAX_LOOKS", MAX_LOOKS)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_ends")
def test_one_answer_for_ever_keeps_no_part_a_workers_whichever_it_is(
    shop: Shop, org: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = {"kind": "close", "applied": True}
    lasting = [(fault, RIGHT, RIGHT, "there") for fault in SENT]
    lasting += [(RIGHT, fault, RIGHT, "there") for fault in SHOWN]
    lasting += [(lost, RIGHT, fault, "there") for fault in SHOWN]
    lasting += [(fault, RIGHT, RIGHT, bucket) for bucket in ("away", "lost") for fault in (RIGHT, lost)]
    for sent, polled, shown, bucket in lasting:
        machine = PartMachine(shop, org, monkeypatch)
        machine.a_worker_looks(sent, polled, shown, "nothing" if shown is not RIGHT else "recorded", "there")
        machine.a_worker_looks(sent, polled, shown, "nothing" if shown is not RIGHT else "recorded", bucket)
        machine.teardown()
    for bucket in ("away", "lost"):  # before anything was sent
        machine = PartMachine(shop, org, monkeypatch)
        machine.a_worker_looks(RIGHT, RIGHT, RIGHT, "recorded", bucket)
        machine.teardown()


@pytest.mark.slow
@pytest.mark.usefixtures("quick_ends")
def test_each_state_of_a_part_is_left_within_its_bound_or_is_a_persons(
    shop: Shop, org: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_machine(lambda: PartMachine(shop, org, monkeypatch))
