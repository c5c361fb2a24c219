"""Submit a file: read it once and check it line by line, then store it, then insert it as a job.

Nothing is stored before the whole file was checked. The files are in the bucket before the rows that name them are
written: a process that is killed in between leaves files behind, but no partial job.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from itertools import islice
from tempfile import TemporaryFile
from typing import Any, BinaryIO, cast
from unicodedata import category

import structlog

from backmarket import connections
from backmarket.bucket.keys import bulk_key
from backmarket.bulk import jobs, queries, reports, rows
from backmarket.bulk.csv_file.parts import FILE_LINES_LIMIT, Parts, cut
from backmarket.bulk.csv_file.reader import open_source
from backmarket.bulk.csv_file.skus import sku_key
from backmarket.bulk.csv_file.source import Source
from backmarket.bulk.csv_file.spool import File, pieces_of, room, spool
from backmarket.bulk.csv_file.unchanged import unchanged
from backmarket.bulk.csv_file.validation import Check, Row
from backmarket.bulk.handle import BulkHandle
from backmarket.bulk.jobs import Submission
from backmarket.bulk.options import Options, from_message, with_name
from backmarket.bulk.skipped_lines import LeftOut
from backmarket.client.endpoints import check_locale
from backmarket.errors import BackMarketError, BulkFileRefused, FileFault, InvalidArgument, UsageError
from backmarket.services import Services
from backmarket.work.contested import may_be_stale

UPLOADS = "uploads/"
"""Prefix in the bucket for the files that a host application's messages name."""

MAX_OBJECT_KEY_BYTES = 1024
"""Maximum length of a key in bytes, by S3's rule."""

