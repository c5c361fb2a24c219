"""Bulk jobs: submit, query and cancel them, and settle parts whose outcome is unknown.

The files of a job are in the bucket before its rows are written: `original`, and `lines.csv`, a header line
followed by the lines; each part is a byte range of it (`backmarket.bucket.keys.bulk_key`). From then on the rows are
authoritative, and a slice (`engine.slice.run_slice`) processes what is due.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from backmarket import audit, work
from backmarket.bucket.keys import bulk_job_prefix
from backmarket.bulk import completion, rows, transitions
from backmarket.bulk.models import Job, JobState, LineOutcome, NewJob, NewPart, Outcome, Part, PartState, Transition
from backmarket.client.endpoints import check_locale
from backmarket.connections import Connection, check_usable
from backmarket.connections.connection import select
from backmarket.database import Database, Transaction
from backmarket.errors import BackMarketError, BulkCancelled, BulkJobNotFound, InvalidArgument
from backmarket.messages import Nudge
from backmarket.queries.pagination import check_limit
from backmarket.services import Services
from backmarket.work.send_deadline import send_deadline

if TYPE_CHECKING:
    from backmarket.settings import Settings

__all__ = [
    "Job",
    "JobState",
    "LineOutcome",
    "NewPart",
    "Outcome",
    "Part",
    "PartState",
    "Submission",
    "cancel",
    "get",
    "new_id",
    "parts",
    "parts_in",
    "retry_now",
    "settle_part",
    "submit",
]  # fmt: skip

PARTS_AT_ONCE = 100
"""Number of parts read by one query."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A file that was checked, cut into parts and stored in the bucket.

    Args:
        job_id: from `new_id`; it is part of the objects' keys.
        header: the first line of lines.csv, with its line end.
        parts: the parts to send, from `csv_file.parts.cut`; empty if every line was left out, or the file was refused.
        lines: number of listing lines in the seller's file.
        fingerprint: hexadecimal SHA-256 of the file and its options; a job with the same idempotency key and another
            fingerprint is refused.
        bad_lines: number of lines left out because they are wrong.
        unchanged_lines: number of lines left out because they change nothing.
        file_name: the seller's name of the file.
        locale: the market that prices and texts belong to; None: the connection's.
        max_age: maximum time until a line is sent; later lines are dropped.
        idempotency_key: the caller's own name for this job.
        environment: must be the connection's, if given.
        refused: why the file cannot be sent: the job is stored as failed, with this reason.
    """

    job_id: int
    organization_id: str
    header: str = field(repr=False)
    parts: Iterable[NewPart] = field(repr=False)
    lines: int
    fingerprint: str
    bad_lines: int = 0
    unchanged_lines: int = 0
    file_name: str | None = None
    locale: str | None = None
    max_age: timedelta | None = None
    idempotency_key: str | None = None
    environment: str | None = None
    refused: BackMarketError | None = None


def new_id(database: Database) -> int:
    """A new job id, for storing the files before the row is written; never returned twice."""
    with database.transaction() as transaction:
        return rows.new_id(transaction)


def submit(services: Services, submission: Submission) -> int:
    """Store a job with all of its parts, in one transaction; workers send it from then on.

    Returns:
        The job's id: differs from `submission.job_id` if a job with the same idempotency key existed; the caller then
        deletes the files that it stored.

    Raises:
        InvalidArgument: if the idempotency key belongs to another file or to other options, or the region has no such
            locale.
        ConnectionNotFound, ConnectionDisabled, ApiKeyMissing, ConnectionUnauthorized, EnvironmentMismatch: see
            `check_usable`.
    """
    organization_id = submission.organization_id
    with services.database.transaction() as transaction:
        new = _new_job(_locked(transaction, organization_id), submission)
        if rows.insert(transaction, new):
            rows.insert_parts(transaction, organization_id, new.id, submission.parts)
            _record_submission(transaction, new)
            work.make_due(transaction, organization_id, "bulk")
            job_id = new.id
        else:
            job_id = _repeated(transaction, submission)
    services.producer.nudge([Nudge("bulk", organization_id)])
    return job_id


def get(database: Database, organization_id: str, job_id: int) -> Job:
    """A job, with the number of its lines in each state.

    Raises:
        BulkJobNotFound: if there is no such job.
    """
    with database.transaction() as transaction:
        return _job(transaction, organization_id, job_id)


def parts(database: Database, organization_id: str, job_id: int) -> Iterator[Part]:
    """The parts of a job in their order, read in batches. `Part.line_outcomes` gives the outcome of each line."""
    number = 0
    while True:
        with database.transaction() as transaction:
            found = rows.parts_after(transaction, organization_id, job_id, number, limit=PARTS_AT_ONCE)
        yield from found
        if len(found) < PARTS_AT_ONCE:
            return
        number = found[-1].number


def parts_in(database: Database, organization_id: str, job_id: int, states: Iterable[str], *, limit: int) -> list[Part]:
    """The first parts of a job that are in these states.

    Raises:
        BulkJobNotFound: if there is no such job.
        InvalidArgument: if there is no such state, or the limit is invalid.
    """
    wanted = [each for each in PartState if each in set(states)]
    if len(wanted) != len(set(states)):
        raise InvalidArgument(f"A state is invalid. Choose one of {', '.join(PartState)}.")
    check_limit(limit)
    with database.transaction() as transaction:
        _job(transaction, organization_id, job_id)
        return rows.parts_in(transaction, organization_id, job_id, wanted, limit=limit)


def cancel(services: Services, organization_id: str, job_id: int) -> Job:
    """Send no more parts of a job. Back Market finishes the parts that it already has; the job ends after that.

    A job that has ended is left unchanged.

    Raises:
        BulkJobNotFound: if there is no such job.
    """
    services.need_broker()
    with services.database.transaction() as transaction:
        _job(transaction, organization_id, job_id)
        # the lease's row first: a sending worker locks it first, too
        work.make_due(transaction, organization_id, "bulk")
        transitions.cancel(
            transaction, organization_id, job_id, BulkCancelled("The job was cancelled before it was sent.")
        )
        audit.record(transaction, _act("bulk.cancel", organization_id, job_id))
    completion.end_jobs(services.database, organization_id)
    services.producer.nudge([Nudge("bulk", organization_id)])
    return get(services.database, organization_id, job_id)


def settle_part(services: Services, organization_id: str, job_id: int, number: int, *, arrived: bool) -> Job:
    """Settle a part whose outcome is unknown, after a person has looked at Back Market.

    Possible as soon as its request can no longer arrive, even while it is read back; and for a part whose task has not
    ended within `bulk_unexplained_after`.

    Args:
        number: the part's number.
        arrived: True: its lines count as done. False: the part is sent again, and the job continues.

    Raises:
        BulkJobNotFound: if there is no such job or part.
        InvalidArgument: if the part's outcome is known or may still change by itself, or the part cannot be sent any
            more because the connection has left its market.
    """
    services.need_broker()
    with services.database.transaction() as transaction:
        work.make_due(transaction, organization_id, "bulk")
        part = _undecided(services.settings, transaction, organization_id, job_id, number)
        if arrived:
            failed = {each.line: each for each in part.line_outcomes() if each.outcome is Outcome.FAILED}
            transitions.settle(transaction, part, Transition(state=PartState.DONE, outcomes=failed, arrived=True))
            completion.end_anew(transaction, organization_id, job_id)
        else:
            _check_market(transaction, part)
            transitions.reopen(transaction, part)
        audit.record(transaction, _act("bulk.settle", organization_id, job_id, part=number, arrived=arrived))
    completion.end_jobs(services.database, organization_id)
    services.producer.nudge([Nudge("bulk", organization_id)])
    return get(services.database, organization_id, job_id)


def is_decidable(settings: Settings, part: Part) -> bool:
    """Whether a person may settle a part: its outcome can no longer change by itself."""
    deadline = send_deadline(settings.request_longest)
    return part.is_decidable(deadline=deadline, hangs_after=settings.bulk_unexplained_after)


def retry_now(database: Database, organization_id: str) -> None:
    """Make parts that wait for a retry due now; not those that wait for the quota or for reading back."""
    with database.transaction() as transaction:
        if transitions.retry_now(transaction, organization_id):
            work.make_due(transaction, organization_id, "bulk")


def _act(action: str, organization_id: str, job_id: int, **details: object) -> audit.Act:
    return audit.Act(action, organization_id, "bulk_job", job_id, details)


def _record_submission(transaction: Transaction, new: NewJob) -> None:
    act = _act("bulk.submit", new.organization_id, new.id, lines=new.lines, bad_lines=new.bad_lines)
    if new.error is None:
        audit.record(transaction, act, audit.Outcome.ASKED)
    else:
        audit.record(transaction, act, audit.Outcome.REFUSED, new.error.code)


def _locked(transaction: Transaction, organization_id: str) -> Connection:
    """The connection, locked against changes until the transaction ends: its market is the job's."""
    transaction.execute("SELECT FROM backmarket.connections WHERE organization_id = %s FOR SHARE", (organization_id,))
    return select(transaction, organization_id)


