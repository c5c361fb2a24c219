"""Bulk jobs: sent in parts as the quota allows, asked about without anybody waiting, ended with each line's outcome."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from backmarket import connections, work
from backmarket.bulk import jobs
from backmarket.bulk.engine.slice import run_slice
from backmarket.bulk.jobs import JobState, Outcome, PartState
from backmarket.bulk.retention import drop_ended
from backmarket.errors import BulkJobNotFound, EnvironmentMismatch, InvalidArgument, RequestRefused
from backmarket.limits import sku_quota
from backmarket.messages import Nudge
from backmarket.organizations import lifecycle
from backmarket.organizations.probes import probe_due
from backmarket.sandbox.control.client import SandboxControl
from backmarket.standalone.embedded import Stack
from backmarket.upkeep import bucket_deletions
from backmarket.upkeep.bucket_reconcile import delete_garbage
from backmarket.work.backoff import MAX_LOOKS, MAX_TRIES
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
from tests.support.sellers import Shop, let_time_pass
from tests.support.waiting import Moment

Row = dict[str, Any]


@pytest.fixture
def shop(shared_url: str, redis_url: str, s3: Bucket, sandbox: SandboxControl, org: str) -> Iterator[Shop]:
    settings = settings_for(shared_url, redis_url, s3)
    with opened_shop(settings, sandbox, org, listings=60) as shop:
        shop.sync(org, "listings")
        yield shop


def listed(shop: Shop, org: str) -> list[Row]:
    """The listings as the sandbox has them."""
    return shop.sandbox.truth(org, "listings")


def raised(shop: Shop, org: str, count: int) -> list[Row]:
    """Lines that give some listings another quantity."""
    return [{"sku": row["sku"], "quantity": row["quantity"] + 7} for row in listed(shop, org)[:count]]


def quantities(shop: Shop, org: str) -> dict[str, int]:
    return {row["sku"]: row["quantity"] for row in listed(shop, org)}


def sent_lines(shop: Shop, org: str) -> int:
    return shop.sandbox.stats().sellers[org].sku_lines


def bulk_requests(shop: Shop, org: str) -> int:
    return shop.sandbox.stats().count("listings.bulk", org)


def test_a_job_is_sent_in_parts_and_every_line_is_done(shop: Shop, org: str) -> None:
    rows = raised(shop, org, 50)
    job_id = submit(shop, org, rows, part_lines=20)
    assert (job_of(shop, org, job_id).state, job_of(shop, org, job_id).lines_pending) == (JobState.PENDING, 50)
    job = run(shop, org, job_id)
    assert (job.state, job.lines_done, job.parts) == (JobState.DONE, 50, 3)
    assert (sent_lines(shop, org), bulk_requests(shop, org)) == (50, 3)
    assert {row["sku"]: row["quantity"] for row in rows}.items() <= quantities(shop, org).items()
    assert set(lines_of(shop, org, job_id)) == set(range(2, 52))
    assert {each.outcome for each in lines_of(shop, org, job_id).values()} == {Outcome.DONE}


def test_when_a_job_ends_its_listings_are_synced_and_the_feed_tells_it(shop: Shop, org: str) -> None:
    job_id = submit(shop, org, raised(shop, org, 3))
    asked = "SELECT requested > served FROM backmarket.sync_state WHERE organization_id = %s"
    assert shop.one(asked, org) is False
    run(shop, org, job_id)
    assert shop.one(asked, org) is True
    events = shop.execute(
        "SELECT external_id, kind FROM backmarket.changes WHERE organization_id = %s AND resource = 'bulk_jobs'", org
    )
    assert events == [(str(job_id), "updated")]
    one_slice(shop, org)
    assert job_of(shop, org, job_id).reported_at is not None
    shop.sync(org, "listings")
    shop.assert_rows_equal_truth(org, "listings")


@pytest.mark.parametrize("shape", ["recorded", "dict", "list", "text", "errors", "nothing"])
def test_lines_that_the_api_refuses_are_told_by_their_numbers(shop: Shop, org: str, shape: str) -> None:
    """Whatever the shape of its report; where it is silent, the listings are read back."""
    shop.sandbox.settings(assumptions={"task_result": shape})
    rows: list[Row] = [{**row, "price": ""} for row in raised(shop, org, 10)]
    rows[3:3] = [{"sku": "nobody has this", "quantity": 1, "price": "12.50"}]
    rows[8:8] = [{"sku": "nor this", "quantity": 1, "price": ""}]
    job_id = submit(shop, org, rows)
    job = run(shop, org, job_id)
    assert (job.state, job.lines_done, job.lines_failed) == (JobState.DONE_WITH_ERRORS, 10, 2)
    failed = {line: each for line, each in lines_of(shop, org, job_id).items() if each.outcome is not Outcome.DONE}
    assert {line: each.outcome for line, each in failed.items()} == {5: Outcome.FAILED, 10: Outcome.FAILED}
    if shape != "nothing":
        assert failed[5].message == "product_id or ean is required for a new listing"
    assert all(each.message for each in failed.values())


@pytest.mark.slow
def test_the_quota_is_used_fully_and_never_exceeded(shop: Shop, org: str) -> None:
    shop.sandbox.settings(sku_lines_limit=20, sku_lines_window=4.0)
    shop.restart(sku_lines_limit=20, sku_lines_window=4.0, request_deadline=3.0)
    job_id = submit(shop, org, raised(shop, org, 30), part_lines=10)
    one_slice(shop, org)
    waiting = job_of(shop, org, job_id)
    assert (waiting.state, waiting.lines_pending) == (JobState.WAITING_FOR_QUOTA, 10)
    assert waiting.waits_until is not None
    due_at = shop.one("SELECT due_at <= %s FROM backmarket.work WHERE kind = 'bulk'", waiting.waits_until)
    assert due_at is True
    assert run(shop, org, job_id).state is JobState.DONE
    assert (sent_lines(shop, org), shop.sandbox.stats().sellers[org].sku_lines_refused) == (30, 0)


def test_organizations_with_one_key_share_the_quota(shop: Shop, org: str) -> None:
    shop.restart(sku_lines_limit=30)
    shop.connect("another", f"token-of-{org}")
    first = submit(shop, org, raised(shop, org, 20))
    second = submit(shop, "another", raised(shop, org, 20))
    one_slice(shop, org)
    one_slice(shop, "another")
    assert job_of(shop, org, first).started_at is not None
    assert job_of(shop, "another", second).state is JobState.WAITING_FOR_QUOTA


def test_a_429_is_believed_and_costs_no_line(shop: Shop, org: str) -> None:
    shop.sandbox.settings(sku_lines_limit=5)
    job_id = submit(shop, org, raised(shop, org, 10))
    one_slice(shop, org)
    job = job_of(shop, org, job_id)
    assert (job.state, job.lines_pending, job.error_code) == (JobState.WAITING_FOR_QUOTA, 10, "rate_limited")
    assert bulk_requests(shop, org) == 1
    with shop.services.database.transaction() as transaction:
        account = transaction.execute("SELECT account FROM backmarket.connections").fetchone()
        assert account is not None
        left = sku_quota.free(transaction, account[0], limit=2000)
        held = transaction.execute("SELECT sum(lines) FROM backmarket.sku_quota").fetchone()
    assert (left.closed, held) == (True, (0,))
    one_slice(shop, org)
    assert bulk_requests(shop, org) == 1, "nothing is sent while the quota is closed"
    shop.sandbox.settings(sku_lines_limit=2000)
    shop.execute("DELETE FROM backmarket.sku_quota")
    shop.services.limiter.skip_recovery()
    shop.restart(limiter_key="f" * 32)  # another name of the account: its block of a window is over
    shop.execute("UPDATE backmarket.connections SET account = %s", "another name")
    assert run(shop, org, job_id).state is JobState.DONE
    assert sent_lines(shop, org) == 10


def test_a_429_of_the_quota_without_a_request_id_blocks_nothing_but_the_lines(shop: Shop, org: str) -> None:
    shop.sandbox.settings(task_delay=3600.0)
    first = submit(shop, org, raised(shop, org, 5))
    one_slice(shop, org)
    shop.sandbox.add_fault("sku_quota", operation="listings.bulk", count=1)
    job_id = submit(shop, org, raised(shop, org, 20)[10:])
    one_slice(shop, org)
    job = job_of(shop, org, job_id)
    assert (job.state, job.error_code) == (JobState.WAITING_FOR_QUOTA, "rate_limited")
    shop.sandbox.settings(task_delay=0.0)
    assert one_slice(shop, org).requests == 1, "tasks are polled meanwhile"
    assert job_of(shop, org, first).lines_submitted == 5
    assert bulk_requests(shop, org) == 2


def test_a_file_that_the_quota_always_refuses_lets_the_others_go_first(shop: Shop, org: str) -> None:
    shop.sandbox.add_fault("sku_quota", operation="listings.bulk", count=1)
    refused = submit(shop, org, raised(shop, org, 20)[10:])
    one_slice(shop, org)
    (part,) = parts_of(shop, org, refused)
    opens = shop.one("SELECT free_at FROM backmarket.sku_quota WHERE lines IS NULL")
    assert part.due_at is not None
    assert (part.due_at - opens).total_seconds() > 20
    other = submit(shop, org, raised(shop, org, 5))
    shop.execute("DELETE FROM backmarket.sku_quota")  # five minutes later
    run_slice(shop.services, org)
    assert sent_lines(shop, org) == 5
    assert parts_of(shop, org, other)[0].state is not PartState.PENDING
    assert parts_of(shop, org, refused)[0].state is PartState.PENDING


def test_a_file_that_the_api_refuses_is_not_sent_further(shop: Shop, org: str) -> None:
    shop.sandbox.add_fault("status", operation="listings.bulk", status=400)
    job_id = submit(shop, org, raised(shop, org, 30), part_lines=10)
    job = run(shop, org, job_id)
    assert (job.state, job.lines_failed, job.lines_not_sent) == (JobState.FAILED, 10, 20)
    assert (bulk_requests(shop, org), job.error_code) == (1, RequestRefused.code)
    states = [part.state for part in parts_of(shop, org, job_id)]
    assert states == [PartState.FAILED, PartState.CANCELLED, PartState.CANCELLED]
    assert all(each.message for each in lines_of(shop, org, job_id).values())


STOPPED_BY = {"waf_html": "firewall_blocked", "unauthorized": "unauthorized"}
"""Faults that pause all bulk jobs of the organization, and the code of the slice's error."""


