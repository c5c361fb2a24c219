"""Leases: which worker may sync one organization, resource and market now.

A lease is a number that only grows. Only the holder of the newest one may write, and every transaction that
writes checks the number in the locked row: a process that slept past its lease writes nothing. A walk that is over
after one request needs no lease: it ends in one write, which succeeds only if the number has not changed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from psycopg.rows import dict_row

from backmarket.connections import EncryptedCredentials
from backmarket.database import Database, Transaction
from backmarket.errors import BackMarketError, LeaseLost, NotAvailable
from backmarket.messages import NUDGE_SECONDS, Nudge
from backmarket.resources import RESOURCES, Resource
from backmarket.sync.lease_statements import (
    CLAIM,
    CREDENTIAL_COLUMNS,
    FINISH,
    LEASE_COLUMNS,
    OVER,
    PAUSED,
    PROBE,
    PUT_OFF,
    WALK_COLUMNS,
)
from backmarket.sync.page_walk import Walk, WalkKind


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to sync one resource of one organization in one market, with the state read when it is taken.

    Attributes:
        market: a further market of the connection; empty: its locale.
        number: the lease's own.
        generation: of the connection.
        taken_at: by PostgreSQL's clock.
        requested: the newest request for a sync.
        kind: of the walk to do now.
        watermark: everything modified before it (API's clock) is stored; None: never walked.
        failures: failed runs in a row, and slices among them that were answered 429 and stored nothing.
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
    market: str
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

    @property
    def nudge(self) -> Nudge:
        """The message that makes a worker look at its row."""
        return Nudge(self.resource, self.organization_id, self.market)


def probe(database: Database, organization_id: str, resource: Resource) -> Lease | None:
    """The state of a sync that is due and that no other worker holds. Takes no lease and writes nothing.

    Returns:
        A lease that is not yet taken, with the newest number; None when the sync is not due, its lease is held by
        another worker, or it is disabled, switched off in the schedule, without a key, or its key is refused.
    """
    key = {"organization": organization_id, "resource": resource.name, "market": resource.market}
    values = {**key, "incremental": bool(resource.since)}
    with database.transaction() as transaction, transaction.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(PROBE, values).fetchone()
        if row is None:
            return None
    walk = Walk(row["kind"], **{name: row[name] for name in WALK_COLUMNS}) if row["began_at"] else None
    encrypted = EncryptedCredentials(**{name: row[name] for name in CREDENTIAL_COLUMNS})
    known = {name: row[name] for name in LEASE_COLUMNS}
    return Lease(organization_id, resource.name, resource.market, **known, encrypted=encrypted, walk=walk)


def claim(database: Database, seen: Lease, *, owner: str, seconds: float) -> Lease | None:
    """Take the lease, if nothing has happened since the probe.

    Args:
        seen: what `probe` returned.
        owner: name of the process and thread, for operators; see `owner_name`.
        seconds: until it expires unless renewed.

    Returns:
        None when another worker took it, or the connection was changed, disabled or removed.
    """
    with database.transaction() as transaction:
        row = transaction.execute(CLAIM, _row(seen) | {"owner": owner, "seconds": seconds}).fetchone()
    return replace(seen, number=row[0]) if row else None


def hold(transaction: Transaction, lease: Lease) -> None:
    """Lock the row and check that the lease is still the newest, before rows are written.

    Raises:
        LeaseLost: if another worker took over, or the connection was changed, disabled or removed.
    """
    row = transaction.execute(f"SELECT 1 FROM backmarket.sync_state {_OF_LEASE} FOR UPDATE", _row(lease)).fetchone()
    if row is None:
        raise LeaseLost


def renew(transaction: Transaction, lease: Lease, *, seconds: float) -> None:
    """Like `hold`, and extend the lease: from now on, as the transaction may have begun long ago.

    Raises:
        LeaseLost: if another worker took over, or the connection was changed, disabled or removed.
    """
    until = "lease_until = clock_timestamp() + make_interval(secs => %(seconds)s)"
    _fenced(transaction, lease, until, {"seconds": seconds})


def hand_on(
    transaction: Transaction, lease: Lease, *, pause: float, progressed: bool = True, failed: bool = False
) -> None:
    """Release the lease with the walk unfinished; it is due again after a pause.

    Args:
        transaction: the checkpoint is written in the same one.
        pause: seconds; 0: a message is sent right after the commit, so none is due from the dispatcher.
        progressed: the slice stored something, so the failures in a row are over. One that could send nothing leaves
            them as they are.
        failed: a request failed; such slices in a row are counted, see `refusals.lasting`.

    Raises:
        LeaseLost: if another worker took it over.
    """
    _fenced(
        transaction,
        lease,
        f"{OVER}, next_due_at = now() + make_interval(secs => %(pause)s),"
        " nudged_until = CASE WHEN %(pause)s > 0 THEN NULL ELSE now() + make_interval(secs => %(nudge)s) END,"
        " failures = CASE WHEN %(progressed)s THEN 0 ELSE failures + %(failed)s END",
        {"pause": pause, "nudge": NUDGE_SECONDS, "progressed": progressed, "failed": int(failed)},
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
    """Claim the nudge of a sync that is due, or was postponed and is due now.

    Args:
        within: maximum seconds until it would be due.

    Returns:
        Whether it was claimed; the caller sends it.
    """
    with database.transaction() as transaction:
        cursor = transaction.execute(
            "UPDATE backmarket.sync_state SET next_due_at = LEAST(next_due_at, now()),"
            " nudged_until = now() + make_interval(secs => %s)"
            " WHERE organization_id = %s AND resource = %s AND market = %s"
            " AND next_due_at <= now() + make_interval(secs => %s) AND nudged_until IS NULL AND lease_until IS NULL",
            (NUDGE_SECONDS, nudge.organization_id, nudge.name, nudge.market, within),
        )
    return cursor.rowcount == 1


def withdraw(database: Database, nudge: Nudge) -> None:
    """Note that a nudge could not be sent: the dispatcher sends the next one."""
    with database.transaction() as transaction:
        transaction.execute(
            "UPDATE backmarket.sync_state SET nudged_until = NULL"
            " WHERE organization_id = %s AND resource = %s AND market = %s",
            (nudge.organization_id, nudge.name, nudge.market),
        )


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
        missing: stored rows that a full walk did not show and that stay as they are.
        rejected: rows that could not be stored.

    Raises:
        LeaseLost: if another worker took it over.
    """
    began_at = walk.began_at
    assert began_at is not None  # noqa: S101 - a complete walk has had an answer
    _fenced(
        transaction,
        lease,
        FINISH,
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

    Only the full walk pauses, where incremental ones can work meanwhile.

    Args:
        transaction: the one that notes the failure elsewhere, too.
        pause: seconds until the retry.

    Raises:
        LeaseLost: if another worker took it over.
    """
    behind = lease.kind == "full" and lease.watermark is not None and bool(RESOURCES[lease.resource].since)
    _fenced(
        transaction,
        lease,
        f"{OVER}, {PUT_OFF if behind else PAUSED},"
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
        f"UPDATE backmarket.sync_state AS s SET {assignments} {_OF_LEASE}", {**values, **_row(lease)}
    )
    if cursor.rowcount != 1:
        raise LeaseLost


def _row(lease: Lease) -> dict[str, object]:
    return {
        "organization": lease.organization_id,
        "resource": lease.resource,
        "market": lease.market,
        "number": lease.number,
    }


_OF_LEASE = (
    "WHERE organization_id = %(organization)s AND resource = %(resource)s AND market = %(market)s"
    " AND lease_number = %(number)s"
)
