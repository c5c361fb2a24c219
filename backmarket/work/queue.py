"""The work beside the syncs (fetch labels, send writes and bulk files): when it is due, and which worker may do it.

One row for each organization and kind of work says when it is due; the dispatcher nudges what is due. The lease in it
is a number that only grows, like that of a sync: only the holder of the newest one may write.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from backmarket.connections import ENCRYPTED_COLUMNS, MAY_SEND, EncryptedCredentials
from backmarket.database import Database, Transaction
from backmarket.errors import LeaseLost
from backmarket.messages import NUDGE_SECONDS, Nudge

Work = Literal["labels", "writes", "bulk"]
KINDS: tuple[Work, ...] = ("labels", "writes", "bulk")

CLAIM = 500
"""Maximum rows claimed in one statement; the next tick, a second later, claims the next ones."""


@dataclass(frozen=True, slots=True)
class WorkLease:
    """The right to do one kind of work of one organization, and what its requests need.

    Attributes:
        number: the lease's own.
        generation: of the connection.
        encrypted: the connection's credentials, as they are stored.
    """

    organization_id: str
    kind: Work
    number: int
    generation: int
    encrypted: EncryptedCredentials


def make_due(transaction: Transaction, organization_id: str, kind: Work) -> None:
    """Make an organization's work due now. This transaction and those that end its slices wait for each other.

    Args:
        transaction: the one that stores what is to be done.
        kind: of work.
    """
    transaction.execute(_MAKE_DUE, (organization_id, kind))


def claim_due(database: Database, *, kinds: Sequence[Work] = KINDS, limit: int = CLAIM) -> list[Nudge]:
    """Claim rows that are due and not nudged, so that no other dispatcher nudges them, too.

    Args:
        kinds: the kinds of work whose queues have room.
        limit: maximum number of rows.

    Returns:
        A nudge for each row, the longest due first.
    """
    values = {"kinds": list(kinds), "limit": limit, "seconds": NUDGE_SECONDS}
    with database.transaction() as transaction:
        rows = transaction.execute(_CLAIM_DUE, values).fetchall()
    return [Nudge(kind, organization_id) for kind, organization_id in rows]


def take(database: Database, organization_id: str, kind: Work, *, owner: str, seconds: float) -> WorkLease | None:
    """Take the lease, if work is due and no other worker holds it.

    Args:
        kind: of work.
        owner: name of the process and thread, for operators; see `owner_name`.
        seconds: until it expires unless renewed.

    Returns:
        None when nothing is due, another worker holds it, or the connection is disabled, refused or without a key.
    """
    values = {"organization": organization_id, "kind": kind, "owner": owner, "seconds": seconds}
    with database.transaction() as transaction:
        row = transaction.execute(_TAKE, values).fetchone()
    if row is None:
        return None
    number, generation, *encrypted = row
    return WorkLease(organization_id, kind, number, generation, EncryptedCredentials(*encrypted))


def hold(transaction: Transaction, lease: WorkLease, *, seconds: float | None = None) -> None:
    """Lock the row and check that the lease is still the newest, before a result is written.

    Args:
        transaction: writes the result.
        seconds: until it expires, from now on; None: as before.

    Raises:
        LeaseLost: if another worker took over, or the connection was changed, disabled or removed.
    """
    row = transaction.execute(
        "UPDATE backmarket.work SET lease_until = COALESCE(now() + make_interval(secs => %s), lease_until)"
        " WHERE organization_id = %s AND kind = %s AND lease_number = %s",
        (seconds, lease.organization_id, lease.kind, lease.number),
    )
    if row.rowcount != 1:
        raise LeaseLost


def finish(transaction: Transaction, lease: WorkLease, due_at: datetime | None) -> None:
    """Release the lease.

    Work added meanwhile is not lost: the caller calls `hold` first, and then reads what is due.

    Args:
        transaction: holds the lease (`hold`), and has then read when work is due.
        due_at: when the next slice is due; None: there is nothing to do.

    Raises:
        LeaseLost: if another worker took over, or the connection was changed, disabled or removed.
    """
    row = transaction.execute(
        "UPDATE backmarket.work SET due_at = COALESCE(%s::timestamptz, 'infinity'), nudged_until = NULL,"
        " lease_until = NULL, lease_owner = NULL, lease_number = lease_number + 1"
        " WHERE organization_id = %s AND kind = %s AND lease_number = %s",
        (due_at, lease.organization_id, lease.kind, lease.number),
    )
    if row.rowcount != 1:
        raise LeaseLost


def void(transaction: Transaction, organization_id: str, kinds: Sequence[Work] = KINDS) -> None:
    """Void an organization's leases and make its work due: its connection was changed."""
    transaction.execute(
        "UPDATE backmarket.work SET lease_number = lease_number + 1, lease_until = NULL, lease_owner = NULL,"
        " nudged_until = NULL, due_at = now() WHERE organization_id = %s AND kind = ANY(%s)",
        (organization_id, list(kinds)),
    )


def owner_name(host: str) -> str:
    """A name by which an operator finds the process and thread that hold a lease."""
    return f"{host}:{os.getpid()}:{threading.get_ident()}"


# A nudge that was sent is enough, unless a slice is running, which may have read its work already.
_MAKE_DUE = """
INSERT INTO backmarket.work AS w (organization_id, kind, due_at) VALUES (%s, %s, now())
ON CONFLICT (organization_id, kind) DO UPDATE SET due_at = now(),
    nudged_until = CASE WHEN w.lease_until > now() THEN NULL ELSE w.nudged_until END
WHERE w.due_at > now() OR w.lease_until > now()
"""

_CLAIM_DUE = f"""
WITH due AS (
    SELECT w.organization_id, w.kind
    FROM backmarket.work w JOIN backmarket.connections c USING (organization_id)
    WHERE w.due_at <= now() AND w.kind = ANY(%(kinds)s) AND (w.nudged_until IS NULL OR w.nudged_until < now())
      AND (w.lease_until IS NULL OR w.lease_until < now()) AND {MAY_SEND}
    ORDER BY w.due_at LIMIT %(limit)s FOR UPDATE OF w SKIP LOCKED
), claimed AS (
    UPDATE backmarket.work AS w SET nudged_until = now() + make_interval(secs => %(seconds)s)
    FROM due WHERE w.organization_id = due.organization_id AND w.kind = due.kind
    RETURNING w.kind, w.organization_id, w.due_at
)
SELECT kind, organization_id FROM claimed ORDER BY due_at
"""

_TAKE = f"""
UPDATE backmarket.work AS w
SET lease_number = lease_number + 1, lease_owner = %(owner)s, nudged_until = NULL,
    lease_until = now() + make_interval(secs => %(seconds)s)
FROM backmarket.connections c
WHERE w.organization_id = %(organization)s AND w.kind = %(kind)s AND c.organization_id = w.organization_id
  AND w.due_at <= now() AND (w.lease_until IS NULL OR w.lease_until < now()) AND {MAY_SEND}
RETURNING w.lease_number, c.generation, {ENCRYPTED_COLUMNS}
"""
