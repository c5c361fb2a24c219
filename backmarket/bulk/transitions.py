"""The transitions of bulk parts, written to their rows.

Only the holder of the lease of the organization's bulk work (`work.hold`) changes an open part, except for cancelling
unsent parts, and for a person's decision about a part that was sent: what a worker decides of it afterwards is void.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from backmarket.bulk.models import BY_LINE, OF_A_LINE, Part, PartState, Transition
from backmarket.bulk.rows import ERROR, code_of, marks_of
from backmarket.database import Transaction
from backmarket.errors import BackMarketError, BulkCancelled


def cancel(transaction: Transaction, organization_id: str, job_id: int, error: BackMarketError) -> None:
    """Cancel the unsent parts of a job that has not ended."""
    noted = transaction.execute(
        "UPDATE backmarket.bulk_jobs SET cancelled_at = COALESCE(cancelled_at, now())"
        " WHERE organization_id = %s AND id = %s AND ended_at IS NULL",
        (organization_id, job_id),
    )
    if noted.rowcount:
        cancel_unsent(transaction, organization_id, error, job_id)


def retry_now(transaction: Transaction, organization_id: str) -> bool:
    """Make unsent parts that wait for a retry due now; returns whether there are any."""
    return bool(
        transaction.execute(
            "UPDATE backmarket.bulk_parts SET due_at = now()"
            " WHERE organization_id = %s AND state = 'pending' AND due_at > now()",
            (organization_id,),
        ).rowcount
    )


def reopen(transaction: Transaction, part: Part) -> None:
    """Queue a part that did not arrive again, and reopen its job."""
    transaction.execute(_REOPEN_PART, _key(part))
    transaction.execute(
        "UPDATE backmarket.bulk_jobs SET state = 'running', ended_at = NULL, report_due_at = NULL, reported_at = NULL,"
        " cancelled_at = NULL, expires_at = NULL, error_code = NULL, error = NULL"
        " WHERE organization_id = %s AND id = %s",
        (part.organization_id, part.job_id),
    )


def mark_submitting(
    transaction: Transaction, part: Part, prior: Mapping[int, Mapping[str, Any] | None], *, settle_seconds: float
) -> str | None:
    """Mark a part as about to be sent; or as `unknown`, if an earlier mark may have been lost in a failover.

    Args:
        transaction: holds the lease; send nothing before it commits.
        prior: its listings as they are now, by line number.
        settle_seconds: seconds after which reading back is reliable.

    Returns:
        `submitting`: send it; `unknown`: read it back first; None: it was cancelled meanwhile.
    """
    values = _key(part) | {"sent": part.sent, "prior": json.dumps(prior), "seconds": settle_seconds}
    row = transaction.execute(_SUBMITTING, values).fetchone()
    if row is None:
        return None
    transaction.execute(_RUNNING, {"organization": part.organization_id, "job": part.job_id})
    return str(row[0])


def put_back(
    transaction: Transaction,
    part: Part,
    *,
    pause: float,
    error: BackMarketError | None = None,
    unsent: bool = False,
    tried: bool = True,
) -> None:
    """Queue a part that did not arrive, or must not be sent yet, for later, unless its job was cancelled.

    Args:
        transaction: holds the lease.
        pause: seconds until it is due.
        unsent: its request certainly did not arrive; it does not count as sent.
        tried: count a failed attempt.
    """
    values = _key(part) | marks_of(error) | {"pause": pause, "unsent": unsent, "tried": tried}
    transaction.execute(_PUT_BACK, values)
    note(transaction, part, error)
    cancelled = BulkCancelled("The job was cancelled before this part had arrived.")
    transaction.execute(_CANCEL_IF_WANTED, _key(part) | marks_of(cancelled))


def mark_submitted(transaction: Transaction, part: Part, task_id: str, *, pause: float) -> None:
    """Mark a part as accepted by Back Market.

    Args:
        transaction: holds the lease.
        task_id: of Back Market's task, for polling.
        pause: seconds until the first poll.
    """
    transaction.execute(_SUBMITTED, _key(part) | {"task": task_id, "pause": pause})


def ask_again(
    transaction: Transaction,
    part: Part,
    *,
    pause: float,
    status: int | None,
    unexplained: bool = False,
    failed: bool = False,
    missing: bool = False,
) -> None:
    """Poll a task again later: it is not over, or polling failed.

    Args:
        transaction: holds the lease.
        pause: seconds until the next poll.
        status: the task's status.
        unexplained: the status is undocumented.
        failed: polling failed.
        missing: the API did not know the task.
    """
    values = _key(part) | {
        "pause": pause,
        "status": status,
        "unexplained": unexplained,
        "failed": failed,
        "missing": missing,
    }
    transaction.execute(_ASK_AGAIN, values)


def settle(transaction: Transaction, part: Part, transition: Transition, *, status: int | None = None) -> None:
    """Store the next state of a part that was sent.

    Args:
        transaction: holds the lease.
        transition: the next state, and why.
        status: of its task, if that is over.
    """
    counts = dict.fromkeys(BY_LINE.values(), 0)
    known_for_good = transition.state in _ENDED or (transition.state is PartState.UNKNOWN and transition.pause is None)
    for line in part.line_numbers if known_for_good else ():
        known = transition.outcomes.get(line)
        counts[BY_LINE[known.outcome if known else OF_A_LINE[transition.state]]] += 1
    outcomes = {line: [each.outcome, each.message] for line, each in transition.outcomes.items()}
    values = _key(part) | marks_of(transition.error) | counts
    values |= {
        "was": part.state,
        "state": transition.state,
        "pause": transition.pause,
        "arrived": transition.arrived,
        "status": status,
    }
    values |= {"unread": list(transition.unread) if transition.unread is not None else None}
    values |= {"outcomes": json.dumps(outcomes), "looked": transition.looked, "over": transition.state in _ENDED}
    transaction.execute(_SETTLE, values)


def keep_readings(transaction: Transaction, part: Part, readings: Mapping[int, str], *, page: int | None) -> None:
    """Store the readings of some listings, so that a killed worker's successor need not repeat them.

    Args:
        transaction: holds the lease.
        part: the part.
        readings: by line number.
        page: the page of the listings to continue with; None: they are read one by one.
    """
    transaction.execute(_READ, _key(part) | {"readings": json.dumps(readings), "page": page})


def postpone(transaction: Transaction, part: Part, *, pause: float) -> None:
    """Retry a part later, after a failure."""
    transaction.execute(_POSTPONE, _key(part) | {"pause": pause})


def note(transaction: Transaction, part: Part, error: BackMarketError | None) -> None:
    """Note on the job why it does not continue; None: it does."""
    transaction.execute(
        "UPDATE backmarket.bulk_jobs SET error_code = %s, error = %s"
        " WHERE organization_id = %s AND id = %s AND ended_at IS NULL AND error_code IS DISTINCT FROM %s",
        (*code_of(error), part.organization_id, part.job_id, error.code if error else None),
    )


def wait_for_quota(transaction: Transaction, part: Part, seconds: float) -> None:
    """Note on a job that its next part waits for the quota."""
    transaction.execute(
        "UPDATE backmarket.bulk_jobs SET state = 'waiting_for_quota',"
        " waits_until = now() + make_interval(secs => %s)"
        " WHERE organization_id = %s AND id = %s AND ended_at IS NULL",
        (seconds, part.organization_id, part.job_id),
    )


def cancel_unsent(
    transaction: Transaction, organization_id: str, error: BackMarketError, job_id: int | None = None
) -> int:
    """Cancel the unsent parts of a job, or of all jobs; returns their number."""
    values = {"organization": organization_id, "job": job_id} | marks_of(error)
    cancelled = transaction.execute(_CANCEL, values).rowcount
    transaction.execute(_WAIT_NO_MORE, {"organization": organization_id})
    return cancelled


def cancel_expired(transaction: Transaction, organization_id: str, error: BackMarketError) -> int:
    """Cancel the unsent parts of jobs whose files are too old; returns their number."""
    expired = transaction.execute(_EXPIRE, {"organization": organization_id} | marks_of(error)).rowcount
    if expired:
        transaction.execute(_WAIT_NO_MORE, {"organization": organization_id})
    return expired


def _key(part: Part) -> dict[str, Any]:
    return {"organization": part.organization_id, "job": part.job_id, "number": part.number}


_ENDED = frozenset({PartState.DONE, PartState.FAILED})
_THIS = "WHERE organization_id = %(organization)s AND job_id = %(job)s AND number = %(number)s"
_LATER = "due_at = COALESCE(now() + make_interval(secs => %(pause)s), 'infinity')"
_NO_ERROR = "error_code = NULL, error = NULL, error_status = NULL, error_request_id = NULL, error_cf_ray = NULL"
_REOPEN_PART = f"""
UPDATE backmarket.bulk_parts SET state = 'pending', due_at = now(), sent = 0, tries = 0, arrived = false,
    task_id = NULL, submitted_at = NULL, task_status = NULL, unexplained_since = NULL, missing_since = NULL,
    prior = NULL, unread = NULL, readings = NULL, looks = 0, outcomes = '{{}}', lines_done = 0, lines_failed = 0,
    lines_unknown = 0, ended_at = NULL, {_NO_ERROR}
{_THIS}
"""

_SUBMITTING = f"""
UPDATE backmarket.bulk_parts SET sent = sent + 1, sent_at = now(), prior = %(prior)s::jsonb,
    state = CASE WHEN recorded_on = backmarket.server_history() THEN 'submitting' ELSE 'unknown' END,
    recorded_on = backmarket.server_history(),
    due_at = now() + make_interval(secs => %(seconds)s), unread = NULL, readings = NULL, looks = 0, read_page = 1,
    {_NO_ERROR}
{_THIS} AND state = 'pending' AND sent = %(sent)s RETURNING state
"""

_RUNNING = """
UPDATE backmarket.bulk_jobs SET state = 'running', started_at = COALESCE(started_at, now()), waits_until = NULL,
    error_code = NULL, error = NULL