@pytest.mark.parametrize("kind", ["waf_html", "early_404", "unauthorized"])
def test_what_certainly_did_not_arrive_is_sent_again(shop: Shop, org: str, kind: Any) -> None:
    shop.sandbox.add_fault(kind, operation="listings.bulk", count=1)
    job_id = submit(shop, org, raised(shop, org, 10))
    stopped_by = one_slice(shop, org).error
    assert (stopped_by and stopped_by.code) == STOPPED_BY.get(kind)
    (part,) = parts_of(shop, org, job_id)
    assert (part.state, part.tries) == (PartState.PENDING, 1)
    assert job_of(shop, org, job_id).error is not None
    assert shop.one("SELECT COALESCE(sum(lines), 0)::int FROM backmarket.sku_quota") == 0
    if kind == "unauthorized":
        assert one_slice(shop, org).end == "nothing_to_do"
        let_time_pass(shop, 31)
        assert probe_due(shop.services, seconds=5) == 1
    job = run(shop, org, job_id)
    assert (job.state, job.error, sent_lines(shop, org)) == (JobState.DONE, None, 10)


def test_a_task_that_broke_off_is_told(shop: Shop, org: str) -> None:
    shop.sandbox.add_fault("task_fails", operation="listings.bulk", count=1)
    job_id = submit(shop, org, raised(shop, org, 20), part_lines=10)
    job = run(shop, org, job_id)
    assert (job.state, job.lines_failed, job.lines_done) == (JobState.DONE_WITH_ERRORS, 10, 10)
    assert "Task has been interrupted" in (job.error or "")
    assert job.error_code == "task_failed"


