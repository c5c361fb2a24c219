"""The lines of a part, read from the bucket."""

from __future__ import annotations

from typing import NamedTuple

from backmarket.bucket.keys import bulk_key
from backmarket.bulk import rows
from backmarket.bulk.csv_file.parts import part_rows
from backmarket.bulk.engine.context import SliceContext
from backmarket.bulk.models import Part
from backmarket.errors import BucketUnavailable, ObjectNotFound


class Line(NamedTuple):
    """A line of a part: its number in the seller's file, and its cells."""

    number: int
    row: dict[str, str]


def part_text(context: SliceContext, part: Part) -> bytes:
    """The text to send for a part: the header and its lines.

    Raises:
        ObjectNotFound: if the file is no longer in the bucket.
        BucketUnavailable: if the S3 server is away, or returned another number of bytes.
    """
    job = context.read(lambda transaction: rows.select_job(transaction, part.organization_id, part.job_id))
    if job is None:
        raise ObjectNotFound("The job was removed.")
    key = bulk_key(part.organization_id, part.job_id, "lines.csv")
    with context.services.bucket.get(key, offset=part.byte_offset, length=part.byte_length) as content:
        lines = b"".join(content.chunks)
    if len(lines) != part.byte_length:
        raise BucketUnavailable("The stored part has another size than expected. Try again later.")
    return job.header.encode() + lines


def part_lines(context: SliceContext, part: Part) -> list[Line]:
    """The lines of a part.

    Raises:
        ObjectNotFound, BucketUnavailable: see `part_text`.
    """
    return [Line(*each) for each in zip(part.line_numbers, part_rows(part_text(context, part)), strict=True)]
