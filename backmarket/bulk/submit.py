"""Submit a file: check it, then store it, then insert it as a job.

Nothing is stored before the whole file was checked. The files are in the bucket before the rows that name them are
written: a process that is killed in between leaves files behind, but no partial job.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, cast
from unicodedata import category

from backmarket import audit, connections
from backmarket.bucket.keys import bulk_key
from backmarket.bulk import jobs, queries, reports, rows
from backmarket.bulk.csv_file.reader import open_source
from backmarket.bulk.csv_file.spool import File, pieces_of, room, spool
from backmarket.bulk.file_check import CheckedFiles, FileChecking
from backmarket.bulk.file_preview import FilePreview, preview_of
from backmarket.bulk.handle import BulkHandle
from backmarket.bulk.jobs import Submission
from backmarket.bulk.options import Options, from_message, with_name
from backmarket.bulk.skipped_lines import LeftOut
from backmarket.client.endpoints import check_locale
from backmarket.errors import BackMarketError, InvalidArgument, UsageError
from backmarket.observability.logs import Logger
from backmarket.services import Services

UPLOADS = "uploads/"
"""Prefix in the bucket for the files that a host application's messages name."""

MAX_OBJECT_KEY_BYTES = 1024
"""Maximum length of a key in bytes, by S3's rule."""

log = Logger(__name__)


class PreparedFile:
    """A file that was checked and cut, but not stored yet. It is valid within its `with` block.

    Attributes:
        check: the result of the check.
    """

    def __init__(self, services: Services, organization_id: str, options: Options, files: CheckedFiles) -> None:
        self.check = files.check
        self._services = services
        self._organization_id = organization_id
        self._options = options
        self._files = files

    def submit(self) -> BulkHandle:
        """Store the file and insert the job; workers send it from then on.

        Returns:
            A handle of the job; if the idempotency key was used before, of that earlier job.

        Raises:
            BulkFileRefused: if the file is refused, see `check`; nothing is stored.
            InvalidArgument: if the idempotency key belongs to another file or to other options.
            ConnectionNotFound, ConnectionDisabled, ApiKeyMissing, ConnectionUnauthorized: if the connection cannot be
                used now.
            BucketUnavailable, DatabaseUnavailable: if nothing was submitted, or that is unknown; retry with an
                idempotency key.
        """
        act = audit.Act("bulk.submit", self._organization_id, "bulk_job", details={"lines": self.check.lines})
        with audit.attempt(self._services.database, act):
            if self._files.refused is not None:
                raise self._files.refused
            return self._handle(self._known() or self._write_down())

    def write_faults(self, into: BinaryIO) -> str:
        """Write a copy of the file that has the faults of each line beside its own columns.

        The copy has the file's rows, columns, encoding and separator, or is a workbook if the file is one (with the
        values of its formulas). It can be corrected and sent: the column of the faults is left out.

        Args:
            into: an empty file, open for writing bytes.

        Returns:
            A name for it, such as `stock-faults.csv`.

        Raises:
            InvalidArgument: if no line is bad, the column names are wrong, or a broken quote hides the rest of the
                file.
        """
        if self._files.write_faults is None:
            reason = self._files.refused.message if self._files.refused else ""
            raise InvalidArgument(f"A copy with the faults is for lines. {reason}")
        if not self.check.bad_lines:
            raise InvalidArgument("No line of the file has a fault, so there is no copy with faults.")
        with room():
            self._files.write_faults(into)
        stem = Path(self._options.file_name or "listings").stem
        return f"{stem}-faults{'.xlsx' if self.check.is_workbook else '.csv'}"

    def submit_refused(self) -> BulkHandle:
        """Insert a job in any case; if the file was refused, a failed job with the faults in its report.

        Raises:
            UsageError, BucketUnavailable, DatabaseUnavailable: see `submit`.
        """
        return self._handle(self._known() or self._write_down())

    def _handle(self, job_id: int) -> BulkHandle:
        return BulkHandle(self._organization_id, job_id, self.check.expected_duration, self._services)

    def _known(self) -> int | None:
        """The job with the same idempotency key, file and options, if there is one."""
        key = self._options.idempotency_key
        if key is None:
            return None
        with self._services.database.transaction() as transaction:
            found = rows.by_key(transaction, self._organization_id, key)
        return found[0] if found is not None and found[1] == self._files.fingerprint else None

    def _write_down(self) -> int:
        self._services.need_broker()  # once the job is inserted, its files must stay
        job_id = jobs.new_id(self._services.database)
        keys = list(self._store(job_id))
        try:
            submitted = jobs.submit(self._services, self._submission(job_id))
        except UsageError:  # certainly not inserted; any other error leaves that open
            self._discard(keys)
            raise
        if submitted != job_id:
            self._discard(keys)
        return submitted

    def _store(self, job_id: int) -> Iterator[str]:
        files = (
            ("original", self._files.original, "application/octet-stream"),
            ("lines.csv", self._files.lines if self._files.parts else None, reports.CSV_TYPE),
            (reports.LEFT_OUT, self._files.left_out, reports.CSV_TYPE),
        )
        for name, file, content_type in files:
            if file is not None:
                key = bulk_key(self._organization_id, job_id, name)
                reports.store(self._services, key, file, content_type)
                yield key

    def _discard(self, keys: list[str]) -> None:
        with suppress(BackMarketError):  # leftover files do no harm
            self._services.bucket.delete(keys)

    def _submission(self, job_id: int) -> Submission:
        options, files = self._options, self._files
        return Submission(
            job_id=job_id,
            organization_id=self._organization_id,
            header=files.parts.header.decode() if files.parts else "",
            parts=files.parts or (),
            lines=self.check.lines,
            fingerprint=files.fingerprint,
            bad_lines=self.check.bad_lines,
            unchanged_lines=self.check.unchanged_lines,
            file_name=options.file_name,
            locale=options.locale,
            max_age=options.max_age,
            idempotency_key=options.idempotency_key,
            environment=options.environment,
            refused=files.refused,
        )