def test_an_unexplained_status_is_neither_until_its_time_is_over(shop: Shop, org: str) -> None:
    shop.sandbox.add_fault("task_odd", operation="listings.bulk")
    job_id = submit(shop, org, raised(shop, org, 10))
    for _ in range(4):
        one_slice(shop, org)
    (part,) = parts_of(shop, org, job_id)
    assert (part.state, part.task_status) == (PartState.SUBMITTED, 7)
    assert part.unexplained_seconds is not None
    shop.execute("UPDATE backmarket.bulk_parts SET unexplained_since = now() - interval '25 hours'")
    job = run(shop, org, job_id)
    assert (job.state, job.lines_unknown) == (JobState.DONE_WITH_ERRORS, 10)
    assert "bulk settle" in (job.error or "")
    resolved = jobs.settle_part(shop.services, org, job_id, 1, arrived=True)
    assert (resolved.state, resolved.lines_done, resolved.lines_unknown) == (JobState.DONE, 10, 0)
    with pytest.raises(InvalidArgument, match="it is done"):
        jobs.settle_part(shop.services, org, job_id, 1, arrived=True)


def test_a_person_may_have_a_part_sent_again(shop: Shop, org: str) -> None:
    shop.sandbox.add_fault("task_odd", operation="listings.bulk", count=1)
    job_id = submit(shop, org, raised(shop, org, 10))
    one_slice(shop, org)
    one_slice(shop, org)
    shop.execute("UPDATE backmarket.bulk_parts SET unexplained_since = now() - interval '25 hours'")
    run(shop, org, job_id)
    reopened = jobs.settle_part(shop.services, org, job_id, 1, arrived=False)
    assert (reopened.state, reopened.lines_pending, reopened.ended_at) == (JobState.RUNNING, 10, None)
    assert run(shop, org, job_id).state is JobState.DONE
    assert bulk_requests(shop, org) == 2


