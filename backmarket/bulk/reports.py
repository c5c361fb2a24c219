"""The report of a bulk job: the outcome of each line of the seller's file.

It merges the parts, which have the outcomes of their lines, with `left_out.csv`, which names the lines that are in no
part; both are in the order of the file. When the job ends, a worker writes the report into the bucket as `report.csv`;
it can be read before that, too.
"""

from __future__ import annotations

import csv
import hashlib
import heapq
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, fields
from tempfile import TemporaryFile
from typing import BinaryIO

from backmarket.bucket.keys import bulk_key
from backmarket.bulk import completion, jobs
from backmarket.bulk.csv_file.parts import DELIMITER, ENCODING, QUOTECHAR
from backmarket.bulk.rows import Job, Outcome
from backmarket.errors import Crashed, InvalidArgument, ObjectNotFound
from backmarket.services import Services

REPORT, LEFT_OUT = "report.csv", "left_out.csv"
"""The names of the objects, beside those of the job's file."""

CHUNK = 256 * 1024
"""Bytes read at once."""

CSV_TYPE = f"text/csv; charset={ENCODING}"

LINK_SECONDS = 3600
"""Default lifetime of a link to a report, in seconds."""


@dataclass(frozen=True, slots=True)
class ReportLine:
    """The outcome of one line.

    Attributes:
        line: where it begins in the seller's file, from 1.
        sku: the SKU in the line.
        outcome: in one word; `open` while it is unknown.
        message: why the line is not done; empty if it is.
    """

    line: int
    sku: str
    outcome: Outcome
    message: str

    @property
    def cells(self) -> tuple[object, ...]:
        """The line as cells of a file for people, of which Excel calculates none."""
        return (self.line, neutral(self.sku), self.outcome.value, neutral(self.message))


_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a spreadsheet takes for the beginning of a formula (OWASP, CSV injection); the last four are full-width."""


def neutral(text: str) -> str:
    """A cell's text, with an apostrophe before the beginning of a formula."""
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


class CsvLines:
    """A CSV file in our own dialect, written line by line.

    Args:
        file: empty, open for writing.
        header: the names of its columns.
    """

    def __init__(self, file: BinaryIO, header: Iterable[object]) -> None:
        self._write = file.write
        self._writer = csv.writer(
            self, delimiter=DELIMITER, quotechar=QUOTECHAR, quoting=csv.QUOTE_ALL, lineterminator="\n"
        )
        self.add(header)

    def add(self, cells: Iterable[object]) -> None:
        """Add a line."""
        self._writer.writerow(cells)

    def write(self, text: str) -> None:
        """Write the text of a line; called by `csv`."""
        self._write(text.encode(ENCODING, "replace"))


def lines(services: Services, job: Job) -> Iterator[ReportLine]:
    """The outcome of each line, as known now, in the order of the seller's file.

    Raises:
        BucketUnavailable: if the S3 server is away.
    """
    return heapq.merge(_sent(services, job), _left_out(services, job), key=lambda each: each.line)


def write(services: Services, job: Job) -> None:
    """Write the report of an ended job into the bucket. Safe to repeat.

    Raises:
        BucketUnavailable: if the S3 server is away.
        BucketRefused: if the keys may not store objects.
    """
    with TemporaryFile() as file:
        report = CsvLines(file, (each.name for each in fields(ReportLine)))
        for each in lines(services, job):
            report.add(each.cells)
        store(services, bulk_key(job.organization_id, job.id, REPORT), file)


def url(services: Services, organization_id: str, job_id: int, *, expires: int = LINK_SECONDS) -> str:
    """A link to the report; anyone with the link can read it until it expires. Writes the report if it is missing.

    Args:
        expires: seconds from now, at most 7 days.

    Raises:
        BulkJobNotFound: if there is no such job.
        InvalidArgument: if the job has not ended, or `expires` is too long.
        BucketUnavailable: if the S3 server is away.
    """
    job = jobs.get(services.database, organization_id, job_id)
    if job.ended_at is None:
        raise InvalidArgument(
            f"Bulk job {job_id} has not ended, so its report is not ready. See what is known (`get_bulk_handle`,"
            " `backmarket bulk report`)."
        )
    if job.reported_at is None:
        write(services, job)
        with services.database.transaction() as transaction:
            completion.reported(transaction, job)
    name = f"bulk-{job_id}-report.csv"
    key = bulk_key(organization_id, job_id, REPORT)
    return services.bucket.presigned_url(key, expires=expires, filename=name, content_type=CSV_TYPE)


def store(services: Services, key: str, file: BinaryIO, content_type: str = CSV_TYPE) -> None:
    """Put a file into the bucket, from its beginning to its end.

    Raises:
        BucketUnavailable, BucketRefused: see `Bucket.put`.
    """
    file.seek(0)
    digest = hashlib.sha256()
    while chunk := file.read(CHUNK):
        digest.update(chunk)
    services.bucket.put(key, file, size=file.tell(), content_type=content_type, sha256=digest.hexdigest())


def _sent(services: Services, job: Job) -> Iterator[ReportLine]:
    """The lines that are in parts."""
    if not job.parts:
        return
    cells = _cells(services, bulk_key(job.organization_id, job.id, "lines.csv"))
    sku_of = _sku_of(next(cells, []))
    for part in jobs.parts(services.database, job.organization_id, job.id):
        for each in part.line_outcomes():
            yield ReportLine(each.line, sku_of(next(cells, [])), each.outcome, each.message)


def _left_out(services: Services, job: Job) -> Iterator[ReportLine]:
    """The lines that are in no part: bad ones, unchanged ones, and all lines of a refused file."""
    if job.parts and not job.bad_lines and not job.unchanged_lines:
        return
    cells = _cells(services, bulk_key(job.organization_id, job.id, LEFT_OUT))
    next(cells, None)
    for line, sku, outcome, message in cells:
        yield ReportLine(int(line), sku, Outcome(outcome), message)


def _sku_of(header: list[str]) -> Callable[[list[str]], str]:
    at = header.index("sku") if "sku" in header else 0
    return lambda cells: cells[at] if at < len(cells) else ""


def _cells(services: Services, key: str) -> Iterator[list[str]]:
    """The lines of one of our files; none if it was deleted: the rows alone still give the outcomes."""
    with suppress(ObjectNotFound), services.bucket.get(key) as content:
        try:
            yield from csv.reader(_text_lines(content.chunks), delimiter=DELIMITER, quotechar=QUOTECHAR, strict=True)
        except csv.Error as error:
            raise Crashed(f"A file of this job cannot be read as CSV ({error}).") from None


def _text_lines(chunks: Iterable[bytes]) -> Iterator[str]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield f"{line.decode(ENCODING)}\n"
    if rest:
        yield rest.decode(ENCODING)
