"""The states of a sync, its walk and its key, driven by every answer and silence in any order: see docs/states.md.

Hypothesis plays the API, the clock, a list that changes, a message that is lost, a worker that dies, and a person.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from hypothesis.strategies import booleans, sampled_from

from backmarket.errors import ConnectionUnauthorized
from backmarket.limits import backoff
from backmarket.messages import NUDGE_SECONDS
from backmarket.organizations import lifecycle
from backmarket.organizations.check import check_connection
from backmarket.sandbox.control.client import SandboxControl
from backmarket.status.sync_status import SyncStatus, get_all_sync_status, get_sync_status
from backmarket.sync import leases
from backmarket.sync.engine import run_slice
from backmarket.sync.page_fetcher import TRIES
from backmarket.sync.page_walk import PASSES
from backmarket.sync.requests import claim_due, request_sync
from backmarket.sync.schedule import update_schedule
from tests.support.databases import empty
from tests.support.sellers import Shop
from tests.support.settings import fresh_settings
from tests.support.state_machines import RIGHT, age, answer_with, run_machine, unblock

ROWS, PAGES = 400, 8
GONE = 30
"""Rows that leave the list at once: more than a full walk marks as gone by itself."""

BUDGET, WINDOW = 6, 1
"""Requests of a slice, and those in flight at once. As in the product, all tries of a page fit into a slice."""

FULL_SECONDS = 900.0
"""Interval of full walks, shorter than in the product, so that each example sees several."""

HOUR, DAY, WEEK = 3600.0, 86400.0, 7 * 86400.0
LONGEST_PAUSE = 1.25 * HOUR
"""Seconds; the longest pause of a sync that fails, a quarter longer by chance."""

MAX_SLICES = PASSES * (PAGES + 1) + 2 * GONE + 30
"""Slices after which a run has ended: each stores a page, settles a missing row, or counts a 429."""

REFUSED: list[dict[str, Any]] = [
    *({"kind": "status", "status": status} for status in (400, 408, 409, 429, 500, 503)),
    *({"kind": "status", "status": status, "html": True} for status in (403, 429)),
    *({"kind": kind} for kind in ("forbidden", "waf_html", "waf_json", "unauthorized", "rate_limited", "sku_quota")),
    *({"kind": kind} for kind in ("early_404", "garbage", "empty", "reset", "close", "cut")),
    {"kind": "timeout", "seconds": 0.05},
    {"kind": "redirect", "location": "https://elsewhere.example/"},
]
ODD: list[dict[str, Any]] = [
    *({"kind": kind} for kind in ("repeat_page", "early_empty_page", "next_null_early", "id_missing")),
    *({"kind": kind} for kind in ("nulls", "wrong_types", "unknown_states", "unknown_fields", "nul_characters")),
    *({"kind": "wrong_count", "value": value} for value in (-1, 7)),
]
"""Answers that are none, and those that are wrong."""

MOMENTS = {
    "sync_state": "next_due_at sync_due_at full_walk_due_at nudged_until lease_until failing_since",
    "connections": "refused_at unauthorized_at next_probe_at probed_at",
}
NEXT = """SELECT CASE WHEN c.refused_at IS NULL THEN GREATEST(s.next_due_at, s.nudged_until, s.lease_until)
    ELSE c.next_probe_at END FROM backmarket.sync_state s JOIN backmarket.connections c USING (organization_id)"""


class Killed(BaseException):
    """The worker's end, in the middle of a slice."""


@pytest.fixture
def shop(
    shared_url: str, redis_url: str, sandbox: SandboxControl, org: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shop]:
    empty(shared_url)
    monkeypatch.setattr(backoff, "RETRY_SECONDS", 0.002)
    settings = fresh_settings(
        database_url=shared_url,
        redis_url=redis_url,
        rate_limit=100_000,
        rate_window=0.05,
        task_budget_pages=BUDGET,
        fetch_threads=WINDOW,
    )
    shop = Shop(settings, sandbox)
    shop.execute("UPDATE backmarket.schedule SET full_interval_seconds = %s", FULL_SECONDS)
    sandbox.add_seller(org, f"token-of-{org}", orders=ROWS, listings=ROWS, deliveries=0, returns=0)
    yield shop
    sandbox.remove_faults()
    shop.services.close()


