"""The rows of bulk jobs and their parts: inserts and queries; `transitions` and `completion` update them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from psycopg.rows import class_row

from backmarket.bulk.models import (
    Job,
    JobState,
    LineOutcome,
    NewJob,
    NewPart,
    Next,
    Outcome,
    Part,
    PartState,
    StoredListings,
)
from backmarket.database import Transaction
from backmarket.errors import BackMarketError

__all__ = ["Job", "JobState", "LineOutcome", "Outcome", "Part", "PartState"]


def new_id(transaction: Transaction) -> int:
    """The next id of a job."""
    row = transaction.execute("SELECT nextval(pg_get_serial_sequence('backmarket.bulk_jobs', 'id'))").fetchone()
    assert row is not None  # noqa: S101 - the statement gives one row
    return int(row[0])


def insert(transaction: Transaction, new: NewJob) -> bool:
    """Insert a job; False: a job with this idempotency key exists, and is visible now."""
    values = {each.name: getattr(new, each.name) for each in fields(new)} | marks_of(new.error)
    return transaction.execute(_INSERT, values).rowcount == 1


def insert_parts(transaction: Transaction, organization_id: str, job_id: int, parts: Iterable[NewPart]) -> None:
    """Insert the parts of a job."""
    numbered = enumerate(parts, start=1)
    with transaction.cursor() as cursor:
        cursor.executemany(
            _INSERT_PART,
            (
                (
                    *(organization_id, job_id, number, part.offset, part.length),
                    *(len(part.line_numbers), [*part.line_numbers], [*part.sku_hashes]),
                )
                for number, part in numbered
            ),
        )


def by_key(transaction: Transaction, organization_id: str, idempotency_key: str) -> tuple[int, str] | None:
    """The id and the fingerprint of the job with this idempotency key."""
    row = transaction.execute(
        "SELECT id, fingerprint FROM backmarket.bulk_jobs WHERE organization_id = %s AND idempotency_key = %s",
        (organization_id, idempotency_key),
    ).fetchone()
    return (row[0], row[1]) if row else None


def select_job(transaction: Transaction, organization_id: str, job_id: int) -> Job | None:
    """One job."""
    with transaction.cursor(row_factory=class_row(Job)) as cursor:
        statement = f"{JOBS} WHERE j.organization_id = %s AND j.id = %s"
        return cursor.execute(statement.encode(), (organization_id, job_id)).fetchone()


def select_part(transaction: Transaction, organization_id: str, job_id: int, number: int) -> Part | None:
    """One part."""
    with transaction.cursor(row_factory=class_row(Part)) as cursor:
        statement = f"{PARTS} WHERE organization_id = %s AND job_id = %s AND number = %s"
        return cursor.execute(statement.encode(), (organization_id, job_id, number)).fetchone()


def parts_after(transaction: Transaction, organization_id: str, job_id: int, number: int, *, limit: int) -> list[Part]:
    """The next parts of a job."""
    with transaction.cursor(row_factory=class_row(Part)) as cursor:
        statement = f"{PARTS} WHERE organization_id = %s AND job_id = %s AND number > %s ORDER BY number LIMIT %s"
        return cursor.execute(statement.encode(), (organization_id, job_id, number, limit)).fetchall()


def parts_in(
    transaction: Transaction, organization_id: str, job_id: int, states: Sequence[PartState], *, limit: int
) -> list[Part]:
    """The first parts of a job that are in these states."""
    with transaction.cursor(row_factory=class_row(Part)) as cursor:
        statement = f"{PARTS} WHERE organization_id = %s AND job_id = %s AND state = ANY(%s) ORDER BY number LIMIT %s"
        return cursor.execute(statement.encode(), (organization_id, job_id, [*states], limit)).fetchall()


def due_parts(transaction: Transaction, organization_id: str, states: Sequence[PartState], *, limit: int) -> list[Part]:
    """Parts in these states that are due, the longest due first."""
    with transaction.cursor(row_factory=class_row(Part)) as cursor:
        statement = (
            f"{PARTS} WHERE organization_id = %s AND state = ANY(%s) AND due_at <= now() ORDER BY due_at LIMIT %s"
        )
        return cursor.execute(statement.encode(), (organization_id, [*states], limit)).fetchall()


def listing_ids(transaction: Transaction, organization_id: str, skus: Sequence[str]) -> dict[str, str]:
    """The SKU of each stored listing with one of these SKUs, by its UUID and its older id."""
    found = transaction.execute(
        "SELECT l.listing_id::text, l.legacy_listing_id::text, wanted.sku"
        " FROM unnest(%s::text[]) AS wanted (sku) JOIN backmarket.listings l"
        f" ON l.organization_id = %s AND {_SAME_SKU}",
        ([*skus], organization_id),
    ).fetchall()
    return {name: sku for *names, sku in found for name in names if name}


def stored_listings(
    transaction: Transaction, organization_id: str, skus: Sequence[str], locale: str
) -> StoredListings | None:
    """The stored listings of some SKUs; None: the listings were never fully synced.

    Args:
        skus: the SKUs.
        locale: as this market shows them, if it is a market of the connection that was synced; else as its locale does.
    """
    row = transaction.execute(_STORED_MARKET, {"organization": organization_id, "locale": locale}).fetchone()
    if row is None:
        return None
    own, market = row
    values = {"organization": organization_id, "skus": [*skus], "market": market}
    found = transaction.execute(_STORED_IN_MARKET if market else _STORED, values).fetchall()
    return StoredListings(market or own, dict(found))


def locale_of(transaction: Transaction, part: Part) -> str | None:
    """The market that the prices and texts of a part belong to."""
    row = transaction.execute(
        "SELECT locale FROM backmarket.bulk_jobs WHERE organization_id = %s AND id = %s",
        (part.organization_id, part.job_id),
    ).fetchone()
    return row[0] if row else None


def next_to_send(transaction: Transaction, organization_id: str) -> Next | None:
    """The first part that may be sent now: it is due, and no earlier job sets one of its SKUs by a part still to send.

    A part that waits, for a retry or for its outcome, holds up no others: only the same SKUs must keep their order.
    """
    row = transaction.execute(_NEXT, {"organization": organization_id}).fetchone()
    if row is None:
        return None
    job_id, number, _ = row
    part = select_part(transaction, organization_id, job_id, number)
    job = select_job(transaction, organization_id, job_id)
    return Next(part, job) if part and job else None


def next_due(transaction: Transaction, organization_id: str, *, pause: float = 0.0) -> datetime | None:
    """When something is due next, at least `pause` seconds from now; None: nothing becomes due by itself."""
    row = transaction.execute(_NEXT_DUE, {"organization": organization_id, "pause": pause}).fetchone()
    return row[0] if row else None


def code_of(error: BackMarketError | None) -> tuple[str | None, str | None]:
    """An error as a code and a text."""
    return (error.code, error.message) if error else (None, None)


def marks_of(error: BackMarketError | None) -> dict[str, Any]:
    """An error as the values of `ERROR`."""
    code, message = code_of(error)
    marks = {name: getattr(error, name, None) for name in ("status", "request_id", "cf_ray")}
    return {"code": code, "message": message} | {f"error_{name}": value for name, value in marks.items()}


_SAME_SKU = "l.sku_key = lower(left(wanted.sku, 200)) AND backmarket.sku_key(l.sku) = backmarket.sku_key(wanted.sku)"
_STORED_MARKET = """
SELECT c.locale, s.market FROM backmarket.connections c JOIN backmarket.sync_state s USING (organization_id)
WHERE organization_id = %(organization)s AND s.resource = 'listings' AND s.market IN ('', %(locale)s)
  AND s.last_full_walk_at IS NOT NULL
