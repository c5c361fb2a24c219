"""The end of a job: its state, the sync that follows, the event in the change feed, and its report.

Nothing here needs the lease: the states of a job's parts end it, and any process may do so.
"""

from __future__ import annotations

from psycopg.rows import class_row

from backmarket.bulk.models import Job
from backmarket.bulk.rows import ERROR, JOBS, OPEN, code_of, marks_of
from backmarket.bulk.transitions import cancel_unsent
from backmarket.database import Database, Transaction
from backmarket.errors import BackMarketError
from backmarket.limits import backoff

REPORT_TRIES = 20
"""Failed tries, over about half a day, after which a report is only written on request."""


def end_anew(transaction: Transaction, organization_id: str, job_id: int) -> None:
    """Reopen a job after a person's decision: if it had ended, it ends again, with a new report."""
    transaction.execute(
        "UPDATE backmarket.bulk_jobs SET state = 'running', ended_at = NULL, report_due_at = NULL, reported_at = NULL"
        " WHERE organization_id = %s AND id = %s",
        (organization_id, job_id),
    )


def abandon(transaction: Transaction, organization_id: str, error: BackMarketError) -> None:
    """End the open jobs of a market that the connection has left: their lines can be neither sent nor read back."""
    cancel_unsent(transaction, organization_id, error)
    transaction.execute(_ABANDON, {"organization": organization_id} | marks_of(error))
    transaction.execute(
        "UPDATE backmarket.bulk_jobs SET cancelled_at = COALESCE(cancelled_at, now()), error_code = %s, error = %s"
        " WHERE organization_id = %s AND ended_at IS NULL",
        (*code_of(error), organization_id),
    )
    _end_jobs(transaction, organization_id)


def end_jobs(database: Database, organization_id: str) -> int:
    """End the jobs without open lines, request a sync of the listings, and add events to the change feed.

    Needs no lease: any process may do it.

    Returns:
        Number of jobs that ended.
    """
    with database.transaction() as transaction:
        open_ones = transaction.execute(_ENDING, {"organization": organization_id}).fetchone()
        if open_ones is None:
            return 0
        # all processes lock in this order: a sync's state comes first
        transaction.execute(
            "SELECT FROM backmarket.sync_state WHERE organization_id = %s AND resource = 'listings'"
            " ORDER BY market FOR UPDATE",
            (organization_id,),
        )
        return _end_jobs(transaction, organization_id)


def _end_jobs(transaction: Transaction, organization_id: str) -> int:
    ended = transaction.execute(_END, {"organization": organization_id}).fetchall()
    if locales := [locale for _, sent, locale in ended if sent]:
        transaction.execute(_SYNC_LISTINGS, (organization_id, ["", *locales]))  # the quantity is common to all markets
    transaction.execute(
        "INSERT INTO backmarket.changes (organization_id, resource, external_id, kind, fields)"
        " SELECT %s, 'bulk_jobs', unnest(%s::bigint[])::text, 'updated', ARRAY['state']",
        (organization_id, [job_id for job_id, _, _ in ended]),
    )
    return len(ended)


def due_report(transaction: Transaction, organization_id: str) -> Job | None:
    """An ended job whose report is due."""
    with transaction.cursor(row_factory=class_row(Job)) as cursor:
        statement = f"{JOBS} WHERE j.organization_id = %s AND j.report_due_at <= now() ORDER BY j.report_due_at LIMIT 1"
        return cursor.execute(statement.encode(), (organization_id,)).fetchone()


def reported(transaction: Transaction, job: Job) -> None:
    """Note that the report of a job is in the bucket."""
    transaction.execute(
        "UPDATE backmarket.bulk_jobs SET report_due_at = NULL, reported_at = now(), report_tries = 0,"
        " report_error = NULL"
        " WHERE organization_id = %s AND id = %s AND ended_at = %s",
        (job.organization_id, job.id, job.ended_at),
    )


def report_failed(transaction: Transaction, job: Job, error: BackMarketError) -> None:
    """Note why a job's report cannot be written; retried after a growing pause, `REPORT_TRIES` times at most."""
    transaction.execute(
        "UPDATE backmarket.bulk_jobs SET report_tries = report_tries + 1, report_error = %s, report_due_at = CASE"
        f" WHEN report_tries + 1 < %s THEN now() + {backoff.doubled_sql('report_tries', 10, 3600)} END"
        " WHERE organization_id = %s AND id = %s AND report_due_at IS NOT NULL",
        (error.message, REPORT_TRIES, job.organization_id, job.id),
    )


_SYNC_LISTINGS = """
UPDATE backmarket.sync_state SET requested = requested + 1, next_due_at = now(), sync_due_at = now(),
    nudged_until = NULL
WHERE organization_id = %s AND resource = 'listings' AND market = ANY(%s)
"""

_ABANDON = f"""
UPDATE backmarket.bulk_parts SET state = 'unknown', due_at = 'infinity', lines_done = 0, lines_failed = 0,
    lines_unknown = lines, outcomes = '{{}}', {ERROR}
WHERE organization_id = %(organization)s AND {OPEN}
"""

_ENDING = f"""
SELECT FROM backmarket.bulk_jobs j WHERE j.organization_id = %(organization)s AND j.ended_at IS NULL AND NOT EXISTS (
    SELECT FROM backmarket.bulk_parts WHERE organization_id = j.organization_id AND job_id = j.id AND {OPEN}
) LIMIT 1
"""

_END = f"""
WITH over AS MATERIALIZED (
    SELECT j.id FROM backmarket.bulk_jobs j
    WHERE j.organization_id = %(organization)s AND j.ended_at IS NULL AND NOT EXISTS (
        SELECT FROM backmarket.bulk_parts WHERE organization_id = j.organization_id AND job_id = j.id AND {OPEN}
    ) FOR UPDATE OF j
), sums AS (
    SELECT over.id, COALESCE(sum(p.sent), 0) AS sent, COALESCE(sum(p.lines_done), 0) AS done,
        COALESCE(sum(p.lines_failed + p.lines_unknown), 0) AS wrong,
        count(*) FILTER (WHERE p.state = 'cancelled') AS unsent,
        count(*) FILTER (WHERE p.state = 'failed') AS failed,
        (array_agg(ARRAY[p.error_code, p.error] ORDER BY p.number) FILTER (
            WHERE p.state IN ('failed', 'cancelled', 'unknown')))[1:1][1:2] AS why
    FROM over LEFT JOIN backmarket.bulk_parts p ON p.organization_id = %(organization)s AND p.job_id = over.id
    GROUP BY over.id
)
UPDATE backmarket.bulk_jobs j SET ended_at = now(), waits_until = NULL, report_due_at = now(), report_tries = 0,
    reported_at = NULL, report_error = NULL,
    error_code = COALESCE(sums.why[1][1], CASE WHEN j.cancelled_at IS NOT NULL THEN j.error_code END),
    error = COALESCE(sums.why[1][2], CASE WHEN j.cancelled_at IS NOT NULL THEN j.error END),
    state = CASE
        WHEN j.cancelled_at IS NOT NULL AND (unsent > 0 OR j.error_code = 'connection_changed') THEN 'cancelled'
        WHEN failed > 0 AND done = 0 THEN 'failed'
        WHEN wrong + failed + unsent + j.bad_lines > 0 THEN 'done_with_errors' ELSE 'done' END
FROM sums WHERE j.organization_id = %(organization)s AND j.id = sums.id
RETURNING j.id, sums.sent > 0, j.locale
"""