def test_a_task_that_vanished_is_a_failure_and_its_lines_are_read_back(shop: Shop, org: str) -> None:
    shop.sandbox.add_fault("early_404", operation="tasks.get")
    job_id = submit(shop, org, raised(shop, org, 10))
    one_slice(shop, org)
    one_slice(shop, org)
    assert parts_of(shop, org, job_id)[0].state is PartState.SUBMITTED, "a 404 may be maintenance"
    shop.execute("UPDATE backmarket.bulk_parts SET missing_since = now() - interval '61 s'")
    job = run(shop, org, job_id)
    assert (job.state, job.error_code, job.lines_done) == (JobState.DONE_WITH_ERRORS, "task_vanished", 10)


def test_what_is_too_old_is_held_back(shop: Shop, org: str) -> None:
    shop.restart(sku_lines_limit=10)
    job_id = submit(shop, org, raised(shop, org, 20), part_lines=10, max_age=timedelta(hours=2))
    one_slice(shop, org)
    assert job_of(shop, org, job_id).state is JobState.WAITING_FOR_QUOTA
    shop.execute("UPDATE backmarket.bulk_jobs SET expires_at = now()")
    job = run(shop, org, job_id)
    assert (job.state, job.lines_done, job.lines_not_sent) == (JobState.DONE_WITH_ERRORS, 10, 10)
    assert {part.error_code for part in parts_of(shop, org, job_id)} == {None, "too_old"}


def test_cancelling_stops_what_is_not_sent(shop: Shop, org: str) -> None:
    shop.sandbox.settings(task_delay=3600.0)
    shop.restart(sku_lines_limit=10)
    job_id = submit(shop, org, raised(shop, org, 20), part_lines=10)
    one_slice(shop, org)
    cancelled = jobs.cancel(shop.services, org, job_id)
    assert (cancelled.lines_not_sent, cancelled.lines_submitted, cancelled.ended_at) == (10, 10, None)
    assert cancelled.state is JobState.RUNNING, "it waits for no quota any more"
    other = submit(shop, org, [])
    assert run(shop, org, other).state is JobState.DONE, "a job without a line to send is over at once"
    assert bulk_requests(shop, org) == 1
    with pytest.raises(BulkJobNotFound):
        jobs.cancel(shop.services, org, job_id + 1000)


