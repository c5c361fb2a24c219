"""The caller's handle of a bulk job: its progress, how it ended, and the outcome of each line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from backmarket.bulk import jobs, queries, reports
from backmarket.bulk.reports import ReportLine
from backmarket.bulk.rows import Job, JobState, Part
from backmarket.errors import error_for
from backmarket.services import Services
from backmarket.sync.handle import SyncOutcome
from backmarket.work.wait import Poll, poll, wait_for


@dataclass(frozen=True, slots=True)
class BulkHandle:
    """A submitted bulk job. Workers process it; waiting is optional.

    Attributes:
        id: the job's id.
        expected_duration: minimum time until its last line is sent, estimated when it was submitted.
    """

    organization_id: str
    id: int
    expected_duration: timedelta
    _services: Services = field(repr=False)

    def status(self) -> Job:
        """The job as it is now.

        Raises:
            BulkJobNotFound: if the connection was removed, and the job with it.
        """
        return jobs.get(self._services.database, self.organization_id, self.id)

    def waits_for(self) -> str:
        """What it waits for, in words; empty: it has ended."""
        return queries.what_it_waits_for(self._services.database, self.status())

    def may_settle(self, part: Part) -> bool:
        """Whether a person may settle one of its parts now; see `BackMarket.settle_bulk_part`."""
        return jobs.is_decidable(self._services.settings, part)

    def done(self) -> Job | None:
        """The job, once it has ended; None: it is still open. Its state says how it ended.

        Raises:
            BackMarketError: if no line was done; the class says why.
            BulkJobNotFound: see `status`.
        """
        job = self.status()
        if job.state is JobState.FAILED:
            raise error_for(job.error_code or "error", f"Bulk job {job.id} failed: {job.error}")
        return job if job.ended_at is not None else None

    def wait(self, timeout: float = 60.0, *, poll_interval: float | None = None) -> Job:
        """Wait until the job has ended: `done`, `done_with_errors` (see `report`) or `cancelled`.

        Args:
            timeout: seconds. A large file may take days (`expected_duration`).
            poll_interval: seconds between two reads of its row; None: short at first, growing to one second.

        Raises:
            WaitTimeout: if it has not ended in time; it continues. The text says what it waits for.
            BackMarketError: if no line was done; see `done`.
        """
        return wait_for(self.poll(timeout, poll_interval=poll_interval))

    def poll(self, timeout: float = 60.0, *, poll_interval: float | None = None) -> Poll[Job]:
        """`wait` read by read, for an event loop: yields the seconds to pause, and returns the outcome."""

        def why_not() -> str:
            return f"Bulk job {self.id} has not ended within {timeout:g} s; workers continue it. {self.waits_for()}"

        return poll(self.done, timeout, why_not, max_pause=1.0, poll_interval=poll_interval)

    def report(self) -> Iterator[ReportLine]:
        """The outcome of each line of the file, as known now, in the file's order.

        Raises:
            BulkJobNotFound: see `status`.
            BucketUnavailable: if the S3 server is away.
        """
        return reports.lines(self._services, self.status())

    def report_url(self, *, expires: int = reports.LINK_SECONDS) -> str:
        """A link to the report as a CSV file, once the job has ended; see `reports.url`."""
        return reports.url(self._services, self.organization_id, self.id, expires=expires)


@dataclass(frozen=True, slots=True)
class BulkSyncOutcome:
    """A bulk job that ended, and the sync of the listings after it.

    Attributes:
        job: its state says how it ended, its counts give the outcomes of its lines.
        sync: what the sync found.
    """

    job: Job
    sync: SyncOutcome