class SyncMachine(RuleBasedStateMachine):
    """The sync of one resource, from the connection of its organization on."""

    def __init__(self, shop: Shop, org: str, resource: str) -> None:
        super().__init__()
        self.shop, self.org, self.resource = shop, org, resource
        shop.sandbox.remove_faults()
        if shop.one("SELECT count(*) FROM backmarket.connections"):
            lifecycle.remove(shop.services.database, org)
        missing = ROWS - len(shop.sandbox.truth(org, resource))
        if missing > 0:
            shop.sandbox.change(org, resource=resource, add=missing)
        shop.resources = (resource,)
        shop.connect(org, f"token-of-{org}")
        self.answers: dict[str, dict[str, Any]] = {}
        self.seconds = 0.0
        self.slices = 0
        """Slices since the last run ended."""

    # --- what happens ---------------------------------------------------------------------------------------

    @rule(
        listed=sampled_from([RIGHT, RIGHT, RIGHT, *REFUSED, *ODD]), page=sampled_from([None, 1, 2, PAGES]),
        shown=sampled_from([RIGHT, RIGHT, *REFUSED, *ODD[-7:]]),
    )  # fmt: skip
    def a_worker_looks(self, listed: dict[str, Any], page: int | None, shown: dict[str, Any]) -> None:
        at_page = listed if listed is RIGHT or page is None else listed | {"page": page}
        self.answers = {f"{self.resource}.list": at_page, f"{self.resource}.get": shown}
        answer_with(self.shop, self.answers)
        self.slice()

    @rule(writes=sampled_from([0, 1, 2]))
    def a_worker_dies(self, writes: int) -> None:
        """After so many transactions of its slice."""
        hold, left = leases.hold, writes

        def killed(*args: Any) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            hold(*args)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(leases, "hold", killed)
            self.slice()

    @rule()
    def the_message_is_lost(self) -> None:
        self.let_time_pass()
        claim_due(self.shop.services.database, self.resource)

    @rule(gone=sampled_from([1, 1, GONE]))
    def the_list_changes(self, gone: int) -> None:
        hidden = {"hide": 1} if self.resource == "orders" else {}
        self.shop.sandbox.change(self.org, resource=self.resource, modify=2, add=gone, remove=gone, **hidden)

    @rule(full=booleans(), accept_missing=booleans())
    def a_person_syncs(self, full: bool, accept_missing: bool) -> None:
        """Only a refused key refuses it: the error says how a person has it tried again."""
        database = self.shop.services.database
        if self.status.state == "unauthorized":
            with pytest.raises(ConnectionUnauthorized, match="connections enable"):
                request_sync(database, self.org, self.resource)
        else:
            request_sync(database, self.org, self.resource, full=full, accept_missing=accept_missing)
            assert self.shop.one("SELECT next_due_at <= now() FROM backmarket.sync_state")

    @rule()
    def a_person_checks_the_key(self) -> None:
        unblock(self.shop)
        if check_connection(self.shop.services, self.org).ok:
            assert self.shop.one("SELECT refused_at IS NULL FROM backmarket.connections")

    @rule()
    def a_person_enables_the_connection(self) -> None:
        lifecycle.enable(self.shop.services.database, self.org)
        assert self.status.state != "unauthorized"
        assert self.shop.one("SELECT next_due_at <= now() + interval '3 s' FROM backmarket.sync_state")

    @rule(enabled=sampled_from([True, True, False]), interval=sampled_from([60.0, 300.0, 1800.0]))
    def a_person_sets_the_schedule(self, enabled: bool, interval: float) -> None:
        entry = update_schedule(
            self.shop.services.database, self.resource, organization_id=self.org, enabled=enabled, interval=interval
        )
        assert (entry.enabled, entry.interval) == (enabled, interval)

    def let_time_pass(self) -> None:
        unblock(self.shop)
        self.seconds += age(self.shop, MOMENTS, NEXT)

    def slice(self) -> str:
        """The next slice; returns how it ended, or `killed`."""
        self.let_time_pass()
        due, end, requests = self.is_a_workers, "killed", 0
        with suppress(Killed):
            result = run_slice(self.shop.services, self.org, self.resource)
            end, requests = result.end, result.requests
        assert end != "nothing_to_do" or not due, "what is due is taken"
        assert requests <= BUDGET + max(WINDOW, TRIES)
        self.slices = self.slices + 1 if end == "handed_on" else 0
        assert self.slices <= MAX_SLICES, self.answers
        return end

    @property
    def status(self) -> SyncStatus:
        return get_sync_status(self.shop.services.database, self.org)[self.resource]

    @property
    def is_a_workers(self) -> bool:
        """Whether a worker may go on now."""
        may: bool = self.shop.one(
            "SELECT c.refused_at IS NULL AND (s.enabled OR s.requested > s.served) AND s.next_due_at <= now()"
            " FROM backmarket.sync_state s JOIN backmarket.connections c USING (organization_id)"
        )
        return may

    @property
    def is_a_persons(self) -> bool:
        """Whether only a person can have it go on."""
        is_off: bool = self.shop.one(
            "SELECT c.refused_at IS NOT NULL AND c.next_probe_at IS NULL OR NOT s.enabled AND s.requested = s.served"
            " FROM backmarket.sync_state s JOIN backmarket.connections c USING (organization_id)"
        )
        return is_off

    # --- what always holds ----------------------------------------------------------------------------------

    @invariant()
    def each_wait_has_an_end(self) -> None:
        ((code, available, failing_for, due, full_due, lease, nudge, interval, full_interval),) = self.shop.execute(
            "SELECT error_code, availability = 'available',"
            " extract(epoch FROM now() - failing_since)::float8, extract(epoch FROM next_due_at - now())::float8,"
            " extract(epoch FROM full_walk_due_at - now())::float8,"
            " COALESCE(extract(epoch FROM lease_until - now()), 0)::float8,"
            " COALESCE(extract(epoch FROM nudged_until - now()), 0)::float8,"
            " COALESCE(s.interval_seconds, d.interval_seconds),"
            " COALESCE(s.full_interval_seconds, d.full_interval_seconds)"
            " FROM backmarket.sync_state s JOIN backmarket.schedule d USING (resource)"
        )
        if not available or (code == "forbidden" and failing_for >= WEEK):
            longest = DAY
        else:
            longest = LONGEST_PAUSE if code else interval
        assert due <= longest + 1
        assert full_due <= max(LONGEST_PAUSE, 1.5 * full_interval) + 1
        assert lease <= self.shop.settings.lease_seconds
        assert nudge <= NUDGE_SECONDS

    @invariant()
    def a_refused_key_is_probed_or_a_persons(self) -> None:
        ((paused_for, refused_for, probe),) = self.shop.execute(
            "SELECT extract(epoch FROM now() - refused_at)::float8,"
            " extract(epoch FROM now() - unauthorized_at)::float8,"
            " extract(epoch FROM next_probe_at - now())::float8 FROM backmarket.connections"
        )
        if refused_for is not None:
            assert refused_for >= 29 * DAY if probe is None else probe <= DAY
        elif paused_for is not None:
            assert probe <= HOUR

    @invariant()
    def what_is_not_well_says_why(self) -> None:
        status = self.status
        if status.state in {"failing", "incomplete", "unauthorized", "not_available"}:
            assert status.error_code
            assert status.error
        found = get_all_sync_status(self.shop.services.database, failing=True)
        assert len(found) == (status.failing_since is not None or status.rows_missing > 0 or status.rows_rejected > 0)

    @invariant()
    def what_is_walked_has_an_end(self) -> None:
        assert self.shop.one("SELECT COALESCE(max(pass), 0) FROM backmarket.walks") <= PASSES

    def teardown(self) -> None:
        """The answers stay as they are, then they are right: a worker ends each run, and all is as the API has it."""
        self.until_a_run_ends(3)
        self.shop.sandbox.remove_faults()
        for _ in range(2):  # the first may have begun before
            self.until_a_full_walk_ends()
        if self.status.rows_missing and not self.is_a_persons:
            request_sync(self.shop.services.database, self.org, self.resource, accept_missing=True)
            self.until_a_full_walk_ends()
        if self.is_a_persons:
            return
        assert self.status.state == "ok"
        if self.resource == "orders":
            self.shop.assert_equals_truth(self.org)
        else:
            self.shop.assert_rows_equal_truth(self.org, self.resource)

    def until_a_full_walk_ends(self) -> None:
        walked = self.shop.one("SELECT last_full_walk_at FROM backmarket.sync_state")
        self.seconds = 0.0
        while not self.is_a_persons:
            self.slice()
            if self.shop.one("SELECT last_full_walk_at IS DISTINCT FROM %s FROM backmarket.sync_state", walked):
                return
            assert self.seconds <= 2 * DAY, self.status

    def until_a_run_ends(self, runs: int) -> None:
        while runs and not self.is_a_persons:
            runs -= self.slice() in {"done", "failed", "nothing_to_do"}
            self.each_wait_has_an_end()
            self.a_refused_key_is_probed_or_a_persons()
            self.what_is_not_well_says_why()


@pytest.mark.slow
@pytest.mark.parametrize("resource", ["orders", "listings"])
def test_one_answer_for_ever_keeps_no_sync_silent_whichever_it_is(shop: Shop, org: str, resource: str) -> None:
    for answer in (*REFUSED, *ODD):
        for worked, page in ((False, None), (True, None), (False, 2)):
            machine = SyncMachine(shop, org, resource)
            if worked:
                machine.a_worker_looks(RIGHT, None, RIGHT)
            machine.a_worker_looks(answer, page, answer if answer in REFUSED else RIGHT)
            machine.until_a_run_ends(2)
            shop.execute("UPDATE backmarket.sync_state SET failures = 30 WHERE failures > 0")  # as after days
            machine.until_a_run_ends(1)
            if answer in REFUSED:
                assert machine.status.state in {"failing", "not_available", "unauthorized"}, (answer, worked, page)
            machine.teardown()


@pytest.mark.slow
@pytest.mark.parametrize("resource", ["orders", "listings"])
def test_each_state_of_a_sync_is_left_within_its_bound_or_is_a_persons(shop: Shop, org: str, resource: str) -> None:
    run_machine(lambda: SyncMachine(shop, org, resource))
