"""Parts and reports that fail for ever hold up no others, although they have been due for longest."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from backmarket.bulk import reports
from backmarket.bulk.engine.requests import ApiRequests
from backmarket.bulk.engine.slice import run_slice
from backmarket.bulk.jobs import Job
from backmarket.errors import BackMarketError, BrokenAnswer, BucketUnavailable, FirewallBlocked, NotFound, Unauthorized
from backmarket.sandbox.control.client import SandboxControl
from tests.conftest import Bucket
from tests.support.bulk_files import opened_shop, settings_for, submit
from tests.support.sellers import Shop
from tests.support.state_machines import age

FAILING, GOOD = 6, 6
MOMENTS = {"work": "due_at lease_until", "bulk_parts": "due_at sent_at", "bulk_jobs": "waits_until report_due_at"}
NEXT = "SELECT due_at FROM backmarket.work WHERE kind = 'bulk' AND due_at < 'infinity'"


@pytest.fixture
def shop(shared_url: str, redis_url: str, s3: Bucket, sandbox: SandboxControl, org: str) -> Iterator[Shop]:
    settings = settings_for(shared_url, redis_url, s3, rate_limit=100_000, rate_window=0.05)
    with opened_shop(settings, sandbox, org, listings=FAILING + GOOD) as shop:
        yield shop


@pytest.mark.parametrize("kind", [FirewallBlocked, NotFound, Unauthorized])
def test_parts_that_never_arrive_starve_no_others(
    shop: Shop, org: str, monkeypatch: pytest.MonkeyPatch, kind: type[BackMarketError]
) -> None:
    skus = [row["sku"] for row in shop.sandbox.truth(org, "listings")]
    tries, post = Counter[str](), ApiRequests.post

    def refused(api: ApiRequests, slot: Any, path: str, body: bytes, locale: str) -> Any:
        catalog = json.loads(body)["catalog"]
        for sku in skus[:FAILING]:
            if sku in catalog:
                tries[sku] += 1
                shop.services.limiter.release([slot])
                raise kind("Refused.")
        return post(api, slot, path, body, locale)

    monkeypatch.setattr(ApiRequests, "post", refused)
    for sku in skus:
        submit(shop, org, [{"sku": sku, "quantity": 5}])
    arrived = "SELECT count(*) FROM backmarket.bulk_parts WHERE task_id IS NOT NULL"
    while shop.one(arrived) < GOOD:
        age(shop, MOMENTS, NEXT)
        run_slice(shop.services, org)
        assert max(tries.values()) <= 2


@pytest.mark.parametrize("kind", [BrokenAnswer, BucketUnavailable])
def test_reports_that_cannot_be_written_starve_no_others(
    shop: Shop, org: str, monkeypatch: pytest.MonkeyPatch, kind: type[BackMarketError]
) -> None:
    ids = [submit(shop, org, []) for _ in range(FAILING + GOOD)]
    tries, write = Counter[int](), reports.write

    def refused(services: Any, job: Job) -> None:
        tries[job.id] += 1
        if job.id in ids[:FAILING]:
            raise kind("It cannot be written.")
        write(services, job)

    monkeypatch.setattr(reports, "write", refused)
    while shop.one("SELECT count(*) FROM backmarket.bulk_jobs WHERE reported_at IS NOT NULL") < GOOD:
        age(shop, MOMENTS, NEXT)
        run_slice(shop.services, org)
        assert max(tries.values()) <= 2


@pytest.mark.parametrize("operation", ["tasks.get", "listings.detail"])
def test_parts_whose_outcome_cannot_be_read_starve_no_others(
    shop: Shop, org: str, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their tasks are polled, or their listings read back as their answers were lost."""
    skus = [row["sku"] for row in shop.sandbox.truth(org, "listings")]
    lost = operation == "listings.detail"
    if lost:
        shop.sandbox.add_fault("close", operation="listings.bulk", applied=True)
    for sku in skus:
        submit(shop, org, [{"sku": sku, "quantity": 5}])
    while shop.one("SELECT count(*) FROM backmarket.bulk_parts WHERE state = 'pending'"):
        age(shop, MOMENTS, NEXT)
        run_slice(shop.services, org)
    parts = shop.execute("SELECT job_id, task_id FROM backmarket.bulk_parts ORDER BY job_id")
    assert len(parts) == len(skus)
    paths = [
        f"/ws/listings/detail?sku={sku}" if lost else f"/ws/tasks/{task}"
        for sku, (_, task) in zip(skus, parts, strict=True)
    ]
    for path in paths[:FAILING]:
        shop.sandbox.add_fault("status", path=path)
    jobs = [job for job, _ in parts]
    tries = "SELECT max(tries) FROM backmarket.bulk_parts WHERE job_id = ANY(%s)"
    open_ones = "SELECT count(*) FROM backmarket.bulk_jobs WHERE id = ANY(%s) AND ended_at IS NULL"
    while shop.one(open_ones, jobs[FAILING:]):
        age(shop, MOMENTS, NEXT)
        run_slice(shop.services, org)
        assert shop.one(tries, jobs[:FAILING]) <= 2