COMPARED = 500
"""Lines that one query compares with their listings."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCheck:
    """The result of checking a file, before anything is stored or sent.

    Attributes:
        lines: number of listing lines; 0 if the header is wrong.
        bad_lines: number of lines that cannot be sent.
        unchanged_lines: number of lines that change nothing, if those are skipped.
        lines_to_send: number of lines to send on submission; 0: the file would be refused, or changes nothing.
        parts: number of parts to send.
        faults: the faults, by line; at most 10,000.
        fault_count: number of all faults.
        reason: why the file is refused; None: it is not.
        dialect: how the file is written, in words; None: unknown.
        columns: their names, as they are sent.
        unknown_columns: those columns that are not known; they are sent unchanged.
        notes: what was ignored or corrected in the file, one sentence each.
        expected_duration: minimum time until the last line is sent, by the account's quota.
    """

    lines: int = 0
    bad_lines: int = 0
    unchanged_lines: int = 0
    lines_to_send: int = 0
    parts: int = 0
    faults: tuple[FileFault, ...] = field(default=(), repr=False)
    fault_count: int = 0
    reason: str | None = None
    dialect: str | None = None
    columns: tuple[str, ...] = ()
    unknown_columns: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    expected_duration: timedelta = timedelta()

    @property
    def is_refused(self) -> bool:
        """Whether the file cannot be submitted."""
        return self.reason is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Files:
    """The result of the checks, with the temporary files.

    Attributes:
        check: the result of the check.
        refused: why nothing is sent; None: the file is accepted.
        parts: the parts of `lines`; None: the file was refused.
        original: the file itself.
        lines: the canonical text.
        left_out: the lines that are in no part; None: all lines are in parts.
        fingerprint: see `Options.fingerprint`.
    """

    check: FileCheck
    refused: BulkFileRefused | None
    parts: Parts | None
    original: BinaryIO
    lines: BinaryIO
    left_out: BinaryIO | None
    fingerprint: str


class PreparedFile:
    """A file that was checked and cut, but not stored yet. It is valid within its `with` block.

    Attributes:
        check: the result of the check.
    """

    def __init__(self, services: Services, organization_id: str, options: Options, files: _Files) -> None:
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
        if self._files.refused is not None:
            raise self._files.refused
        return self._handle(self._known() or self._write_down())

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
    locale = check_locale(connection.region, options.locale or connection.locale)
    if options.skip_unchanged:
        with services.database.transaction() as transaction:
            queries.check_comparable(transaction, organization_id, locale=locale, own=connection.locale)
    with ExitStack() as stack:
        original, lines, texts, left_out = (cast(BinaryIO, stack.enter_context(TemporaryFile())) for _ in range(4))
        text = file if isinstance(file, str) else None
        desk = _Checking(services, organization_id, options, locale, text, original, LeftOut(texts))
        with room():
            fingerprint = options.fingerprint(spool(pieces_of(file), original))
            files = desk.run(lines, left_out, fingerprint=fingerprint)
        yield PreparedFile(services, organization_id, with_name(options, file), files)


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
        raise InvalidArgument(f"A message names a file under {UPLOADS}, where the host application put it.")
    unfit = any(category(character) in {"Cc", "Cs"} for character in key)
    if unfit or {".", ".."} & set(key.split("/")) or len(key.encode()) > MAX_OBJECT_KEY_BYTES:
        raise InvalidArgument(
            f"A file's key has {MAX_OBJECT_KEY_BYTES} bytes at most, no control characters, and no part that is . or"
            " .. alone."
        )


@dataclass
class _Checking:
    """One file on its way through the checks."""

    services: Services
    organization_id: str
    options: Options
    locale: str
    text: str | None
    original: BinaryIO
    left_out: LeftOut

    def run(self, lines: BinaryIO, left_out: BinaryIO, *, fingerprint: str) -> _Files:
        """Check the file and cut it; write the parts and the left-out lines to these empty files."""
        source: Source | None = None
        checked: Check | None = None
        parts: Parts | None = None
        refused: BulkFileRefused | None = None
        try:
            source = self._open()
            checked = self._check(source)
            parts = cut(checked, lines, part_lines=self._part_lines(), choose=self._chooser(checked.header))
        except BulkFileRefused as error:
            refused = error
            for fault in error.faults if checked is None else ():
                self.left_out.add_fault(fault)
        is_whole = refused is None and not self.left_out
        if not is_whole:
            again = self._open().records() if checked is not None else iter(())
            self.left_out.write(left_out, again, refused=refused is not None)
        return _Files(
            check=self._summary(source, checked, parts, refused),
            refused=refused,
            parts=parts,
            original=self.original,
            lines=lines,
            left_out=None if is_whole else left_out,
            fingerprint=fingerprint,
        )

    def _open(self) -> Source:
        """Open the file from its beginning."""
        self.original.seek(0)
        return open_source(
            self.original if self.text is None else self.text,
            delimiter=self.options.delimiter,
            quotechar=self.options.quotechar,
            encoding=self.options.encoding,
        )

    def _check(self, source: Source) -> Check:
        options = self.options
        return Check(
            source,
            locale=self.locale,
            skip_bad_lines=options.skip_bad_lines,
            skus_as_they_are=options.skus_as_they_are,
            notation=options.notation,
            each_fault=self.left_out.add_fault,
        )

    def _part_lines(self) -> int:
        settings = self.services.settings
        return min(settings.bulk_part_lines, settings.sku_lines_limit, FILE_LINES_LIMIT - 1)

    def _chooser(self, header: Sequence[str]) -> Callable[[Iterable[Row]], Iterator[Row]] | None:
        return partial(self._changing, header) if self.options.skip_unchanged else None

    def _changing(self, header: Sequence[str], good: Iterable[Row]) -> Iterator[Row]:
        """The lines that change something."""
        waiting = iter(good)
        while some := list(islice(waiting, COMPARED)):
            named = [(line, cells, dict(zip(header, cells, strict=True))) for line, cells in some]
            skus = [row["sku"] for _, _, row in named]
            stored = queries.stored_listings(self.services.database, self.organization_id, skus)
            with self.services.database.transaction() as transaction:
                stale = may_be_stale(transaction, self.organization_id, skus, unsent=True)
            for line, cells, row in named:
                listing = stored.get(sku_key(row["sku"])) if row["sku"] not in stale else None
                if listing is not None and unchanged(row, listing, locale=self.locale):
                    self.left_out.add_unchanged(line)
                else:
                    yield line, cells

    def _summary(
        self, source: Source | None, checked: Check | None, parts: Parts | None, refused: BulkFileRefused | None
    ) -> FileCheck:
        to_send = parts.lines if parts is not None else 0
        found = FileCheck(
            lines_to_send=to_send,
            parts=len(parts) if parts is not None else 0,
            dialect=source.written if source is not None else None,
            expected_duration=queries.expected_duration(self.services, self.organization_id, to_send),
        )
        if checked is not None:
            found = replace(
                found,
                lines=checked.lines,
                bad_lines=checked.bad_lines,
                unchanged_lines=self.left_out.unchanged_lines() if refused is None else 0,
                faults=tuple(checked.faults),
                fault_count=checked.fault_count,
                columns=checked.header,
                unknown_columns=checked.unknown_columns,
                notes=checked.notes,
            )
        if refused is not None:
            found = replace(found, faults=refused.faults, fault_count=refused.count, reason=refused.message)
        return found
