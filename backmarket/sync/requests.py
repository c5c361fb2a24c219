"""Due syncs: the dispatcher claims them, and a request makes one due now."""

from __future__ import annotations

from dataclasses import dataclass, replace

from backmarket import audit
from backmarket.connections import MAY_SEND, check_usable, get
from backmarket.database import Database
from backmarket.errors import InvalidArgument
from backmarket.messages import NUDGE_SECONDS, Nudge
from backmarket.resources import check_resource, resource_in

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
    return [Nudge(resource, organization_id, market) for organization_id, market in rows]


@dataclass(frozen=True, slots=True)
class SyncRequest:
    """A requested sync.

    Attributes:
        number: of the request, which is answered when `sync_state.served` reaches it.
        slices: lease number of the last slice that had ended at the request.
        failures: in a row, at the request.
        market: a further market of the connection; empty: its locale.
        further: the requests for its further markets, made at the same time.
    """

    number: int
    slices: int
    failures: int
    market: str = ""
    further: tuple[SyncRequest, ...] = ()

    @property
    def each(self) -> tuple[SyncRequest, ...]:
        """This request and those for further markets."""
        return (self, *self.further)


def request_sync(
    database: Database,
    organization_id: str,
    resource: str,
    *,
    full: bool = False,
    download_labels: bool = True,
    accept_missing: bool = False,
    environment: str | None = None,
    market: str | None = None,
) -> SyncRequest:
    """Request a sync now, regardless of the schedule and any back-off; of listings, in all markets of the connection.

    Args:
        resource: such as `orders`.
        full: walk the whole list.
        download_labels: the labels of the shipments that it finds are wanted; without it they are left to the next
            sync. Of two requests before a sync begins, either may set it.
        accept_missing: walk the whole list, and request each row that it does not show, however many there are.
        environment: must be the connection's, if given.
        market: only in this market of the connection.

    Returns:
        The request, to find out whether it was answered. The caller sends the nudges.

    Raises:
        InvalidArgument: if there is no such resource, or the connection no such market.
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
        connection = get(database, organization_id)
        check_usable(connection, environment)
        of = None if market is None else resource_in(resource, connection.market_of(market)).market
        with database.transaction() as transaction:
            rows = transaction.execute(_REQUEST, values | {"market": of}).fetchall()
            if rows and accept_missing:  # a decision; any other request only asks for a sync
                audit.record(transaction, _accepted(organization_id, resource, of), audit.Outcome.ASKED)
        if rows:
            first, *further = (SyncRequest(*row) for row in rows)
            return replace(first, further=tuple(further))
    raise InvalidArgument(
        f"{resource} is not synced for this organization. Connect it again (`upsert_connection`, `connections add`)."
    )


def _accepted(organization_id: str, resource: str, market: str | None) -> audit.Act:
    details = {"market": market} if market else {}
    return audit.Act("sync.accept_missing", organization_id, "resource", resource, details)


# Rows whose slices all end without a word do not starve the others: they are left out while their nudge counts, and
# meanwhile each tick claims CLAIM others. Another order than that of the index would read all that are due.
_CLAIM = f"""
WITH due AS (
    SELECT s.organization_id, s.resource, s.market
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
    FROM due WHERE s.organization_id = due.organization_id AND s.resource = due.resource AND s.market = due.market
    RETURNING s.organization_id, s.market, s.next_due_at
)
SELECT organization_id, market FROM claimed ORDER BY next_due_at
"""

# The nudge of a request made while a slice holds the lease finds nothing to do. So it counts as not sent: the
# dispatcher sends one as soon as that slice is over.
_REQUEST = """
WITH wanted AS (
    SELECT market FROM backmarket.sync_state
    WHERE organization_id = %(organization)s AND resource = %(resource)s
      AND market = COALESCE(%(market)s::text, market)
    ORDER BY market FOR UPDATE
), asked AS (
    UPDATE backmarket.sync_state AS s SET requested = requested + 1, next_due_at = now(), sync_due_at = now(),
        full_requested = full_requested OR %(full)s,
        full_walk_due_at = CASE WHEN %(full)s THEN now() ELSE full_walk_due_at END,
        accept_missing = accept_missing OR %(accept_missing)s,
        without_labels = %(without_labels)s AND (without_labels OR requested = served),
        nudged_until = CASE WHEN lease_until > now() THEN NULL ELSE now() + make_interval(secs => %(seconds)s) END
    FROM wanted
    WHERE s.organization_id = %(organization)s AND s.resource = %(resource)s AND s.market = wanted.market
    RETURNING requested, CASE WHEN lease_until > now() THEN lease_number - 1 ELSE lease_number END, failures, s.market
)
SELECT * FROM asked ORDER BY market
"""