ORDER BY s.market DESC LIMIT 1
"""
_STORED = f"""
SELECT wanted.sku, l.raw FROM unnest(%(skus)s::text[]) AS wanted (sku) JOIN backmarket.listings l
ON l.organization_id = %(organization)s AND {_SAME_SKU} WHERE l.removed_at IS NULL
"""
_STORED_IN_MARKET = f"""
SELECT wanted.sku, l.raw || m.raw FROM unnest(%(skus)s::text[]) AS wanted (sku) JOIN backmarket.listings l
ON l.organization_id = %(organization)s AND {_SAME_SKU}
JOIN backmarket.listing_markets m
    ON m.organization_id = l.organization_id AND m.market = %(market)s AND m.listing_id = l.listing_id
WHERE l.removed_at IS NULL AND m.removed_at IS NULL
"""
ERROR = (
    "error_code = %(code)s, error = %(message)s, error_status = %(error_status)s,"
    " error_request_id = %(error_request_id)s, error_cf_ray = %(error_cf_ray)s"
)
OPEN = "(state IN ('pending', 'submitting', 'submitted') OR state = 'unknown' AND due_at < 'infinity')"
JOBS = """
SELECT j.organization_id, j.id, j.state, j.file_name, j.locale, j.environment, j.header, j.lines, j.bad_lines,
    j.unchanged_lines, p.parts, p.lines_pending, p.lines_submitted, p.lines_done, p.lines_failed, p.lines_unknown,
    p.lines_not_sent, j.idempotency_key, j.expires_at, j.cancelled_at, j.waits_until, j.error_code, j.error,
    j.created_at, j.started_at, j.ended_at, j.reported_at, j.report_error, j.asked_by