def _new_job(connection: Connection, submission: Submission) -> NewJob:
    check_usable(connection, submission.environment)
    return NewJob(
        organization_id=connection.organization_id,
        id=submission.job_id,
        object_prefix=bulk_job_prefix(connection.organization_id, submission.job_id),
        file_name=submission.file_name,
        locale=check_locale(connection.region, submission.locale or connection.locale),
        environment=connection.environment,
        region=connection.region,
        base_url=connection.base_url,
        header=submission.header,
        lines=submission.lines,
        bad_lines=submission.bad_lines,
        unchanged_lines=submission.unchanged_lines,
        idempotency_key=submission.idempotency_key,
        fingerprint=submission.fingerprint,
        max_age=submission.max_age.total_seconds() if submission.max_age is not None else None,
        error=submission.refused,
        asked_by=audit.current_actor().label,
    )


def _repeated(transaction: Transaction, submission: Submission) -> int:
    key = submission.idempotency_key
    found = rows.by_key(transaction, submission.organization_id, key) if key is not None else None
    if found is None or found[1] != submission.fingerprint:
        raise InvalidArgument(
            "A bulk job with this idempotency key was submitted before with another file or other options: choose"
            " another key."
        )
    return found[0]


def _job(transaction: Transaction, organization_id: str, job_id: int) -> Job:
    job = rows.select_job(transaction, organization_id, job_id)
    if job is None:
        raise BulkJobNotFound(
            f"This organization has no bulk job {job_id}. See the list (`get_bulk_jobs`, `backmarket bulk list`)."
        )
    return job


