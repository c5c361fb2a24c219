"""Leases: which worker may sync one organization and resource now.

A lease is a number that only grows. Only the holder of the newest one may write, and every transaction that
writes checks the number in the locked row: a process that slept past its lease writes nothing. A walk that is over
after one request needs no lease: it ends in one write, which succeeds only if the number has not changed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from psycopg.rows import dict_row

from backmarket.connections import ENCRYPTED_COLUMNS, MAY_SEND, EncryptedCredentials
from backmarket.database import Database, Transaction
from backmarket.errors import BackMarketError, LeaseLost, NotAvailable
from backmarket.messages import NUDGE_SECONDS, Nudge
from backmarket.resources import Resource
from backmarket.sync.page_walk import Walk, WalkKind


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to sync one resource of one organization, with the state read when it is taken.

    Attributes:
        number: the lease's own.
        generation: of the connection.
        taken_at: by PostgreSQL's clock.
        requested: the newest request for a sync.
        kind: of the walk to do now.
        watermark: everything modified before it (API's clock) is stored; None: never walked.
        failures: failed runs in a row.
        failing_for: seconds since the first of them.
        worked: a walk of this resource has succeeded before.
        labels: labels of shipments are wanted.
        accept_missing: an operator has accepted that many rows are missing.
        has_error: an error is noted on the connection.
        encrypted: the connection's credentials, as they are stored.
        walk: the unfinished walk to continue with; None: a new one begins.
    """

    organization_id: str
    resource: str
    number: int
    generation: int
    taken_at: datetime
    requested: int
    kind: WalkKind
    watermark: datetime | None
    failures: int
    failing_for: float
    worked: bool
    labels: bool
    accept_missing: bool
    has_error: bool
    encrypted: EncryptedCredentials
    walk: Walk | None


def probe(database: Database, organization_id: str, resource: Resource) -> Lease | None:
    """The state of a sync that is due and that no other worker holds. Takes no lease and writes nothing.

    Returns:
        A lease that is not yet taken, with the newest number; None when the sync is not due, its lease is held by
        another worker, or it is disabled, switched off in the schedule, without a key, or its key is refused.
    """
    values = {"organization": organization_id, "resource": resource.name, "incremental": bool(resource.since)}
    with database.transaction() as transaction, transaction.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(_PROBE, values).fetchone()
        if row is None:
            return None
    walk = Walk(row["kind"], **{name: row[name] for name in _WALK_COLUMNS}) if row["began_at"] else None
    encrypted = EncryptedCredentials(**{name: row[name] for name in _CREDENTIAL_COLUMNS})
    known = {name: row[name] for name in _LEASE_COLUMNS}
    return Lease(organization_id, resource.name, **known, encrypted=encrypted, walk=walk)


def claim(database: Database, seen: Lease, *, owner: str, seconds: float) -> Lease | None:
    """Take the lease, if nothing has happened since the probe.

    Args:
        seen: what `probe` returned.
        owner: name of the process and thread, for operators; see `owner_name`.
        seconds: until it expires unless renewed.

    Returns:
        None when another worker took it, or the connection was changed, disabled or removed.
    """
    of_row = {"organization": seen.organization_id, "resource": seen.resource, "number": seen.number}
    with database.transaction() as transaction:
        row = transaction.execute(_CLAIM, of_row | {"owner": owner, "seconds": seconds}).fetchone()
    return replace(seen, number=row[0]) if row else None


def hold(transaction: Transaction, lease: Lease) -> None:
    """Lock the row and check that the lease is still the newest, before rows are written.

    Raises:
        LeaseLost: if another worker took over, or the connection was changed, disabled or removed.
    """
    row = transaction.execute(
        "SELECT 1 FROM backmarket.sync_state WHERE organization_id = %s AND resource = %s AND lease_number = %s"
        " FOR UPDATE",
        (lease.organization_id, lease.resource, lease.number),
    ).fetchone()
    if row is None:
        raise LeaseLost


def renew(transaction: Transaction, lease: Lease, *, seconds: float) -> None:
    """Like `hold`, and extend the lease.

    Raises:
        LeaseLost: if another worker took over, or the connection was changed, disabled or removed.
    """
    _fenced(transaction, lease, "lease_until = now() + make_interval(secs => %(seconds)s)", {"seconds": seconds})


def hand_on(transaction: Transaction, lease: Lease, *, pause: float) -> None:
    """Release the lease with the walk unfinished; it is due again after a pause.

    Args:
        transaction: the checkpoint is written in the same one.
        pause: seconds; 0: a message is sent right after the commit, so none is due from the dispatcher.

    Raises:
        LeaseLost: if another worker took it over.
    """
    _fenced(
        transaction,
        lease,
        f"{_OVER}, next_due_at = now() + make_interval(secs => %(pause)s),"
        " nudged_until = CASE WHEN %(pause)s > 0 THEN NULL ELSE now() + make_interval(secs => %(nudge)s) END,"
        " failures = 0",
        {"pause": pause, "nudge": NUDGE_SECONDS},
    )