def test_a_job_that_nothing_of_was_sent_is_cancelled_at_once(shop: Shop, org: str) -> None:
    job_id = submit(shop, org, raised(shop, org, 20), part_lines=10)
    job = jobs.cancel(shop.services, org, job_id)
    assert (job.state, job.lines_not_sent, job.error_code) == (JobState.CANCELLED, 20, "cancelled")
    one_slice(shop, org)
    assert bulk_requests(shop, org) == 0
    assert job_of(shop, org, job_id).reported_at is not None


def test_a_cancelled_job_is_not_sent_once_more(shop: Shop, org: str) -> None:
    shop.sandbox.add_fault("reset", operation="listings.bulk", count=1)
    job_id = submit(shop, org, raised(shop, org, 10))
    run_slice(shop.services, org)
    assert jobs.cancel(shop.services, org, job_id).ended_at is None, "whether it arrived is read back first"
    job = run(shop, org, job_id)
    assert (job.state, job.lines_not_sent, bulk_requests(shop, org)) == (JobState.CANCELLED, 10, 1)


def test_a_task_that_hangs_is_a_persons_in_the_end(shop: Shop, org: str) -> None:
    shop.sandbox.add_fault("task_hangs", operation="listings.bulk", count=1)
    job_id = submit(shop, org, raised(shop, org, 10))
    one_slice(shop, org)
    with pytest.raises(InvalidArgument, match="it is submitted"):
        jobs.settle_part(shop.services, org, job_id, 1, arrived=False)
    shop.execute("UPDATE backmarket.bulk_parts SET submitted_at = now() - interval '25 hours'")
    jobs.settle_part(shop.services, org, job_id, 1, arrived=False)
    assert run(shop, org, job_id).state is JobState.DONE


@pytest.mark.parametrize("kind", ["task_hangs", "status", "waf_html", "forbidden"])
def test_a_task_that_never_ends_is_handed_to_a_person_and_holds_up_nobody(shop: Shop, org: str, kind: Any) -> None:
    if kind == "task_hangs":
        shop.sandbox.add_fault(kind, operation="listings.bulk", count=1)
    else:
        shop.sandbox.settings(task_delay=3600.0)
    job_id = submit(shop, org, raised(shop, org, 10))
    run_slice(shop.services, org)
    if kind != "task_hangs":
        shop.sandbox.settings(task_delay=0.0)
        shop.sandbox.add_fault(kind, operation="tasks.get", path=f"/ws/tasks/{parts_of(shop, org, job_id)[0].task_id}")
    for _ in range(MAX_LOOKS - 1):
        one_slice(shop, org)
    assert parts_of(shop, org, job_id)[0].state is PartState.SUBMITTED
    other = submit(shop, org, raised(shop, org, 20)[10:])
    assert run(shop, org, other).state is JobState.DONE
    shop.execute(
        "UPDATE backmarket.bulk_parts SET submitted_at = now() - interval '25 hours' WHERE job_id = %s", job_id
    )
    job = run(shop, org, job_id)
    assert (job.state, job.lines_unknown) == (JobState.DONE_WITH_ERRORS, 10)
    assert "bulk settle" in (job.error or "")


@pytest.mark.parametrize("kind", ["waf_html", "early_404", "rate_limited", "unauthorized"])
def test_a_part_that_is_refused_for_ever_is_given_up_and_the_others_go_on(shop: Shop, org: str, kind: Any) -> None:
    """As with a comment that the firewall takes for an attack."""
    shop.sandbox.add_fault(kind, operation="listings.bulk", count=1)
    job_id = submit(shop, org, raised(shop, org, 20), part_lines=10)
    shop.execute("UPDATE backmarket.bulk_parts SET tries = %s WHERE number = 1", MAX_TRIES - 1)
    run_slice(shop.services, org)
    assert parts_of(shop, org, job_id)[0].state is PartState.FAILED
    shop.restart(limiter_key="f" * 32)  # another name of the account: its block of a window is over
    shop.execute("UPDATE backmarket.connections SET account = 'another name', refused_at = NULL")
    job = run(shop, org, job_id)
    assert (job.state, job.lines_failed, job.lines_done) == (JobState.DONE_WITH_ERRORS, 10, 10)
    assert f"could not be sent in {MAX_TRIES} tries" in (job.error or "")


