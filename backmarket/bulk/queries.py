"""Queries about bulk jobs: lists, their duration, what they wait for, and their stored listings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg.rows import class_row, dict_row

from backmarket.bulk import rows
from backmarket.bulk.csv_file.parts import expected_duration as duration_of
from backmarket.bulk.rows import Job, JobState
from backmarket.client.skus import sku_key
from backmarket.connections import check_usable
from backmarket.connections.connection import select
from backmarket.database import Database, Transaction
from backmarket.errors import InvalidArgument, UsageError
from backmarket.limits import sku_quota
from backmarket.observability.numbers import counted
from backmarket.queries.pagination import Page, check_limit, decode_cursor, whole
from backmarket.services import Services


def page(
    database: Database,
    organization_id: str,
    *,
    state: JobState | str | None = None,
    idempotency_key: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Page[Job]:
    """Bulk jobs of one organization, the newest first.

    Args:
        state: only jobs in this state.
        idempotency_key: only the job with this key.
        limit: 1 to 1000.
        cursor: `next_cursor` of the page before.

    Raises:
        InvalidArgument: if an argument is invalid.
    """
    check_limit(limit)
    if state is not None and state not in [each.value for each in JobState]:
        raise InvalidArgument(f"{state!r} is not a state of bulk jobs. Choose one of {', '.join(JobState)}.")
    values: dict[str, Any] = {"organization": organization_id, "limit": limit + 1}
    conditions = ["j.organization_id = %(organization)s"]
    for name, value in (("state", state), ("idempotency_key", idempotency_key)):
        if value is not None:
            conditions.append(f"j.{name} = %({name})s")
            values[name] = str(value)
    if cursor is not None:
        conditions.append("j.id < %(after)s")
        (values["after"],) = decode_cursor(cursor, whole)
    statement = f"{rows.JOBS} WHERE {' AND '.join(conditions)} ORDER BY j.id DESC LIMIT %(limit)s"
    with database.transaction() as transaction, transaction.cursor(row_factory=class_row(Job)) as found:
        jobs = found.execute(statement.encode(), values).fetchall()
    return Page.of(jobs, limit, lambda job: [job.id])


def expected_duration(services: Services, organization_id: str, lines: int) -> timedelta:
    """The minimum time, at the quota, until this many more lines are sent.

    The lines that the account sent within the window go before them, and so do lines that wait in other bulk jobs.
    Single updates of listings use the same quota, and may make it longer.

    Args:
        lines: number of lines to send, besides those that wait already.
    """
    limit, window = services.settings.sku_lines_limit, services.settings.sku_lines_window
    with services.database.transaction() as transaction:
        row = transaction.execute(_WAITING, (organization_id,)).fetchone()
        if row is None or row[0] is None or not lines + row[1]:
            return timedelta()
        account, waiting = row
        free = sku_quota.free(transaction, account, limit=limit, lines=1)
    total = lines + waiting + limit - free.lines
    least = timedelta(seconds=free.wait_seconds)
    return max(least, duration_of(total, limit=limit, window=window))


def stored_listings(
    database: Database, organization_id: str, skus: Sequence[str], market: str = ""
) -> Mapping[str, Mapping[str, Any]]:
    """The columns of the stored listings with these SKUs, by `sku_key`; removed listings are left out.

    Args:
        skus: the SKUs.
        market: as this further market of the connection shows them; empty: as its locale does.
    """
    values = {"organization": organization_id, "skus": [*skus], "market": market}
    with database.transaction() as transaction, transaction.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(_LISTINGS_IN_MARKET if market else _LISTINGS, values).fetchall()
    return {sku_key(listing["sku"]): listing for listing in found}


def check_comparable(
    transaction: Transaction, organization_id: str, *, locale: str, own: str, market: str = ""
) -> None:
    """Check that lines can be compared with the stored listings.

    Args:
        locale: the market of the lines.
        own: the market of the stored listings.
        market: the same, as rows name it.

    Raises:
        InvalidArgument: if they cannot.
    """
    if locale != own:
        raise InvalidArgument(
            f"Unchanged lines cannot be skipped for {locale}: the stored listings have the prices of {own}."
        )
    if transaction.execute(_WALKED, (organization_id, market)).fetchone() is None:
        raise InvalidArgument(
            "Unchanged lines cannot be skipped, as the listings of this organization were never synced to the end:"
            " sync them first (`sync_listings`, `backmarket sync --resource listings --wait`)."
        )


def what_it_waits_for(database: Database, job: Job) -> str:
    """What an open job waits for, in one or two sentences; empty: it has ended."""
    if job.ended_at is not None:
        return ""
    with database.transaction() as transaction:
        try:
            check_usable(select(transaction, job.organization_id))
        except UsageError as error:
            return f"It waits, as nothing can be sent: {error.message}"
        with transaction.cursor(row_factory=dict_row) as cursor:
            found = cursor.execute(_WAITS, {"organization": job.organization_id, "job": job.id}).fetchone()
    assert found is not None  # noqa: S101 - the statement gives one row
    return " ".join(filter(None, (_at_work(job, found), _not_begun(found)))) or "A worker is processing it."


def _at_work(job: Job, found: Mapping[str, Any]) -> str:
    words = []
    if job.state is JobState.WAITING_FOR_QUOTA:
        until = f" until {_clock(job.waits_until)}" if job.waits_until else ""
        left = counted(job.lines_pending, "line is", "lines are")
        words.append(f"It waits{until} for the quota of SKU lines; {left} to be sent.")
    elif job.lines_pending and job.error:
        words.append(f"It cannot continue now: {job.error}")
    if found["submitted"]:
        lines = counted(found["submitted"], "line")
        words.append(f"Back Market processes {lines}; the next poll is {_clock(found['asked_at'])}.")
    if found["lost"]:
        words.append(
            f"{counted(found['lost'], 'line')} may or may not have arrived; the listings are read back"
            f" {_clock(found['read_at'])}."
        )
    return " ".join(words)


def _not_begun(found: Mapping[str, Any]) -> str:
    if found["before"] is not None and not found["submitted"] and not found["lost"]:
        return f"It is sent after bulk job {found['before']} of the same organization."
    if found["late"]:
        return (
            "No worker has claimed it. Is a worker with the queue 'bulk' running, and does it use the same broker?"
            " The job is kept."
        )
    return ""


def _clock(at: datetime | None) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if at else "soon"


_WAITING = """
SELECT c.account, (
    SELECT COALESCE(sum(p.lines), 0)::integer
    FROM backmarket.bulk_parts p JOIN backmarket.connections other USING (organization_id)
    WHERE p.state = 'pending' AND other.account = c.account
)
FROM backmarket.connections c WHERE c.organization_id = %s
"""

_LISTINGS = """
SELECT sku, product_id, backmarket_id, price, currency, min_price, quantity, state, grade, comment, warranty_delay,
    new_battery, shippings
