"""Bulk jobs: check and submit files of listings, query the jobs, and settle their parts."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, BinaryIO, TypedDict, Unpack

from backmarket import connections
from backmarket.bulk import formats, jobs, queries, reports
from backmarket.bulk.formats import FileFormat
from backmarket.bulk.handle import BulkHandle, BulkSyncOutcome
from backmarket.bulk.options import Options
from backmarket.bulk.rows import Job, JobState, Part, PartState
from backmarket.client.endpoints import Environment
from backmarket.errors import BulkJobNotFound
from backmarket.facade.part import FacadePart
from backmarket.facade.stored import StoredRows
from backmarket.facade.syncs import Syncs
from backmarket.queries.pagination import Page

if TYPE_CHECKING:  # loaded with the first file
    from backmarket.bulk.file_check import FileCheck
    from backmarket.bulk.file_preview import FilePreview
    from backmarket.bulk.submit import PreparedFile


class FileOptions(TypedDict, total=False):
    """How to read a file of listings, and what to do with it; see `Options`."""

    delimiter: str | None
    quotechar: str | None
    encoding: str | None
    decimal: str | None
    thousands: str | None
    skus_as_they_are: bool
    locale: str | None
    skip_bad_lines: bool
    skip_unchanged: bool
    max_age: timedelta | None
    idempotency_key: str | None
    environment: Environment | None
    file_name: str | None
    columns: Mapping[str, str] | None
    market: str | None


class Bulk(FacadePart):
    """The methods of `BackMarket` for files of listings.

    A file is a `Path`, a file open for reading bytes, or the CSV text itself. It is CSV or an Excel workbook
    (.xlsx), known by its first bytes. Its first row names the columns; one is `sku`. The options:

    - `delimiter`, `quotechar`, `encoding`: the CSV dialect. By default detected from the header; the encoding is UTF-8
      unless a byte order mark says otherwise.
    - `decimal` (`.` or `,`), `thousands` (`.`, `,`, a space or `'`): the format of amounts; never guessed.
    - `skus_as_they_are`: send SKUs that look as if Excel had damaged them, such as `3.53E+14`.
    - `locale`: the market that prices and texts belong to, if not the connection's.
    - `market`: the same, of the connection's markets.
    - `skip_bad_lines`: send the other lines. Without it one bad line refuses the file, and nothing is sent.
    - `skip_unchanged`: leave out lines that change nothing by the latest sync of the listings.
    - `max_age`: maximum time until a line is sent; later lines are dropped, as old quantities oversell.
    - `idempotency_key`: the caller's own name for the job: repeating the call returns the same job.
    - `environment`: must be the connection's, if given.
    - `file_name`: the file's name, for people.
    - `columns`: the names of columns in the file, and those under which they are sent, such as
      `{"Artikelnummer": "sku", "Lager": ""}`; empty: left out. Other columns keep their names.

    All methods that take a file raise

    - `ConnectionNotFound`, `ConnectionDisabled`, `ApiKeyMissing`, `ConnectionUnauthorized`, `EnvironmentMismatch`: if
      the connection cannot be used like this.
    - `InvalidArgument`: if an option is invalid, or the file is unreadable.
    """

    def create_or_update_listings(
        self, organization_id: str, file: Path | BinaryIO | str, **options: Unpack[FileOptions]
    ) -> BulkHandle:
        """Create or update listings from a CSV file of any size. The call checks it; workers send it in parts.

        Args:
            file: see the class.
            **options: see the class.

        Returns:
            A handle; `expected_duration` is the minimum time, by the quota of SKU lines.

        Raises:
            BulkFileRefused: if lines are bad; `faults` names each with what is expected. Nothing was stored or sent.
            BucketUnavailable, DatabaseUnavailable: if nothing was submitted, or that is unknown: repeat the call with
                an idempotency key.
        """
        with self.prepare_listings_file(organization_id, file, **options) as prepared:
            return prepared.submit()

    def create_or_update_listings_and_sync(
        self,
        organization_id: str,
        file: Path | BinaryIO | str,
        *,
        max_wait: float = 600.0,
        poll_interval: float | None = None,
        **options: Unpack[FileOptions],
    ) -> BulkSyncOutcome:
        """The same, then wait until the job has ended and the listings were synced after it. Only the caller waits.

        Args:
            file: see the class.
            max_wait: seconds to wait for both.
            poll_interval: seconds between two reads of the rows; None: short at first, then growing.
            **options: see the class.

        Raises:
            WaitTimeout: if it has not ended in time; it continues. The text names the job.
            BackMarketError: if no line was done, or the sync failed; the class says why.
        """
        until = monotonic() + max_wait
        handle = self.create_or_update_listings(organization_id, file, **options)
        job = handle.wait(max_wait, poll_interval=poll_interval)
        sync = Syncs(self._services).sync_listings(organization_id)
        return BulkSyncOutcome(job, sync.wait(max(0.0, until - monotonic())))

    def check_listings_file(
        self, organization_id: str, file: Path | BinaryIO | str, **options: Unpack[FileOptions]
    ) -> FileCheck:
        """Check a file as for submission, without storing anything.

        Args:
            organization_id: the organization; the market and the quota are its connection's.
            file: see the class.
            **options: see the class.

        Returns:
            Its faults, the number of lines to send, and the minimum time for that.
        """
        with self.prepare_listings_file(organization_id, file, **options) as prepared:
            return prepared.check

    def prepare_listings_file(
        self, organization_id: str, file: Path | BinaryIO | str, **options: Unpack[FileOptions]
    ) -> AbstractContextManager[PreparedFile]:
        """Check a file, inspect the result, then submit the file or not.

            with bm.prepare_listings_file("shop-1", Path("listings.csv")) as prepared:
                if prepared.check.expected_duration < timedelta(hours=2):
                    handle = prepared.submit()

        Args:
            file: see the class; it is read once.
            **options: see the class.
        """
        from backmarket.bulk import submit

        return submit.prepared(self._services, organization_id, file, Options(**options))

    def preview_listings_file(
        self, organization_id: str, file: Path | BinaryIO | str, *, rows: int = 5, **options: Unpack[FileOptions]
    ) -> FilePreview:
        """The first lines of a file as they are understood, and under which name each column would be sent.

        The file needs no column `sku`: give `matching` of the result, corrected by a person, as `columns` of a check
        or a submission.

        Args:
            file: see the class; only its beginning is checked.
            rows: maximum number of lines.
            **options: see the class.

        Raises:
            BulkFileRefused: if it is no list.
        """
        from backmarket.bulk import submit

        return submit.preview(self._services, organization_id, file, Options(**options), rows=rows)

    def get_listings_file_format(self, organization_id: str) -> FileFormat:
        """How an organization's files are written, as it was saved; the console saves what a person chooses there.

        It is not applied by itself: give its attributes as options of a file.
        """
        return formats.get(self._services.database, organization_id)

    def save_listings_file_format(self, organization_id: str, chosen: FileFormat) -> None:
        """Save how an organization's files are written. Columns that were matched before stay matched.

        Args:
            chosen: the format.

        Raises:
            ConnectionNotFound: if the organization is not connected.
        """
        formats.save(self._services.database, organization_id, chosen)

    def write_listings_template(self, organization_id: str, into: BinaryIO) -> int:
        """Write the file to fill in, an Excel workbook with the organization's stored listings.

        Args:
            organization_id: whose listings; prices and texts are those of the connection's locale.
            into: an empty file, open for writing bytes.

        Returns:
            The number of listings.

        Raises:
            ConnectionNotFound: if the organization is not connected.
            TooLarge: if the listings are more than a workbook may have when it is sent.
        """
        from backmarket.bulk.template_file import write_template

        locale = connections.get(self._services.database, organization_id).locale
        listings = StoredRows(self._services).iter_listings(organization_id)
        return write_template(listings, into, locale=locale)

    def get_bulk_job(self, organization_id: str, job_id: int) -> Job | None:
        """One bulk job, with the number of its lines in each state; None: it does not exist."""
        try:
            return jobs.get(self._services.database, organization_id, job_id)
        except BulkJobNotFound:
            return None

    def get_bulk_jobs(
        self,
        organization_id: str,
        *,
        state: JobState | str | None = None,
        idempotency_key: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Job]:
        """Bulk jobs, the newest first.

        Args:
            state: only `pending`, `running`, `waiting_for_quota`, `done`, `done_with_errors`, `failed` or `cancelled`.
            idempotency_key: only the job with this key.
            limit: 1 to 1000.
            cursor: `next_cursor` of the page before.

        Raises:
            InvalidArgument: if an argument is invalid.
        """
        return queries.page(
            self._services.database,
            organization_id,
            state=state,
            idempotency_key=idempotency_key,
            limit=limit,
            cursor=cursor,
        )

    def get_bulk_parts(self, organization_id: str, job_id: int) -> list[Part]:
        """The parts of a job, in their order.

        Raises:
            BulkJobNotFound: if there is no such job.
        """
        jobs.get(self._services.database, organization_id, job_id)
        return list(jobs.parts(self._services.database, organization_id, job_id))

    def get_bulk_parts_in(
        self, organization_id: str, job_id: int, states: Collection[PartState | str], *, limit: int = 50
    ) -> list[Part]:
        """The first parts of a job in some states, such as those that need a person.

        Args:
            states: any of `pending`, `submitting`, `submitted`, `done`, `failed`, `unknown` and `cancelled`.
            limit: 1 to 1000.

        Raises:
            BulkJobNotFound: if there is no such job.
            InvalidArgument: if an argument is invalid.
        """
        return jobs.parts_in(self._services.database, organization_id, job_id, states, limit=limit)

    def get_bulk_handle(self, organization_id: str, job_id: int) -> BulkHandle:
        """A handle of a job that was submitted before; its `expected_duration` is the remaining time.

        Raises:
            BulkJobNotFound: if there is no such job.
        """
        job = jobs.get(self._services.database, organization_id, job_id)
        left = queries.expected_duration(self._services, organization_id, 0) if job.lines_pending else timedelta()
        return BulkHandle(organization_id, job_id, left, self._services)

    def cancel_bulk_job(self, organization_id: str, job_id: int) -> Job:
        """Send no more parts of a job. Back Market finishes the parts that it already has; the job ends after that.

        Raises:
            BulkJobNotFound: if there is no such job.
        """
        with self._attempt("bulk.cancel", organization_id, "bulk_job", job_id):
            return jobs.cancel(self._services, organization_id, job_id)

    def settle_bulk_part(self, organization_id: str, job_id: int, part: int, *, arrived: bool) -> Job:
        """Settle a part whose outcome is unknown, after a person has looked at Back Market.

        Args:
            part: the part's number.
            arrived: True: its lines count as done. False: the part is sent again, and the job continues.

        Raises:
            BulkJobNotFound: if there is no such job or part.
            InvalidArgument: if there is nothing to settle.
        """
        with self._attempt("bulk.settle", organization_id, "bulk_job", job_id):
            return jobs.settle_part(self._services, organization_id, job_id, part, arrived=arrived)

    def get_bulk_report_url(self, organization_id: str, job_id: int, *, expires: int = reports.LINK_SECONDS) -> str:
        """A link to the report of an ended job: a CSV file with the outcome of each line.

        Args:
            expires: seconds until the link expires, 1 to 604,800 (7 days); until then, anyone with it can read it.

        Raises:
            BulkJobNotFound: if there is no such job.
            InvalidArgument: if the job has not ended, or `expires` is out of range.
            BucketUnavailable: if the S3 server is away.
        """
        return reports.url(self._services, organization_id, job_id, expires=expires)