@contextmanager
def prepared(
    services: Services, organization_id: str, file: File, options: Options | None = None
) -> Iterator[PreparedFile]:
    """Check and cut a file. Memory use grows by only 60 bytes a line.

    Args:
        file: read from its current position to its end.
        options: how to read and send it.

    Yields:
        The prepared file, to submit within the `with` block.

    Raises:
        InvalidArgument: if an option is invalid, or the file is unreadable.
        TooLarge: if the file is larger than 5 GiB.
        SettingsError: if there is no space for temporary files.
        ConnectionNotFound, ConnectionDisabled, ApiKeyMissing, ConnectionUnauthorized, EnvironmentMismatch: if nothing
            can be sent.
    """
    options = options or Options()
    connection = connections.get(services.database, organization_id)
    connections.check_usable(connection, options.environment)
    if options.market:
        options = replace(options, locale=connection.market_of(options.market) or connection.locale)
    locale = check_locale(connection.region, options.locale or connection.locale)
    market = locale if locale in connection.markets else ""
    if options.skip_unchanged:
        own = market or connection.locale
        with services.database.transaction() as transaction:
            queries.check_comparable(transaction, organization_id, locale=locale, own=own, market=market)
    with ExitStack() as stack:
        original, lines, texts, left_out = (cast(BinaryIO, stack.enter_context(TemporaryFile())) for _ in range(4))
        text = file if isinstance(file, str) else None
        checking = FileChecking(services, organization_id, options, locale, text, original, LeftOut(texts), market)
        with room():
            fingerprint = options.fingerprint(spool(pieces_of(file), original))
            files = checking.run(lines, left_out, fingerprint=fingerprint)
        yield PreparedFile(services, organization_id, with_name(options, file), files)


def preview(services: Services, organization_id: str, file: File, options: Options, *, rows: int) -> FilePreview:
    """Read the beginning of a file; see `preview_of`.

    Raises:
        BulkFileRefused: if it is no list.
        InvalidArgument: if an option is invalid, or the file is unreadable.
        TooLarge, SettingsError: see `prepared`.
        ConnectionNotFound: if the organization is not connected.
    """
    connection = connections.get(services.database, organization_id)
    locale = check_locale(connection.region, options.locale or connection.locale)
    with cast(BinaryIO, TemporaryFile()) as copy, room():
        spool(pieces_of(file), copy)
        copy.seek(0)
        with open_source(
            file if isinstance(file, str) else copy,
            delimiter=options.delimiter,
            quotechar=options.quotechar,
            encoding=options.encoding,
            columns=options.column_map,
            any_header=True,
        ) as source:
            return preview_of(
                source,
                locale=locale,
                notation=options.notation,
                skus_as_they_are=options.skus_as_they_are,
                rows=rows,
            )


def submit_object(services: Services, organization_id: str, object_key: str, **options: Any) -> int:
    """Submit a file that is in the bucket. A refused file becomes a failed job.

    Repeating the call with the same object, bytes and options gives the same job.

    Args:
        object_key: of the file, under `uploads/`.
        **options: those of `Options`, `max_age` in seconds.

    Returns:
        The job's id.

    Raises:
        InvalidArgument: if an option or the key is invalid.
        ObjectNotFound: if there is no such object.
        UsageError, BucketUnavailable, DatabaseUnavailable: see `prepared` and `PreparedFile.submit`.
    """
    _check_upload_key(object_key)
    with cast(BinaryIO, TemporaryFile()) as upload:
        with room(), services.bucket.get(object_key) as stored:
            content = spool(stored.chunks, upload)
        upload.seek(0)
        asked = from_message(object_key, content, options)
        with prepared(services, organization_id, upload, asked) as found:
            job_id = found.submit_refused().id
    log.info("bulk.submitted_object", job=job_id, refused=found.check.is_refused)
    return job_id


def _check_upload_key(key: str) -> None:
    """Refuse keys that no S3 server can have: the server's error would look like an outage.

    Raises:
        InvalidArgument: if the key is not under `uploads/`, or is invalid.
    """
    if not key.startswith(UPLOADS):
        raise InvalidArgument(f"The message's file is not under {UPLOADS}. Put it there.")
    unfit = any(category(character) in {"Cc", "Cs"} for character in key)
    if unfit or {".", ".."} & set(key.split("/")) or len(key.encode()) > MAX_OBJECT_KEY_BYTES:
        raise InvalidArgument(
            f"A file's key has {MAX_OBJECT_KEY_BYTES} bytes at most, no control characters, and no part that is . or"
            " .. alone."
        )
