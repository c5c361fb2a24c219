"""Bulk parts of which nobody heard whether they arrived: read back, sent once more only if they certainly did not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from time import sleep
from typing import Any

import pytest

from backmarket.bulk import jobs, transitions
from backmarket.bulk.engine import listing_pages
from backmarket.bulk.engine.slice import run_slice
from backmarket.bulk.engine.verify import PAGE_TRIES
from backmarket.bulk.jobs import JobState, Outcome, PartState
from backmarket.database import Database, Transaction
from backmarket.errors import InvalidArgument
from backmarket.sandbox.control.client import SandboxControl
from backmarket.services import Services
from backmarket.work.backoff import MAX_LOOKS
from backmarket.work.send_deadline import SEND_WITHIN
from tests.conftest import Bucket
from tests.support.bulk_files import (
    hurry,
    job_of,
    lines_of,
    one_slice,
    opened_shop,
    parts_of,
    run,
    settings_for,
    submit,
)
from tests.support.sellers import Shop, environment
from tests.support.waiting import PATIENCE_SECONDS, wait_until

Row = dict[str, Any]
LINES = 12
SLICE = "import sys; from backmarket import services; from backmarket.bulk.engine.slice import run_slice;"
PROGRAM = f"{SLICE} print(run_slice(services.current(), sys.argv[1]).end)"


@pytest.fixture
def shop(shared_url: str, redis_url: str, s3: Bucket, sandbox: SandboxControl, org: str) -> Iterator[Shop]:
    settings = settings_for(shared_url, redis_url, s3)
    with opened_shop(settings, sandbox, org, listings=30) as shop:
        shop.sync(org, "listings")
        yield shop


def listed(shop: Shop, org: str) -> list[Row]:
    return shop.sandbox.truth(org, "listings")


def raised(shop: Shop, org: str, count: int = LINES) -> list[Row]:
    """Lines that give some listings another quantity and price."""
    return [
        {"sku": row["sku"], "quantity": row["quantity"] + 7, "price": f"{float(row['price']) - 1:.2f}"}
        for row in listed(shop, org)[:count]
    ]


def applied(shop: Shop, org: str) -> int:
    """Lines that the sandbox has taken."""
    return shop.sandbox.stats().sellers[org].sku_lines


def requests(shop: Shop, org: str) -> int:
    return shop.sandbox.stats().count("listings.bulk", org)


def state(shop: Shop) -> str:
    return str(shop.one("SELECT state FROM backmarket.bulk_parts"))


@contextmanager
def worker(shop: Shop, org: str) -> Iterator[subprocess.Popen[str]]:
    """A slice in a process of its own."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, org],
        cwd=Path(__file__).parents[3],
        env={**os.environ, **environment(shop.settings)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("kind", ["status", "reset", "close", "garbage", "cut"])
@pytest.mark.parametrize("arrived", [True, False])
def test_a_lost_answer_is_read_back_and_nothing_is_applied_twice(
    shop: Shop, org: str, kind: Any, arrived: bool
) -> None:
    if kind == "cut" and not arrived:
        arrived = True  # half of the API's own answer is cut off, which proves it
    shop.sandbox.add_fault(kind, operation="listings.bulk", status=502, count=1, applied=arrived)
    job_id = submit(shop, org, raised(shop, org))
    run_slice(shop.services, org)
    (part,) = parts_of(shop, org, job_id)
    assert (part.state, part.arrived) == (PartState.UNKNOWN, False)
    assert shop.one("SELECT due_at > now() + interval '300 s' FROM backmarket.bulk_parts") is True
    assert turn_without_hurry(shop, org) == "nothing_to_do", "nobody reads back before the sender's deadline"
    assert shop.one("SELECT sum(lines)::int FROM backmarket.sku_quota") == LINES, "never given back"
    job = run(shop, org, job_id)
    assert (job.state, job.lines_done) == (JobState.DONE, LINES)
    assert (applied(shop, org), requests(shop, org)) == (LINES, 1 if arrived else 2)


@pytest.mark.parametrize("arrived", [True, False])
def test_after_a_failover_that_may_have_lost_the_mark_it_is_read_back_before_it_is_sent(
    shop: Shop, org: str, arrived: bool
) -> None:
    """The standby that took over knows the part as `pending`, whether it was sent or not."""
    lines = raised(shop, org)
    job_id = submit(shop, org, lines)
    if arrived:
        shop.restart(
            bulk_poll_initial_seconds=60.0
        )  # however slow this slice is, it does not come to ask for the result
        run_slice(shop.services, org)
        shop.restart(bulk_poll_initial_seconds=0.01)
        shop.execute("UPDATE backmarket.bulk_parts SET state = 'pending', sent = 0, prior = NULL, task_id = NULL,"
            " submitted_at = NULL, due_at = now()")  # fmt: skip
        shop.execute("UPDATE backmarket.bulk_jobs SET state = 'pending', started_at = NULL")
        shop.execute("UPDATE backmarket.work SET due_at = now(), nudged_until = NULL")
    shop.execute("UPDATE backmarket.bulk_parts SET recorded_on = 'the server that was lost'")
    run_slice(shop.services, org)
    assert (state(shop), requests(shop, org)) == ("unknown", int(arrived))
    job = run(shop, org, job_id)
    assert (job.state, job.lines_done) == (JobState.DONE, LINES)
    assert (applied(shop, org), requests(shop, org)) == (LINES, 1)


def turn_without_hurry(shop: Shop, org: str) -> str:
    return run_slice(shop.services, org).end


def test_what_arrived_and_was_not_applied_is_told_line_by_line(shop: Shop, org: str) -> None:
    rows = raised(shop, org)
    rows[4:4] = [{"sku": "nobody has this", "quantity": 3, "price": "9.99"}]
    shop.sandbox.add_fault("reset", operation="listings.bulk", count=1, applied=True)
    job_id = submit(shop, org, rows)
    job = run(shop, org, job_id)
    assert (job.state, job.lines_done, job.lines_failed) == (JobState.DONE_WITH_ERRORS, LINES, 1)
    assert lines_of(shop, org, job_id)[6].outcome is Outcome.FAILED
    assert requests(shop, org) == 1
    assert shop.one("SELECT looks FROM backmarket.bulk_parts") == 2, "it may have been at work still at the first look"


def test_lines_that_change_nothing_hold_either_way(shop: Shop, org: str) -> None:
    rows = [{"sku": row["sku"], "quantity": row["quantity"]} for row in listed(shop, org)[:LINES]]
    shop.sandbox.add_fault("reset", operation="listings.bulk", count=1)
    job_id = submit(shop, org, rows)
    job = run(shop, org, job_id)
    assert (job.state, job.lines_done, requests(shop, org)) == (JobState.DONE, LINES, 1)


def test_what_never_arrives_is_sent_twice_and_then_a_persons(shop: Shop, org: str) -> None:
    shop.sandbox.add_fault("reset", operation="listings.bulk")
    job_id = submit(shop, org, raised(shop, org))
    job = run(shop, org, job_id)
    assert (job.state, job.lines_unknown, requests(shop, org)) == (JobState.DONE_WITH_ERRORS, LINES, 2)
    assert "sent 2 times" in (job.error or "")
    assert "bulk settle" in (job.error or "")
    assert one_slice(shop, org).requests == 0
    shop.sandbox.remove_faults()
    jobs.settle_part(shop.services, org, job_id, 1, arrived=False)
    assert run(shop, org, job_id).state is JobState.DONE
    assert applied(shop, org) == LINES


def test_a_listing_that_is_answered_401_for_ever_ends_with_a_person(shop: Shop, org: str) -> None:
    rows = raised(shop, org)
    shop.sandbox.add_fault("reset", operation="listings.bulk", count=1, applied=True)
    shop.sandbox.add_fault(
        "unauthorized", operation="listings.detail", path=f"/ws/listings/detail?sku={rows[0]['sku']}"
    )
    shop.sandbox.add_fault("unauthorized", operation="listings.list")
    job_id = submit(shop, org, rows)
    looks = 0
    while job_of(shop, org, job_id).ended_at is None:
        one_slice(shop, org)
        shop.execute("UPDATE backmarket.connections SET refused_at = NULL, unauthorized_at = NULL")  # as after a probe
        looks += 1
        assert looks <= MAX_LOOKS + 5 + LINES  # a 401 ends each slice
    assert job_of(shop, org, job_id).lines_unknown == 1


LASTING = [("status", {"status": 500}), ("waf_html", {}), ("forbidden", {}), ("garbage", {})]


@pytest.mark.parametrize(("kind", "rule"), LASTING)
@pytest.mark.parametrize("arrived", [True, False])
def test_a_listing_that_can_never_be_read_ends_with_a_person_and_holds_up_nobody(
    shop: Shop, org: str, kind: Any, rule: Row, arrived: bool
) -> None:
    rows = raised(shop, org)
    shop.sandbox.add_fault("reset", operation="listings.bulk", count=1, applied=arrived)
    shop.sandbox.add_fault(kind, operation="listings.detail", path=f"/ws/listings/detail?sku={rows[0]['sku']}", **rule)
    shop.sandbox.add_fault(kind, operation="listings.list", **rule)
    job_id = submit(shop, org, rows)
    run_slice(shop.services, org)
    other = submit(shop, org, raised(shop, org, 20)[LINES:])
    looks = 0
    while job_of(shop, org, job_id).ended_at is None:
        one_slice(shop, org)
        looks += 1
        assert looks <= MAX_LOOKS + 5
    assert job_of(shop, org, other).state is JobState.DONE
    assert job_of(shop, org, job_id).lines_unknown == (1 if arrived else LINES)
    assert "could not be read back" in lines_of(shop, org, job_id)[2].message
    assert shop.sandbox.stats().count("listings.detail", org) <= LINES + MAX_LOOKS + 5
    if not arrived:
        shop.sandbox.remove_faults()
        jobs.settle_part(shop.services, org, job_id, 1, arrived=False)
        assert run(shop, org, job_id).state is JobState.DONE


def test_two_thousand_silent_lines_are_read_back_by_pages(shop: Shop, org: str) -> None:
    many, absent, rest = "many", 100, 1900
    shop.restart(request_deadline=20.0)
    shop.sandbox.settings(assumptions={"task_result": "nothing"})
    shop.sell(many, orders=0, listings=2000)
    shop.sync(many, "listings")
    before = shop.sandbox.stats()
    rows = raised(shop, many, rest) + [{"sku": f"absent {n}", "quantity": 1, "price": "9.99"} for n in range(absent)]
    job = run(shop, many, submit(shop, many, rows, part_lines=2000))
    after = shop.sandbox.stats()
    asked = {each: after.count(each, many) - before.count(each, many) for each in ("listings.list", "listings.detail")}
    assert (job.state, job.lines_done, job.lines_failed) == (JobState.DONE_WITH_ERRORS, rest, absent)
    assert asked == {"listings.list": 40, "listings.detail": 0}


def test_pages_that_show_less_than_single_requests_are_not_read(shop: Shop, org: str) -> None:
    """Most of a large account's pages show nothing that is wanted."""
    shop.sell("large", orders=0, listings=1000)
    shop.sync("large", "listings")
    shop.sandbox.settings(assumptions={"task_result": "nothing"})
    before = shop.sandbox.stats()
    job = run(shop, "large", submit(shop, "large", raised(shop, "large", 1000)[::80]))
    after = shop.sandbox.stats()
    asked = [after.count(each, "large") - before.count(each, "large") for each in ("listings.list", "listings.detail")]
    assert (job.state, job.lines_done) == (JobState.DONE, 13)
    assert asked[0] == 1
    assert asked[1] <= 13


def test_reading_back_goes_on_at_the_page_where_a_slice_ended(
    shop: Shop, org: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing_pages, "PAGES_AT_ONCE", 2)
    monkeypatch.setattr(listing_pages, "WINDOW", 1)
    monkeypatch.setattr(listing_pages, "PAGE_ROWS", 5)
    shop.sandbox.settings(assumptions={"task_result": "nothing"})
    before = shop.sandbox.stats().count("listings.list", org)
    job = run(shop, org, submit(shop, org, raised(shop, org, 30)))
    assert (job.state, job.lines_done) == (JobState.DONE, 30)
    assert shop.sandbox.stats().count("listings.list", org) - before <= 6


def test_a_person_may_settle_a_part_while_it_is_read_back(shop: Shop, org: str) -> None:
    """And what a worker decides of it afterwards is void."""
    shop.sandbox.add_fault("reset", operation="listings.bulk", count=1)
    shop.sandbox.add_fault("status", operation="listings.detail")
    shop.sandbox.add_fault("status", operation="listings.list")
    job_id = submit(shop, org, raised(shop, org))
    run_slice(shop.services, org)
    with pytest.raises(InvalidArgument, match="may still arrive"):
        jobs.settle_part(shop.services, org, job_id, 1, arrived=True)
    shop.execute("UPDATE backmarket.bulk_parts SET sent_at = now() - interval '10 minutes'")
    one_slice(shop, org)
    (as_read,) = parts_of(shop, org, job_id)
    assert as_read.due_at is not None
    settled = jobs.settle_part(shop.services, org, job_id, 1, arrived=True)
    assert (settled.state, settled.lines_done) == (JobState.DONE, LINES)
    with shop.services.database.transaction() as transaction:
        transitions.put_back(transaction, as_read, pause=0.0)
        transitions.postpone(transaction, as_read, pause=0.0)
    assert [part.state for part in parts_of(shop, org, job_id)] == [PartState.DONE]


def test_what_something_else_changed_is_a_persons(shop: Shop, org: str) -> None:
    rows = raised(shop, org)
    shop.sandbox.add_fault("reset", operation="listings.bulk", count=1)
    job_id = submit(shop, org, rows)
    run_slice(shop.services, org)
    listing = next(row for row in listed(shop, org) if row["sku"] == rows[0]["sku"])
    shop.sandbox.change(org, resource="listings", modify=1, ids=[listing["id"]], fields={"quantity": 77})
    with pytest.raises(InvalidArgument, match="may still arrive"):
        jobs.settle_part(shop.services, org, job_id, 1, arrived=True)
    job = run(shop, org, job_id)
    assert (job.state, job.lines_unknown, requests(shop, org)) == (JobState.DONE_WITH_ERRORS, LINES, 1)
    assert "Something else" in lines_of(shop, org, job_id)[2].message
    resolved = jobs.settle_part(shop.services, org, job_id, 1, arrived=True)
    assert (resolved.state, resolved.lines_done) == (JobState.DONE, LINES)


def test_a_sale_after_its_arrival_is_told_and_nothing_is_sent_again(shop: Shop, org: str) -> None:
    rows = raised(shop, org)
    shop.sandbox.add_fault("reset", operation="listings.bulk", count=1, applied=True)
    job_id = submit(shop, org, rows)
    run_slice(shop.services, org)
    shop.sync(org, "listings")  # the sandbox does the work of its tasks when it is asked for something
    sold = next(row for row in listed(shop, org) if row["sku"] == rows[0]["sku"])
    shop.sandbox.change(org, resource="listings", modify=1, ids=[sold["id"]])
    job = run(shop, org, job_id)
    assert (job.state, job.lines_done, job.lines_unknown) == (JobState.DONE_WITH_ERRORS, LINES - 1, 1)
    assert "Something else" in lines_of(shop, org, job_id)[2].message
    assert requests(shop, org) == 1


def test_a_listing_that_is_gone_is_a_persons(shop: Shop, org: str) -> None:
    """The API's 404 is believed when it comes again and again: for a while it also means maintenance."""
    rows = raised(shop, org)
    shop.sandbox.add_fault("reset", operation="listings.bulk", count=1)
    job_id = submit(shop, org, rows)
    run_slice(shop.services, org)
    gone = next(row for row in listed(shop, org) if row["sku"] == rows[0]["sku"])
    shop.sandbox.change(org, resource="listings", remove=1, ids=[gone["id"]])
    one_slice(shop, org)
    assert shop.one("SELECT tries < 3 AND due_at < 'infinity' FROM backmarket.bulk_parts") is True
    job = run(shop, org, job_id)
    assert (job.state, job.lines_unknown, requests(shop, org)) == (JobState.DONE_WITH_ERRORS, LINES, 1)


def test_listings_that_were_never_synced_leave_a_doubt(shop: Shop, org: str) -> None:
    """What they were is not known: as the file says proves nothing, otherwise proves nothing either."""
    shop.execute("UPDATE backmarket.sync_state SET last_full_walk_at = NULL")
    shop.sandbox.add_fault("reset", operation="listings.bulk", count=1)
    job_id = submit(shop, org, raised(shop, org))
    job = run(shop, org, job_id)
    assert (job.state, job.lines_unknown, requests(shop, org)) == (JobState.DONE_WITH_ERRORS, LINES, 1)


def test_another_market_is_read_back_in_its_own_locale(shop: Shop, org: str) -> None:
    rows = raised(shop, org)
    shop.sandbox.add_fault("reset", operation="listings.bulk", count=1, applied=True)
    job_id = submit(shop, org, rows, locale="de-de")
    job = run(shop, org, job_id)
    assert (job.state, job.locale, requests(shop, org)) == (JobState.DONE, "de-de", 1)


@pytest.mark.parametrize("arrived", [True, False])
@pytest.mark.slow
def test_a_worker_killed_with_its_request_open(shop: Shop, org: str, arrived: bool) -> None:
    shop.sandbox.add_fault("timeout", operation="listings.bulk", count=1, applied=arrived, seconds=PATIENCE_SECONDS)
    job_id = submit(shop, org, raised(shop, org))
    with worker(shop, org) as process:
        wait_until(lambda: requests(shop, org) == 1, "the part is being sent")
        assert state(shop) == "submitting"
        process.kill()
        process.wait()
    assert turn_without_hurry(shop, org) == "nothing_to_do", "the lease is held yet"
    shop.execute("UPDATE backmarket.work SET lease_until = now()")
    run_slice(shop.services, org)
    assert (state(shop), requests(shop, org)) == ("submitting", 1), "its deadline is not over"
    job = run(shop, org, job_id)
    assert (job.state, job.lines_done) == (JobState.DONE, LINES)
    assert (applied(shop, org), requests(shop, org)) == (LINES, 1 if arrived else 2)


def test_a_worker_killed_while_it_reads_back_is_followed_by_another(shop: Shop, org: str) -> None:
    shop.sandbox.add_fault("reset", operation="listings.bulk", count=1, applied=True)
    job_id = submit(shop, org, raised(shop, org, 20))
    run_slice(shop.services, org)
    hurry(shop)
    shop.sandbox.add_fault("status", operation="listings.list")  # so they are read one by one
    for _ in range(PAGE_TRIES):
        one_slice(shop, org)
    hurry(shop)
    shop.sandbox.add_fault("timeout", operation="listings.detail", count=1, after=9, seconds=PATIENCE_SECONDS)
    with worker(shop, org) as process:
        wait_until(lambda: shop.sandbox.stats().count("listings.detail", org) > 9, "it reads back")
        process.kill()
        process.wait()
    shop.execute("UPDATE backmarket.work SET lease_until = now()")
    job = run(shop, org, job_id)
    assert (job.state, job.lines_done, applied(shop, org)) == (JobState.DONE, 20, 20)


@pytest.mark.slow
def test_a_worker_that_slept_past_its_lease_writes_nothing(shop: Shop, org: str) -> None:
    shop.sandbox.settings(latency=5.0)
    job_id = submit(shop, org, raised(shop, org))
    with worker(shop, org) as process:
        wait_until(lambda: requests(shop, org) == 1, "the part is being sent")
        process.send_signal(signal.SIGSTOP)
        shop.sandbox.settings(latency=0.0)
        wait_until(lambda: applied(shop, org) == LINES, "it arrived")
        shop.execute("UPDATE backmarket.work SET lease_until = now()")
        job = run(shop, org, job_id)
        assert (job.state, requests(shop, org)) == (JobState.DONE, 1)
        before = shop.execute("SELECT p::text FROM backmarket.bulk_parts p")
        process.send_signal(signal.SIGCONT)
        assert process.communicate(timeout=PATIENCE_SECONDS)[0].split()[-1] == "lease_lost"
        assert shop.execute("SELECT p::text FROM backmarket.bulk_parts p") == before


@pytest.mark.slow
def test_a_worker_held_up_before_its_request_does_not_send(shop: Shop, org: str) -> None:
    """The mark is committed too late: whoever comes next may have settled it already."""
    job_id = submit(shop, org, raised(shop, org))
    waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with ThreadPoolExecutor(1) as pool:
        with shop.services.database.transaction() as transaction:
            transaction.execute("SELECT FROM backmarket.bulk_jobs FOR UPDATE")
            turned = pool.submit(run_slice, shop.services, org)
            wait_until(lambda: shop.one(waits), "the mark waits")
            shop.services.stopping.set()  # this slice does nothing after it
            sleep(SEND_WITHIN)
        turned.result(PATIENCE_SECONDS)
    shop.services.stopping.clear()
    (part,) = parts_of(shop, org, job_id)
    assert (part.state, part.sent, requests(shop, org)) == (PartState.PENDING, 0, 0)
    assert shop.one("SELECT sum(lines)::int FROM backmarket.sku_quota") == 0
    assert run(shop, org, job_id).state is JobState.DONE


class Killed(BaseException):
    """The process ends here."""


class DyingDatabase(Database):
    """The database of a process that ends at one of its transactions: before it begins, or after it was committed."""

    def __init__(self, url: str, at: int, when: str) -> None:
        super().__init__(url)
        self.at, self.when, self.count = at, when, 0

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        self.count += 1
        last = self.count == self.at
        if last and self.when == "before":
            raise Killed
        with super().transaction() as transaction:
            yield transaction
        if last:
            raise Killed


def killed(shop: Shop, org: str, at: int, when: str) -> bool:
    """Slices in a process that ends at one of its transactions; False: nothing was due any more before that."""
    services = Services(shop.settings)
    dying = DyingDatabase(shop.settings.need("database_url"), at, when)
    services.__dict__["database"] = dying
    try:
        while run_slice(services, org).end != "nothing_to_do":
            hurry(shop)
            if shop.one("SELECT count(*) FROM backmarket.bulk_jobs WHERE ended_at IS NULL OR reported_at IS NULL") == 0:
                return False
    except Killed:
        return True
    finally:
        services.close()
    return False


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.slow
def test_killed_at_any_transaction_nothing_is_lost_or_applied_twice(shop: Shop, org: str, when: str) -> None:
    strikes = 0
    for at in range(1 if when == "before" else 2, 100, 2):
        rows = [{"sku": row["sku"], "quantity": row["quantity"] + 1} for row in listed(shop, org)[:6]]
        before, job_id = applied(shop, org) if strikes else 0, submit(shop, org, rows)
        struck = killed(shop, org, at, when)
        shop.execute("UPDATE backmarket.work SET lease_until = NULL")
        job = run(shop, org, job_id)
        one_slice(shop, org)
        assert (at, job.state, job.lines_done) == (at, JobState.DONE, 6)
        assert (at, applied(shop, org) - before) == (at, 6)
        assert job_of(shop, org, job_id).reported_at is not None
        shop.sync(org, "listings")
        if not struck:
            break
        strikes += 1
    assert strikes > 6, "the slices have twice as many transactions"


def test_a_report_that_could_not_be_written_is_made_good(shop: Shop, org: str) -> None:
    job_id = submit(shop, org, raised(shop, org))
    run_slice(shop.services, org)
    one_slice(shop, org)
    shop.execute("UPDATE backmarket.bulk_jobs SET report_due_at = now(), reported_at = NULL")
    shop.execute("UPDATE backmarket.work SET due_at = now()")
    assert job_of(shop, org, job_id).reported_at is None
    run_slice(shop.services, org)
    assert job_of(shop, org, job_id).reported_at is not None