FROM backmarket.bulk_jobs j CROSS JOIN LATERAL (
    SELECT count(*)::integer AS parts,
        COALESCE(sum(lines) FILTER (WHERE state = 'pending'), 0)::integer AS lines_pending,
        COALESCE(sum(lines) FILTER (WHERE state IN ('submitting', 'submitted')
            OR state = 'unknown' AND due_at < 'infinity'), 0)::integer AS lines_submitted,
        COALESCE(sum(lines_done), 0)::integer AS lines_done,
        COALESCE(sum(lines_failed), 0)::integer AS lines_failed,
        COALESCE(sum(lines_unknown) FILTER (WHERE state <> 'unknown' OR due_at = 'infinity'), 0)::integer
            AS lines_unknown,
        COALESCE(sum(lines) FILTER (WHERE state = 'cancelled'), 0)::integer AS lines_not_sent
    FROM backmarket.bulk_parts p WHERE p.organization_id = j.organization_id AND p.job_id = j.id
) AS p
"""

PARTS = """
SELECT organization_id, job_id, number, state, byte_offset, byte_length, lines, line_numbers,
    NULLIF(due_at, 'infinity') AS due_at, sent, tries, arrived, task_id, task_status, sent_at, submitted_at,
    EXTRACT(epoch FROM now() - sent_at)::float8 AS sent_seconds,
    EXTRACT(epoch FROM now() - submitted_at)::float8 AS submitted_seconds,
    EXTRACT(epoch FROM now() - unexplained_since)::float8 AS unexplained_seconds,
    EXTRACT(epoch FROM now() - missing_since)::float8 AS missing_seconds,
    prior, unread, readings, read_page, looks, outcomes, error_code, error, error_status, error_request_id,
    error_cf_ray
FROM backmarket.bulk_parts
"""

# PostgreSQL refuses COPY into a table with row-level security, whose owner is bound by it unless it is a superuser.
_INSERT_PART = b"""
INSERT INTO backmarket.bulk_parts (organization_id, job_id, number, byte_offset, byte_length, lines, line_numbers,
    sku_hashes)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
"""

# A refused file becomes a job that ends at once.
_INSERT = """
INSERT INTO backmarket.bulk_jobs (organization_id, id, state, object_prefix, file_name, locale, environment, region,
    base_url, header, lines, bad_lines, unchanged_lines, idempotency_key, fingerprint, expires_at, error_code, error,
    ended_at, report_due_at, asked_by)
VALUES (%(organization_id)s, %(id)s, CASE WHEN %(code)s::text IS NULL THEN 'pending' ELSE 'failed' END,
    %(object_prefix)s, %(file_name)s, %(locale)s, %(environment)s, %(region)s, %(base_url)s, %(header)s, %(lines)s,
    %(bad_lines)s, %(unchanged_lines)s, %(idempotency_key)s, %(fingerprint)s,
    now() + make_interval(secs => %(max_age)s), %(code)s, %(message)s,
    CASE WHEN %(code)s::text IS NOT NULL THEN now() END, CASE WHEN %(code)s::text IS NOT NULL THEN now() END,
    %(asked_by)s)
ON CONFLICT (organization_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
"""

# The longest due first, so that a part that fails for ever goes behind the others. The order of one SKU's changes is
# kept across jobs; within a job no SKU stands twice. The subquery sorts first, and
# CASE keeps the comparison of SKUs from becoming a join: mostly, the first row is the answer.
_NEXT = """
SELECT job_id, number, GREATEST(due_at, waits_until) FROM (
    SELECT p.job_id, p.number, p.due_at, p.sku_hashes, j.created_at, j.waits_until
    FROM backmarket.bulk_parts p
    JOIN backmarket.bulk_jobs j ON j.organization_id = p.organization_id AND j.id = p.job_id
    WHERE p.organization_id = %(organization)s AND p.state = 'pending' AND p.due_at <= now() AND j.ended_at IS NULL
    ORDER BY p.due_at, j.created_at, p.job_id, p.number OFFSET 0
) AS mine
WHERE CASE WHEN NOT EXISTS (
    SELECT FROM backmarket.bulk_parts p
    JOIN backmarket.bulk_jobs j ON j.organization_id = p.organization_id AND j.id = p.job_id
    WHERE p.organization_id = %(organization)s AND j.ended_at IS NULL
      AND (j.created_at, p.job_id) < (mine.created_at, mine.job_id)
      AND (p.state IN ('pending', 'submitting') OR p.state = 'unknown' AND p.due_at < 'infinity' AND NOT p.arrived)
      AND (p.sku_hashes && mine.sku_hashes) IS NOT FALSE
) THEN true END
ORDER BY due_at, created_at, job_id, number LIMIT 1
"""

# A part that waits for another one's outcome comes with that one, by the first subquery.
_NEXT_DUE = f"""
SELECT GREATEST(due_at, now() + make_interval(secs => %(pause)s)) FROM (SELECT LEAST(
    (SELECT min(due_at) FROM backmarket.bulk_parts WHERE organization_id = %(organization)s
        AND state IN ('submitting', 'submitted', 'unknown') AND due_at < 'infinity'),
    (SELECT min(expires_at) FROM backmarket.bulk_jobs j WHERE organization_id = %(organization)s AND ended_at IS NULL
        AND EXISTS (SELECT FROM backmarket.bulk_parts
            WHERE organization_id = j.organization_id AND job_id = j.id AND state = 'pending')),
    (SELECT min(report_due_at) FROM backmarket.bulk_jobs WHERE organization_id = %(organization)s
        AND report_due_at IS NOT NULL),
    (SELECT min(due_at) FROM backmarket.bulk_parts WHERE organization_id = %(organization)s
        AND state = 'pending' AND due_at > now() AND due_at < 'infinity'),
    (SELECT due_at FROM ({_NEXT}) AS first (job_id, number, due_at))
) AS due_at) AS next WHERE due_at IS NOT NULL
"""