def postpone(transaction: Transaction, lease: Lease, *, pause: float) -> None:
    """Make a sync whose lease is not taken due again after a pause; nothing was done.

    Args:
        pause: seconds.

    Raises:
        LeaseLost: if another worker took it.
    """
    due = "next_due_at = now() + make_interval(secs => %(pause)s), nudged_until = NULL"
    _fenced(transaction, lease, due, {"pause": pause})


def recall(database: Database, nudge: Nudge, *, within: float) -> bool:
    """Make a postponed sync due now.

    Args:
        within: maximum seconds until it would be due.

    Returns:
        Whether it was still postponed; the caller sends its nudge.
    """
    with database.transaction() as transaction:
        cursor = transaction.execute(
            "UPDATE backmarket.sync_state SET next_due_at = now(), nudged_until = now() + make_interval(secs => %s)"
            " WHERE organization_id = %s AND resource = %s AND next_due_at <= now() + make_interval(secs => %s)"
            " AND nudged_until IS NULL AND lease_until IS NULL",
            (NUDGE_SECONDS, nudge.organization_id, nudge.name, within),
        )
    return cursor.rowcount == 1


def finish(
    transaction: Transaction,
    lease: Lease,
    walk: Walk,
    *,
    incremental: bool,
    overlap: float,
    quiet: bool,
    missing: int = 0,
    rejected: int = 0,
) -> None:
    """Release the lease, claimed or only probed, with the walk complete.

    The watermark moves, the next slice is due in its phase.

    Args:
        transaction: the last rows are written in the same one.
        walk: the complete walk.
        incremental: this resource has incremental walks, too.
        overlap: seconds that the next incremental walk reaches back.
        quiet: the walk found nothing new.
        missing: stored rows that a full walk did not show, too many to request each.
        rejected: rows that could not be stored.

    Raises:
        LeaseLost: if another worker took it over.
    """
    began_at = walk.began_at
    assert began_at is not None  # noqa: S101 - a complete walk has had an answer
    _fenced(
        transaction,
        lease,
        _FINISH,
        {
            "watermark": began_at - timedelta(seconds=overlap),
            "started": walk.started_at,
            "served": walk.serving,
            "full": walk.kind == "full",
            "incremental": incremental,
            "quiet": int(quiet),
            "missing": missing,
            "rejected": rejected,
        },
    )


def fail(transaction: Transaction, lease: Lease, error: BackMarketError, *, pause: float) -> None:
    """Release the lease after a failure; stored rows stay, and the walk continues from its checkpoint.

    Args:
        transaction: the one that notes the failure elsewhere, too.
        pause: seconds until the retry.

    Raises:
        LeaseLost: if another worker took it over.
    """
    _fenced(
        transaction,
        lease,
        f"{_OVER}, next_due_at = now() + make_interval(secs => %(pause)s),"
        " failures = failures + 1, error_code = %(code)s,"
        " failing_since = CASE WHEN %(available)s THEN COALESCE(failing_since, now()) END,"
        " error = %(message)s, error_request_id = %(request_id)s, error_cf_ray = %(cf_ray)s,"
        " availability = CASE WHEN %(available)s THEN 'available' ELSE 'not_available' END",
        {
            "pause": pause,
            "code": error.code,
            "message": error.message,
            "request_id": error.request_id,
            "cf_ray": error.cf_ray,
            "available": not isinstance(error, NotAvailable),
        },
    )


def _fenced(transaction: Transaction, lease: Lease, assignments: str, values: dict[str, object]) -> None:
    cursor = transaction.execute(
        f"UPDATE backmarket.sync_state AS s SET {assignments}"
        " WHERE organization_id = %(organization)s AND resource = %(resource)s AND lease_number = %(number)s",
        {**values, "organization": lease.organization_id, "resource": lease.resource, "number": lease.number},
    )
    if cursor.rowcount != 1:
        raise LeaseLost


_LEASE_COLUMNS = (
    "number", "generation", "taken_at", "requested", "kind", "watermark", "failures", "failing_for", "worked",
    "labels", "accept_missing", "has_error",
)  # fmt: skip
_CREDENTIAL_COLUMNS = ("api_key", "account", "environment", "region", "locale", "base_url")
_WALK_COLUMNS = (
    "since", "started_at", "began_at", "serving", "pass_", "pass_began_at", "next_page", "page_size",
    "expected", "highest", "saves", "counted", "steady",
)  # fmt: skip