WHERE organization_id = %(organization)s AND id = %(job)s AND ended_at IS NULL
"""

_PUT_BACK = f"""
UPDATE backmarket.bulk_parts SET state = 'pending', {_LATER}, {ERROR},
    sent = GREATEST(0, sent - CASE WHEN %(unsent)s THEN 1 ELSE 0 END),
    tries = tries + CASE WHEN %(tried)s THEN 1 ELSE 0 END, prior = NULL, unread = NULL, readings = NULL, looks = 0
{_THIS} AND state IN ('pending', 'submitting', 'unknown')
"""

_CANCEL_IF_WANTED = f"""
UPDATE backmarket.bulk_parts p SET state = 'cancelled', ended_at = now(), due_at = 'infinity', {ERROR}
FROM backmarket.bulk_jobs j
WHERE p.organization_id = %(organization)s AND p.job_id = %(job)s AND p.number = %(number)s AND p.state = 'pending'
  AND j.organization_id = p.organization_id AND j.id = p.job_id AND j.cancelled_at IS NOT NULL
"""

_SUBMITTED = f"""
UPDATE backmarket.bulk_parts SET state = 'submitted', arrived = true, task_id = %(task)s, submitted_at = now(),
    tries = 0, {_LATER}, {_NO_ERROR}
{_THIS}
"""

_ASK_AGAIN = f"""
UPDATE backmarket.bulk_parts SET {_LATER}, task_status = COALESCE(%(status)s, task_status),
    unexplained_since = CASE WHEN %(unexplained)s THEN COALESCE(unexplained_since, now())
        WHEN %(failed)s THEN unexplained_since END,
    missing_since = CASE WHEN %(missing)s THEN COALESCE(missing_since, now()) WHEN %(failed)s THEN missing_since END,
    tries = CASE WHEN %(failed)s THEN tries + 1 ELSE 0 END
{_THIS} AND state = 'submitted'
"""

_SETTLE = f"""
UPDATE backmarket.bulk_parts SET state = %(state)s, {_LATER}, arrived = arrived OR %(arrived)s,
    task_status = COALESCE(%(status)s, task_status), outcomes = %(outcomes)s::jsonb, lines_done = %(lines_done)s,
    lines_failed = %(lines_failed)s, lines_unknown = %(lines_unknown)s, unread = %(unread)s::integer[],
    readings = NULL, read_page = 1, looks = looks + CASE WHEN %(looked)s THEN 1 ELSE 0 END, tries = 0, {ERROR},
    prior = CASE WHEN %(over)s THEN NULL ELSE prior END, ended_at = CASE WHEN %(over)s THEN now() END
{_THIS} AND state IN (%(was)s, 'submitting')
"""

_READ = f"""
UPDATE backmarket.bulk_parts SET readings = COALESCE(readings, '{{}}') || %(readings)s::jsonb, tries = 0,
    read_page = %(page)s
{_THIS} AND state IN ('submitting', 'unknown')
"""

_POSTPONE = f"""
UPDATE backmarket.bulk_parts SET tries = tries + 1, {_LATER} {_THIS} AND state IN ('submitting', 'unknown')
"""
_CANCEL = f"""
UPDATE backmarket.bulk_parts SET state = 'cancelled', ended_at = now(), due_at = 'infinity', prior = NULL, {ERROR}
WHERE organization_id = %(organization)s AND job_id = COALESCE(%(job)s::bigint, job_id) AND state = 'pending'
"""

_EXPIRE = f"""
UPDATE backmarket.bulk_parts p SET state = 'cancelled', ended_at = now(), due_at = 'infinity', prior = NULL, {ERROR}
FROM backmarket.bulk_jobs j
WHERE j.organization_id = %(organization)s AND j.ended_at IS NULL AND j.expires_at <= now()
  AND p.organization_id = j.organization_id AND p.job_id = j.id AND p.state = 'pending'
"""

_WAIT_NO_MORE = """
UPDATE backmarket.bulk_jobs j SET state = 'running', waits_until = NULL
WHERE organization_id = %(organization)s AND state = 'waiting_for_quota' AND NOT EXISTS (
    SELECT FROM backmarket.bulk_parts p
    WHERE p.organization_id = j.organization_id AND p.job_id = j.id AND p.state = 'pending'
)
"""