def test_jobs_go_one_after_the_other(shop: Shop, org: str) -> None:
    shop.sandbox.add_fault("status", operation="listings.bulk", status=502, count=1)
    first = submit(shop, org, [{**row, "quantity": 1} for row in raised(shop, org, 10)])
    second = submit(shop, org, [{**row, "quantity": 2} for row in raised(shop, org, 10)])
    one_slice(shop, org)
    assert job_of(shop, org, second).state is JobState.PENDING, "the first one may have to be sent again"
    run(shop, org, first)
    run(shop, org, second)
    assert set(list(quantities(shop, org).values())[:10]) == {2}


def test_the_same_idempotency_key_gives_the_same_job(shop: Shop, org: str) -> None:
    rows = raised(shop, org, 5)
    with ThreadPoolExecutor(4) as pool:
        ids = set(pool.map(lambda _: submit(shop, org, rows, idempotency_key="monday"), range(4)))
    assert len(ids) == 1
    assert shop.one("SELECT count(*) FROM backmarket.bulk_jobs") == 1
    with pytest.raises(InvalidArgument, match="another key"):
        submit(shop, org, rows[:-1], idempotency_key="monday")
    run(shop, org, ids.pop())
    assert sent_lines(shop, org) == 5


def test_a_refused_file_is_a_job_that_failed(shop: Shop, org: str) -> None:
    job_id = submit(shop, org, [], refused=InvalidArgument("No header with sku was found."))
    job = job_of(shop, org, job_id)
    assert (job.state, job.error) == (JobState.FAILED, "No header with sku was found.")
    one_slice(shop, org)
    assert job_of(shop, org, job_id).reported_at is not None


def test_a_job_for_another_environment_is_refused(shop: Shop, org: str) -> None:
    with pytest.raises(EnvironmentMismatch):
        submit(shop, org, raised(shop, org, 1), environment="sandbox")
    assert shop.one("SELECT count(*) FROM backmarket.bulk_jobs") == 0


def test_an_account_that_changes_its_market_cancels_what_is_open(shop: Shop, org: str) -> None:
    shop.sandbox.settings(task_delay=3600.0)
    shop.restart(sku_lines_limit=10)
    job_id = submit(shop, org, raised(shop, org, 20), part_lines=10)
    one_slice(shop, org)
    account = connections.Account(org, "another-key", environment="sandbox", base_url=shop.sandbox.url)
    services = shop.services
    lifecycle.upsert(services.database, services.key_cipher, shop.settings, account, discard_rows=True)
    job = job_of(shop, org, job_id)
    assert (job.state, job.lines_not_sent, job.lines_unknown) == (JobState.CANCELLED, 10, 10)
    assert job.error_code == "market_left"
    with pytest.raises(InvalidArgument, match="another region"):
        jobs.settle_part(shop.services, org, job_id, 1, arrived=False)
    one_slice(shop, org)
    assert job_of(shop, org, job_id).reported_at is not None


def files(shop: Shop) -> list[str]:
    return [each.key for each in shop.services.bucket.list("bulk/")]


def work_off_deletions(shop: Shop) -> None:
    """Twice: the second time, whoever was storing meanwhile has ended."""
    for _ in range(2):
        shop.execute("UPDATE backmarket.bucket_deletions SET due_at = now()")
        bucket_deletions.work_off(shop.services)


def test_removing_the_connection_removes_its_jobs_and_their_files(shop: Shop, org: str) -> None:
    submit(shop, org, raised(shop, org, 5))
    assert files(shop)
    lifecycle.remove(shop.services.database, org)
    assert shop.one("SELECT count(*) FROM backmarket.bulk_parts") == 0
    work_off_deletions(shop)
    assert files(shop) == []