def _undecided(settings: Settings, transaction: Transaction, organization_id: str, job_id: int, number: int) -> Part:
    _job(transaction, organization_id, job_id)
    part = rows.select_part(transaction, organization_id, job_id, number)
    if part is None:
        raise BulkJobNotFound(
            f"Bulk job {job_id} has no part {number}. See the job (`get_bulk_job`, `backmarket bulk show`)."
        )
    if not is_decidable(settings, part):
        deadline = send_deadline(settings.request_longest)
        waits = part.state in {PartState.SUBMITTING, PartState.UNKNOWN}
        why = (
            f"its request may still arrive in the {deadline:g} s after it was sent" if waits else f"it is {part.state}"
        )
        raise InvalidArgument(f"There is nothing to settle about part {number} of bulk job {job_id} now: {why}.")
    return part


def _check_market(transaction: Transaction, part: Part) -> None:
    if transaction.execute(_SAME_MARKET, (part.organization_id, part.job_id)).fetchone() is None:
        raise InvalidArgument(
            "The connection is for another region, environment or base URL than this job was meant for: submit the"
            " file again."
        )


_SAME_MARKET = """
SELECT FROM backmarket.bulk_jobs j JOIN backmarket.connections c USING (organization_id, environment, region)
WHERE organization_id = %s AND j.id = %s AND j.base_url IS NOT DISTINCT FROM c.base_url
"""
