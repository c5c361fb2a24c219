"""Due syncs: the dispatcher claims them, and a request makes one due now."""

from __future__ import annotations

from dataclasses import dataclass

from backmarket import audit
from backmarket.connections import MAY_SEND, check_usable, get
from backmarket.database import Database
from backmarket.errors import InvalidArgument
from backmarket.messages import NUDGE_SECONDS, Nudge
from backmarket.resources import check_resource

CLAIM = 500
"""Maximum rows claimed in one statement; the next tick, a second later, claims the next ones."""


def claim_due(database: Database, resource: str, *, limit: int = CLAIM, only_requested: bool = False) -> list[Nudge]:
    """Claim rows that are due and not nudged, so that no other dispatcher nudges them, too.

    Organizations that are disabled, or whose key is refused, are not due; nor are resources that the schedule has
    switched off, unless a sync was requested; nor rows whose lease a worker holds.

    Args:
        resource: such as `orders`.
        limit: maximum number of rows.
        only_requested: claim only rows for which a sync was requested: the queue is full.

    Returns:
        A nudge for each row, the longest due first.
    """
    values = {"resource": resource, "limit": limit, "seconds": NUDGE_SECONDS, "only_requested": only_requested}
    with database.transaction() as transaction:
        rows = transaction.execute(_CLAIM, values).fetchall()
    return [Nudge(resource, organization_id) for (organization_id,) in rows]


@dataclass(frozen=True, slots=True)
class SyncRequest:
    """A requested sync.

    Attributes:
        number: of the request, which is answered when `sync_state.served` reaches it.
        slices: lease number of the last slice that had ended at the request.
        failures: in a row, at the request.
    """

    number: int
    slices: int
    failures: int


def request_sync(
    database: Database,
    organization_id: str,
    resource: str,
    *,
    full: bool = False,
    download_labels: bool = True,
    accept_missing: bool = False,
    environment: str | None = None,
) -> SyncRequest:
    """Request a sync now, regardless of the schedule and any back-off.

    Args:
        resource: such as `orders`.
        full: walk the whole list.
        download_labels: the labels of the shipments that it finds are wanted; without it they are left to the next
            sync. Of two requests before a sync begins, either may set it.
        accept_missing: walk the whole list, and request each row that it does not show, however many there are.
        environment: must be the connection's, if given.

    Returns:
        The request, to find out whether it was answered. The caller sends the nudge.

    Raises:
        InvalidArgument: if there is no such resource.
        ConnectionNotFound, ConnectionDisabled, ApiKeyMissing, ConnectionUnauthorized, EnvironmentMismatch: see
            `check_usable`.
    """
    check_resource(resource)
    values = {
        "organization": organization_id,
        "resource": resource,
        "full": full or accept_missing,
        "accept_missing": accept_missing,
        "without_labels": not download_labels,
        "seconds": NUDGE_SECONDS,
    }
    for _ in range(2):  # it may be removed and connected again in between
        check_usable(get(database, organization_id), environment)
        with database.transaction() as transaction:
            row = transaction.execute(_REQUEST, values).fetchone()
            if row is not None and accept_missing:  # a decision; any other request only asks for a sync
                audit.record(transaction, _accepted(organization_id, resource), audit.Outcome.ASKED)
        if row is not None:
            return SyncRequest(*row)
    raise InvalidArgument(
        f"{resource} is not synced for this organization. Connect it again (`upsert_connection`, `connections add`)."
    )


def _accepted(organization_id: str, resource: str) -> audit.Act:
    return audit.Act("sync.accept_missing", organization_id, "resource", resource)


# Rows whose slices all end without a word do not starve the others: they are left out while their nudge counts, and
# meanwhile each tick claims CLAIM others. Another order than that of the index would read all that are due.
_CLAIM = f"""
WITH due AS (
    SELECT s.organization_id, s.resource
    FROM backmarket.sync_state s JOIN backmarket.connections c USING (organization_id)
    JOIN backmarket.schedule d USING (resource)
    WHERE s.resource = %(resource)s AND s.next_due_at <= now()
      AND (s.nudged_until IS NULL OR s.nudged_until < now())
      AND (s.lease_until IS NULL OR s.lease_until < now())
      AND (NOT %(only_requested)s AND d.enabled AND s.enabled OR s.requested > s.served)
      AND {MAY_SEND}
    ORDER BY s.next_due_at LIMIT %(limit)s FOR UPDATE OF s SKIP LOCKED
), claimed AS (
    UPDATE backmarket.sync_state AS s SET nudged_until = now() + make_interval(secs => %(seconds)s)
    FROM due WHERE s.organization_id = due.organization_id AND s.resource = due.resource
    RETURNING s.organization_id, s.next_due_at
)
SELECT organization_id FROM claimed ORDER BY next_due_at
"""

# The nudge of a request made while a slice holds the lease finds nothing to do. So it counts as not sent: the
# dispatcher sends one as soon as that slice is over.
_REQUEST = """
UPDATE backmarket.sync_state SET requested = requested + 1, next_due_at = now(), sync_due_at = now(),
    full_requested = full_requested OR %(full)s,
    full_walk_due_at = CASE WHEN %(full)s THEN now() ELSE full_walk_due_at END,
    accept_missing = accept_missing OR %(accept_missing)s,
    without_labels = %(without_labels)s AND (without_labels OR requested = served),
    nudged_until = CASE WHEN lease_until > now() THEN NULL ELSE now() + make_interval(secs => %(seconds)s) END
WHERE organization_id = %(organization)s AND resource = %(resource)s
RETURNING requested, CASE WHEN lease_until > now() THEN lease_number - 1 ELSE lease_number END, failures
"""