# While a full walk is unfinished, due syncs go before its next slice.
# `IS TRUE` rules out the index of due rows: while statistics say that nothing is due, that index looks as cheap as
# the key, and after an outage each probe would read all due rows (10,000 rows: 4 ms instead of 0.2).
_PROBE = f"""
SELECT s.lease_number AS number, c.generation, now() AS taken_at, s.requested, p.kind, s.watermark, s.failures,
    COALESCE(extract(epoch FROM now() - s.failing_since), 0)::float8 AS failing_for,
    s.last_success_at IS NOT NULL AS worked,
    s.download_labels AND NOT s.without_labels AS labels, s.accept_missing, c.last_error_at IS NOT NULL AS has_error,
    w.since, w.started_at, w.began_at, w.serving, w.pass AS pass_, w.pass_began_at, w.next_page, w.page_size,
    w.expected, w.highest, w.saves, w.counted, w.steady, {ENCRYPTED_COLUMNS}
FROM backmarket.sync_state s
JOIN backmarket.connections c USING (organization_id)
JOIN backmarket.schedule d USING (resource)
CROSS JOIN LATERAL (
    SELECT CASE
        WHEN NOT %(incremental)s OR s.watermark IS NULL THEN 'full'
        WHEN EXISTS (
            SELECT FROM backmarket.walks w
            WHERE w.organization_id = s.organization_id AND w.resource = s.resource AND w.kind = 'full'
        ) THEN CASE WHEN s.sync_due_at <= now() THEN 'incremental' ELSE 'full' END
        WHEN s.full_requested OR s.full_walk_due_at <= now() THEN 'full'
        ELSE 'incremental' END AS kind
) p
LEFT JOIN backmarket.walks w
    ON w.organization_id = s.organization_id AND w.resource = s.resource AND w.kind = p.kind
WHERE s.organization_id = %(organization)s AND s.resource = %(resource)s
  AND (s.next_due_at <= now()) IS TRUE AND (s.lease_until IS NULL OR s.lease_until < now())
  AND (d.enabled AND s.enabled OR s.requested > s.served)
  AND {MAY_SEND}
"""

# Everything that voids a lease increases the number, so comparing it is enough.
_CLAIM = """
UPDATE backmarket.sync_state
SET lease_number = lease_number + 1, lease_owner = %(owner)s, nudged_until = NULL,
    lease_until = now() + make_interval(secs => %(seconds)s), last_started_at = now()
WHERE organization_id = %(organization)s AND resource = %(resource)s AND lease_number = %(number)s
  AND (lease_until IS NULL OR lease_until < now())
RETURNING lease_number
"""

# The number grows at the end of a slice, too: that invalidates earlier probes, which saw another walk.
_OVER = "lease_number = lease_number + 1, lease_until = NULL, lease_owner = NULL"

# Problems found by a full walk stay noted until the next full walk.
# A sync that goes before an unfinished full walk answers no request for a full one; and it leaves that walk due. The
# schedule may have changed since it began.
_FINISH = f"""
{_OVER}, nudged_until = NULL,
last_started_at = %(started)s, watermark = GREATEST(watermark, %(watermark)s),
served = CASE WHEN full_requested AND NOT %(full)s THEN served ELSE GREATEST(served, %(served)s) END,
full_requested = full_requested AND NOT (%(full)s AND requested = %(served)s),
without_labels = without_labels AND requested > %(served)s,
accept_missing = accept_missing AND NOT (%(full)s AND requested = %(served)s),
(sync_due_at, full_walk_due_at, next_due_at) = (
    SELECT sync, full_walk, CASE WHEN requested > %(served)s OR full_requested AND NOT %(full)s THEN now()
        WHEN %(incremental)s THEN LEAST(sync, full_walk) ELSE sync END
    FROM (
        SELECT backmarket.next_in_phase(s.organization_id || '/' || s.resource, every) AS sync,
            CASE WHEN %(full)s THEN backmarket.next_in_phase(
                s.organization_id || '/' || s.resource || '/full', full_every, full_every / 2
            ) ELSE s.full_walk_due_at END AS full_walk
        FROM backmarket.schedule d, LATERAL (
            SELECT COALESCE(s.interval_seconds, d.interval_seconds) AS every,
                COALESCE(s.full_interval_seconds, d.full_interval_seconds) AS full_every
        ) AS rhythm
        WHERE d.resource = s.resource
    ) AS due
),
last_full_walk_at = CASE WHEN %(full)s THEN now() ELSE last_full_walk_at END,
last_walk_started_at = %(started)s,
last_success_at = now(), failing_since = NULL, failures = 0, availability = 'available',
error_code = NULL, error = NULL, error_request_id = NULL, error_cf_ray = NULL,
rows_missing = CASE WHEN %(full)s THEN %(missing)s ELSE rows_missing END,
rows_rejected = CASE WHEN %(full)s THEN %(rejected)s ELSE GREATEST(rows_rejected, %(rejected)s) END,
runs = runs + 1, quiet_runs = quiet_runs + %(quiet)s
"""
