"""A slice over an organization's bulk jobs: the worker polls, settles and sends what is due.

A slice never waits for Back Market's tasks: a row says when each is polled next. Only the holder of the lease runs a
slice, and every transaction that writes a result checks the lease.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from backmarket.bulk import completion, reports
from backmarket.bulk.engine import poll, send, verify
from backmarket.bulk.engine.context import SliceContext
from backmarket.bulk.models import Job
from backmarket.errors import (
    BackMarketError,
    BucketUnavailable,
    Crashed,
    DatabaseUnavailable,
    LeaseLost,
    SettingsError,
    UsageError,
)
from backmarket.observability.logs import Logger, error_location
from backmarket.services import Services
from backmarket.work.slice import take_lease

GAVE_UP = 60.0
"""Seconds until another worker may retry after this one failed: its settings are wrong, or on an internal error."""

REPORTED_A_SECOND = 2000
"""Minimum number of report lines written in a second; sets how long to extend the lease."""

log = Logger(__name__)

SliceEnd = Literal["nothing_to_do", "done", "failed", "lease_lost"]


@dataclass(frozen=True, slots=True)
class SliceResult:
    """The result of a slice.

    Attributes:
        end: how it ended.
        requests: number of requests sent to the API.
        error: why it failed, or why all bulk jobs of the organization pause.
    """

    end: SliceEnd
    requests: int = 0
    error: BackMarketError | None = field(default=None, compare=False)


def run_slice(services: Services, organization_id: str) -> SliceResult:
    """Process an organization's due bulk jobs, for as long as a slice may take.

    Safe to run twice, at the same time, and to be killed anywhere.

    Raises:
        DatabaseUnavailable: if PostgreSQL is away; the lease expires, and the dispatcher sends the next nudge.
    """
    completion.end_jobs(services.database, organization_id)
    lease = take_lease(services, organization_id, "bulk")
    if lease is None:
        return SliceResult("nothing_to_do")
    context = SliceContext(services, lease)
    try:
        _work(context)
        return SliceResult("done", context.api.requests, context.api.stopped_by)
    except DatabaseUnavailable:
        raise
    except LeaseLost as error:
        log.info("bulk.lease_lost", lease=lease.number, why=error.code)
        return SliceResult("lease_lost", context.api.requests)
    except (SettingsError, UsageError) as error:  # another worker may have the key, or the bucket
        failure: BackMarketError = error
        log.error("bulk.gave_up", code=error.code, error=error.message)
    except Exception as error:  # noqa: BLE001 - the work is due later, or workers would retry it for ever
        failure = Crashed.of(error)
        log.error("bulk.crashed", **error_location(error))
    context.end(GAVE_UP)
    return SliceResult("failed", context.api.requests, failure)


def _work(context: SliceContext) -> None:
    context.api.credentials()  # an unreadable key fails here, before anything is marked
    send.hold_back(context)
    while not context.over:
        busy = [poll.poll(context), verify.settle(context), send.send_next(context)]
        if not any(busy):
            break
    context.note_refused_key()
    completion.end_jobs(context.services.database, context.organization_id)
    _write_reports(context)
    context.end(context.api.pause)


def _write_reports(context: SliceContext) -> None:
    """Write the reports of ended jobs. Each stays due until it is in the bucket, or was tried often enough.

    One report's failure is that report's: the others are written, and the organization's jobs continue.
    """
    while not context.services.stopping.is_set():
        job = context.read(lambda transaction: completion.due_report(transaction, context.organization_id))
        if job is None:
            return
        context.write(lambda _: None, seconds=job.lines / REPORTED_A_SECOND)
        error = _write_report(context.services, job)
        if error is None:
            context.write(partial(completion.reported, job=job))
            continue
        log.warning("bulk.report_failed", job=job.id, code=error.code, error=error.message)
        context.write(partial(completion.report_failed, job=job, error=error))
        if isinstance(error, BucketUnavailable):
            return  # the next slice begins with the next report


def _write_report(services: Services, job: Job) -> BackMarketError | None:
    """Write a report; returns why that failed."""
    try:
        reports.write(services, job)
    except DatabaseUnavailable:
        raise
    except BackMarketError as error:
        return error
    except Exception as error:  # noqa: BLE001 - of odd content; the organization's other work continues
        log.error("bulk.report_crashed", job=job.id, **error_location(error))
        return Crashed.of(error)
    return None
