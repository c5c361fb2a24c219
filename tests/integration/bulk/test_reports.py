"""A report that cannot be written is tried for half a day, holds up nothing, and is written when it is asked for."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator

import pytest

from backmarket.bucket.keys import bulk_key
from backmarket.bulk import reports
from backmarket.bulk.completion import REPORT_TRIES
from backmarket.bulk.jobs import JobState
from backmarket.errors import Crashed
from backmarket.sandbox.control.client import SandboxControl
from tests.conftest import Bucket
from tests.support.bulk_files import job_of, one_slice, opened_shop, run, settings_for, submit
from tests.support.sellers import Shop

POISON = b'"sku"\n"' + b"x" * 200_000 + b'"\n'
"""A cell above the limit of Python's csv module."""


@pytest.fixture
def shop(shared_url: str, redis_url: str, s3: Bucket, sandbox: SandboxControl, org: str) -> Iterator[Shop]:
    with opened_shop(settings_for(shared_url, redis_url, s3), sandbox, org, listings=6) as shop:
        yield shop


def job_for(shop: Shop, org: str, at: int) -> int:
    row = shop.sandbox.truth(org, "listings")[at]
    return submit(shop, org, [{"sku": row["sku"], "quantity": row["quantity"] + 1}])


def store(shop: Shop, org: str, job_id: int, content: bytes) -> None:
    digest, key = hashlib.sha256(content).hexdigest(), bulk_key(org, job_id, "lines.csv")
    shop.services.bucket.put(key, io.BytesIO(content), size=len(content), content_type="text/csv", sha256=digest)


def due(shop: Shop) -> None:
    shop.execute("UPDATE backmarket.bulk_jobs SET report_due_at = now() WHERE report_due_at IS NOT NULL")


def test_one_reports_failure_is_that_reports(shop: Shop, org: str) -> None:
    poisoned, other = job_for(shop, org, 0), job_for(shop, org, 1)
    for job_id in (poisoned, other):
        run(shop, org, job_id)
    with shop.services.bucket.get(bulk_key(org, poisoned, "lines.csv")) as content:
        good = b"".join(content.chunks)
    store(shop, org, poisoned, POISON)
    shop.execute("UPDATE backmarket.bulk_jobs SET report_due_at = created_at, reported_at = NULL")
    third = job_for(shop, org, 2)
    assert run(shop, org, third).state is JobState.DONE
    assert all(job_of(shop, org, each).reported_at for each in (other, third)), "the others are written"
    for _ in range(REPORT_TRIES - 1):
        assert shop.one("SELECT report_due_at > now() FROM backmarket.bulk_jobs WHERE id = %s", poisoned) is True
        due(shop)
        assert one_slice(shop, org).end == "done"
    assert shop.one("SELECT report_due_at IS NULL FROM backmarket.bulk_jobs WHERE id = %s", poisoned) is True
    job = job_of(shop, org, poisoned)
    assert (job.reported_at, "cannot be read as CSV" in (job.report_error or "")) == (None, True)
    with pytest.raises(Crashed, match="cannot be read as CSV"):
        reports.url(shop.services, org, poisoned)
    store(shop, org, poisoned, good)
    assert reports.url(shop.services, org, poisoned).startswith("http")
    job = job_of(shop, org, poisoned)
    assert (job.reported_at is not None, job.report_error) == (True, None)


def test_a_fault_of_ours_in_one_report_is_that_reports(shop: Shop, org: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = job_for(shop, org, 0)

    def fails(*_: object) -> None:
        raise AssertionError("a secret")

    monkeypatch.setattr(reports, "write", fails)
    assert run(shop, org, first).state is JobState.DONE
    assert job_of(shop, org, first).report_error == "Internal error, AssertionError. See the worker's log."
    assert run(shop, org, job_for(shop, org, 1)).state is JobState.DONE