def test_jobs_are_dropped_with_their_files_long_after_their_end(shop: Shop, org: str) -> None:
    old, young = submit(shop, org, raised(shop, org, 5)), submit(shop, org, raised(shop, org, 5))
    run(shop, org, old)
    run(shop, org, young)
    shop.execute("UPDATE backmarket.bulk_jobs SET ended_at = now() - interval '91 days' WHERE id = %s", old)
    assert drop_ended(shop.services.database, 0).rows == 0
    assert drop_ended(shop.services.database, 90).rows == 1
    work_off_deletions(shop)
    assert {key.split("/")[2] for key in files(shop)} == {str(young)}
    with pytest.raises(BulkJobNotFound):
        job_of(shop, org, old)


def test_the_reconciliation_leaves_the_files_of_jobs_alone(shop: Shop, org: str) -> None:
    submit(shop, org, raised(shop, org, 5))
    kept = files(shop)
    assert delete_garbage(shop.services.database, shop.services.bucket, [*kept, "bulk/nobody/1/original"]).deleted == 1
    assert files(shop) == kept


def test_pauses_between_questions_grow(shop: Shop, org: str) -> None:
    shop.sandbox.settings(task_delay=3600.0)
    shop.restart(bulk_poll_initial_seconds=5.0)
    submit(shop, org, raised(shop, org, 5))
    began = Moment()
    one_slice(shop, org)
    pause = "SELECT extract(epoch FROM due_at - now())::float8 FROM backmarket.bulk_parts"
    assert began.waits(shop.one(pause), 3, 5)
    for age, least, most in ((20, 9, 11), (1000, 58, 60), (86000, 598, 600)):
        shop.execute("UPDATE backmarket.bulk_parts SET submitted_at = now() - make_interval(secs => %s)", age)
        began = Moment()
        one_slice(shop, org)
        assert began.waits(shop.one(pause), least, most)
    assert shop.one("SELECT due_at = (SELECT min(due_at) FROM backmarket.bulk_parts) FROM backmarket.work") is True


def test_what_waits_is_nudged_when_it_is_due_and_not_before(shop: Shop, org: str) -> None:
    job_id = submit(shop, org, raised(shop, org, 5))
    database = shop.services.database
    assert work.claim_due(database) == [Nudge("bulk", org)]
    shop.sandbox.settings(task_delay=3600.0)
    shop.restart(bulk_poll_initial_seconds=3600.0, bulk_poll_max_seconds=3600.0)
    one_slice(shop, org)
    assert work.claim_due(shop.services.database) == []
    assert one_slice(shop, org).requests == 1
    hurry(shop)
    assert work.claim_due(shop.services.database) == [Nudge("bulk", org)]
    assert job_of(shop, org, job_id).lines_submitted == 5


def test_hundreds_of_waiting_jobs_cost_a_question_each_now_and_then(shop: Shop, org: str) -> None:
    """30 organizations whose tasks take an hour: a slice of each is a request, holds no thread, and is over at once."""
    shop.sandbox.settings(task_delay=3600.0)
    shop.restart(bulk_poll_initial_seconds=3600.0, bulk_poll_max_seconds=3600.0)
    others = [f"other-{number}" for number in range(30)]
    for other in others:
        shop.sell(other, orders=0, listings=2)
        submit(shop, other, raised(shop, other, 2))
        assert one_slice(shop, other).end == "done"
    hurry(shop)
    slices = [run_slice(shop.services, other) for other in others]
    assert Counter((each.end, each.requests) for each in slices) == {("done", 1): 30}
    assert work.claim_due(shop.services.database) == []
    job_id = submit(shop, org, raised(shop, org, 5))
    assert work.claim_due(shop.services.database) == [Nudge("bulk", org)]
    assert one_slice(shop, org).requests >= 1
    assert job_of(shop, org, job_id).lines_submitted == 5


def test_an_emptied_redis_loses_no_job(shop: Shop, org: str, stack: Stack) -> None:
    import redis

    job_id = submit(shop, org, raised(shop, org, 5))
    with redis.Redis.from_url(shop.settings.need("redis_url")) as client:
        client.flushdb()
    assert work.claim_due(shop.services.database) == [Nudge("bulk", org)]
    shop.services.limiter.skip_recovery()
    assert run(shop, org, job_id).state is JobState.DONE