FROM backmarket.listings
WHERE organization_id = %(organization)s AND removed_at IS NULL
  AND sku_key IN (SELECT lower(left(wanted, 200)) FROM unnest(%(skus)s::text[]) AS wanted)
"""

_LISTINGS_IN_MARKET = """
SELECT l.sku, l.product_id, l.backmarket_id, m.price, m.currency, m.min_price, l.quantity, l.state, l.grade, m.comment,
    m.warranty_delay, l.new_battery, m.shippings
FROM backmarket.listings l JOIN backmarket.listing_markets m USING (organization_id, listing_id)
WHERE l.organization_id = %(organization)s AND m.market = %(market)s AND m.removed_at IS NULL AND l.removed_at IS NULL
  AND l.sku_key IN (SELECT lower(left(wanted, 200)) FROM unnest(%(skus)s::text[]) AS wanted)
"""

_WALKED = """
SELECT FROM backmarket.sync_state
WHERE organization_id = %s AND resource = 'listings' AND market = %s AND last_full_walk_at IS NOT NULL
"""

_WAITS = """
SELECT
    COALESCE(sum(p.lines) FILTER (WHERE p.state = 'submitted'), 0) AS submitted,
    min(p.due_at) FILTER (WHERE p.state = 'submitted') AS asked_at,
    COALESCE(sum(p.lines) FILTER (
        WHERE p.state = 'submitting' OR p.state = 'unknown' AND p.due_at < 'infinity'), 0) AS lost,
    min(p.due_at) FILTER (WHERE p.state = 'submitting' OR p.state = 'unknown' AND p.due_at < 'infinity') AS read_at,
    (SELECT min(id) FROM backmarket.bulk_jobs
        WHERE organization_id = %(organization)s AND ended_at IS NULL AND id < %(job)s) AS before,
    EXISTS (SELECT FROM backmarket.work WHERE organization_id = %(organization)s AND kind = 'bulk'
        AND due_at < now() - interval '5 seconds' AND COALESCE(lease_until < now(), true)) AS late
FROM backmarket.bulk_parts p WHERE p.organization_id = %(organization)s AND p.job_id = %(job)s
"""
