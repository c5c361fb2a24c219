"""Bulk jobs in tests: submitted as files are, and driven by slices in this process."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any

from backmarket.bucket.keys import bulk_key
from backmarket.bulk import jobs
from backmarket.bulk.csv_file.parts import Part as Cut
from backmarket.bulk.csv_file.parts import cut
from backmarket.bulk.csv_file.reader import open_source
from backmarket.bulk.csv_file.validation import Check
from backmarket.bulk.engine.slice import SliceResult, run_slice
from backmarket.bulk.jobs import Job, LineOutcome, Part, Submission
from backmarket.sandbox.control.client import SandboxControl
from backmarket.settings import Settings
from tests.conftest import Bucket
from tests.support.databases import empty
from tests.support.sellers import Shop
from tests.support.settings import fresh_settings
from tests.support.waiting import PATIENCE_SECONDS

Rows = Sequence[Mapping[str, Any]]


def settings_for(database_url: str, redis_url: str, s3: Bucket, **changes: Any) -> Settings:
    """Settings for jobs whose tasks are asked about at once."""
    values: dict[str, Any] = {"bulk_poll_initial_seconds": 0.01, "request_deadline": 60.0} | changes
    return fresh_settings(
        database_url=database_url,
        redis_url=redis_url,
        s3_endpoint_url=s3.endpoint_url,
        s3_access_key=s3.access_key,
        s3_secret_key=s3.secret_key,
        s3_bucket=s3.name,
        s3_region=s3.region,
        **values,
    )


@contextmanager
def opened_shop(settings: Settings, sandbox: SandboxControl, organization: str, *, listings: int) -> Iterator[Shop]:
    """A seller with listings that are not synced, alone in a database that was emptied and with all quota free.

    Args:
        settings: as `settings_for` gives them.
        sandbox: works through tasks at once, and answers without faults.
        organization: the seller.
        listings: how many.
    """
    empty(settings.need("database_url"))
    sandbox.remove_faults()
    sandbox.settings(task_delay=0.0, sku_lines_limit=2000, sku_lines_window=3600.0)
    sandbox.settings(assumptions={"task_result": "dict"})
    shop = Shop(settings, sandbox, ("listings",))
    shop.execute("DELETE FROM backmarket.sku_quota")
    shop.sell(organization, orders=0, listings=listings)
    yield shop
    shop.services.close()


def as_csv(rows: Rows) -> bytes:
    """A file as a seller would write it."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, delimiter=";", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def submit(
    shop: Shop, organization: str, rows: Rows, *, part_lines: int = 500, locale: str = "fr-fr", **options: Any
) -> int:
    """Check, cut, store and submit some rows; gives the job's id."""
    original, canonical = as_csv(rows), io.BytesIO()
    header, parts = "", list[Cut]()
    if rows:
        with open_source(io.BytesIO(original)) as source:
            made = cut(Check(source, locale=locale), canonical, part_lines=part_lines)
        header, parts = made.header.decode(), list(made)
    job_id = jobs.new_id(shop.services.database)
    text = canonical.getvalue()
    shop.services.bucket.put(
        bulk_key(organization, job_id, "lines.csv"),
        io.BytesIO(text),
        size=len(text),
        content_type="text/csv",
        sha256=hashlib.sha256(text).hexdigest(),
    )
    submission = Submission(
        job_id=job_id,
        organization_id=organization,
        header=header,
        parts=parts,
        lines=len(rows),
        fingerprint=hashlib.sha256(original).hexdigest(),
        locale=locale,
        **options,
    )
    return jobs.submit(shop.services, submission)


def hurry(shop: Shop) -> None:
    """Let whatever waits for a time be due, but for what waits for the quota."""
    shop.execute("UPDATE backmarket.bulk_parts SET due_at = now() WHERE due_at < 'infinity'")
    shop.execute("UPDATE backmarket.work SET due_at = now(), nudged_until = NULL WHERE kind = 'bulk'")


def one_slice(shop: Shop, organization: str) -> SliceResult:
    """One slice, with everything due."""
    hurry(shop)
    return run_slice(shop.services, organization)


def run(shop: Shop, organization: str, job_id: int) -> Job:
    """Slices until a job has ended, as the dispatcher would give them, but without the waits."""
    until = monotonic() + PATIENCE_SECONDS
    while True:
        one_slice(shop, organization)
        job = job_of(shop, organization, job_id)
        if job.ended_at is not None:
            return job
        assert monotonic() < until, f"not ended: {job}"
        sleep(0.02)


def job_of(shop: Shop, organization: str, job_id: int) -> Job:
    """The job as it is now."""
    return jobs.get(shop.services.database, organization, job_id)


def parts_of(shop: Shop, organization: str, job_id: int) -> list[Part]:
    """Its parts."""
    return list(jobs.parts(shop.services.database, organization, job_id))


def lines_of(shop: Shop, organization: str, job_id: int) -> dict[int, LineOutcome]:
    """What became of each line."""
    return {each.line: each for part in parts_of(shop, organization, job_id) for each in part.line_outcomes()}
