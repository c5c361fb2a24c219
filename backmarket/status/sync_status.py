"""Status of syncs, for operators and for callers that wait for a sync."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from backmarket.connections import Connection, get
from backmarket.database import Database

MAX_MARKETS = 13
"""Maximum number of an organization's markets: the locales of a region."""


@dataclass(frozen=True, slots=True)
class SyncStatus:
    """Status of one resource of one organization, in one market.

    Attributes:
        environment: the connection's, `production` or `sandbox`.
        state: `never` synced, `ok`, `incomplete` (with rows missing or rejected), `running`,
            `failing`, `not_available`, or, when it is not synced, the
            connection's `disabled`, `no_key` or `unauthorized`, or the schedule's `off`.
        last_success_at: when a walk last succeeded; None: never.
        lag: seconds since then; None: never.
        next_due_at: when the next slice may be taken; where the key is refused, when it is next probed; None: never.
        running_since: since when a worker holds the lease; None: no worker does.
        owner: name of that worker.
        failing_since: since when it fails; None: it does not fail.
        failures: failed runs in a row.
        error_code: of the last failure; or `rows_missing` or `rows_rejected`, where the state is `incomplete`.
        error: its text.
        error_request_id: for Back Market's support.
        error_cf_ray: the same.
        watermark: everything modified before it (API's clock) is stored.
        rows_done: rows that the unfinished walk has stored.
        rows_expected: rows that the API counted for it; None: no walk is unfinished, or it did not say.
        rows_missing: stored rows that the last full walk did not show, and that stay as they are: too many to request
            each, or not to be read by their ids.
        rows_rejected: rows that the last walks could not store.
        market: of listings: a further market of the connection; empty: its locale.
    """

    organization_id: str
    environment: str
    resource: str
    state: str
    last_success_at: datetime | None
    lag: float | None
    next_due_at: datetime | None
    running_since: datetime | None
    owner: str | None
    failing_since: datetime | None
    failures: int
    error_code: str | None
    error: str | None
    error_request_id: str | None
    error_cf_ray: str | None
    watermark: datetime | None
    rows_done: int | None
    rows_expected: int | None
    rows_missing: int
    rows_rejected: int
    market: str = ""

    @property
    def key(self) -> str:
        """By which it is found among those of its organization; see `status_key`."""
        return status_key(self.resource, self.market)


@dataclass(frozen=True, slots=True)
class ConnectionStatus:
    """A connection and the status of each of its resources, and of its further markets by `status_key`."""

    connection: Connection
    resources: dict[str, SyncStatus]


def status_key(resource: str, market: str) -> str:
    """The resource's name; for a further market followed by it, such as `listings/de-de`."""
    return f"{resource}/{market}" if market else resource


def get_sync_status(database: Database, organization_id: str) -> dict[str, SyncStatus]:
    """Status of each resource of one organization, and of its further markets, by `status_key`.

    Raises:
        ConnectionNotFound: if there is no connection.
    """
    found = _select(database, "s.organization_id = %(organization)s", {"organization": organization_id, "limit": 100})
    if not found:
        get(database, organization_id)
    return {status.key: status for status in found}


def get_all_sync_status(
    database: Database, *, after: str = "", limit: int = 1000, failing: bool = False
) -> list[SyncStatus]:
    """Status of the resources of all organizations, by organization id.

    Args:
        after: the last id of the page before.
        limit: maximum rows, apart from those that complete the last organization.
        failing: only syncs that fail, wait because the key was refused, or miss many rows.
    """
    condition = "s.organization_id > %(after)s"
    if failing:
        condition += (
            " AND c.enabled AND (s.failing_since IS NOT NULL OR c.refused_at IS NOT NULL"
            " OR s.rows_missing > 0 OR s.rows_rejected > 0)"
        )
    return _select(database, condition, {"after": after, "limit": limit})


def get_connection_status(database: Database, organization_id: str) -> ConnectionStatus:
    """A connection and its status, without secrets.

    Raises:
        ConnectionNotFound: if the organization is not connected.
    """
    return ConnectionStatus(get(database, organization_id), get_sync_status(database, organization_id))


def get_sync_status_of(database: Database, organization_ids: Sequence[str]) -> dict[str, dict[str, SyncStatus]]:
    """Status of each resource of some organizations, by organization and resource; one statement."""
    found: dict[str, dict[str, SyncStatus]] = {each: {} for each in organization_ids}
    values = {"organizations": [*organization_ids], "limit": (MAX_MARKETS + 3) * len(organization_ids) + 1}
    # repeated for both tables: the planner would read all connections otherwise
    condition = "s.organization_id = ANY(%(organizations)s) AND c.organization_id = ANY(%(organizations)s)"
    for one in _select(database, condition, values):
        found[one.organization_id][one.key] = one
    return found


def _select(database: Database, condition: str, values: dict[str, object]) -> list[SyncStatus]:
    with database.transaction() as transaction, transaction.cursor(row_factory=class_row(SyncStatus)) as cursor:
        return cursor.execute(
            f"SELECT * FROM ({_STATUS} WHERE {condition} ORDER BY s.organization_id"
            " FETCH FIRST %(limit)s ROWS WITH TIES) AS page ORDER BY organization_id, resource, market",
            values,
        ).fetchall()


_STATUS = """
SELECT s.organization_id, c.environment, s.resource,
    CASE WHEN c.api_key IS NULL THEN 'no_key' WHEN NOT c.enabled THEN 'disabled'
        WHEN c.unauthorized_at IS NOT NULL THEN 'unauthorized'
        WHEN s.lease_until > now() THEN 'running'
        WHEN s.failing_since IS NOT NULL OR c.refused_at IS NOT NULL THEN 'failing'
        WHEN s.availability = 'not_available' THEN 'not_available'
        WHEN NOT (d.enabled AND s.enabled) AND s.requested = s.served THEN 'off'
        WHEN s.last_success_at IS NULL THEN 'never'
        WHEN s.rows_missing > 0 OR s.rows_rejected > 0 THEN 'incomplete' ELSE 'ok' END AS state,
    s.last_success_at, extract(epoch FROM now() - s.last_success_at)::float8 AS lag,
    CASE WHEN c.unauthorized_at IS NOT NULL THEN c.next_probe_at ELSE GREATEST(s.next_due_at, c.next_probe_at) END
        AS next_due_at,
    CASE WHEN s.lease_until > now() THEN s.last_started_at END AS running_since,
    CASE WHEN s.lease_until > now() THEN s.lease_owner END AS owner,
    COALESCE(s.failing_since, c.refused_at) AS failing_since,
    CASE WHEN s.error_code IS NULL THEN 0 ELSE s.failures END AS failures, s.watermark,
    -- a key that was refused outside of a sync is told here, too
    COALESCE(s.error_code, CASE WHEN c.refused_at IS NOT NULL THEN c.last_error_code
        WHEN s.rows_missing > 0 THEN 'rows_missing' WHEN s.rows_rejected > 0 THEN 'rows_rejected' END) AS error_code,
    COALESCE(s.error, CASE WHEN c.refused_at IS NOT NULL THEN c.last_error
        WHEN s.rows_missing > 0 THEN format('%%s not listed by the last full walk, and nothing was changed: too many'
            ' were missing at once, or their ids could not be read (the worker''s log names these). Check the account'
            ' at Back Market, then sync with `--accept-missing` if they are gone.',
            CASE s.rows_missing WHEN 1 THEN '1 stored row was' ELSE s.rows_missing || ' stored rows were' END)
        WHEN s.rows_rejected > 0 THEN format('%%s could not be stored: no usable id, or a value that this database'
            ' can''t hold. `backmarket doctor` checks the database''s encoding.',
            CASE s.rows_rejected WHEN 1 THEN '1 row' ELSE s.rows_rejected || ' rows' END)
    END) AS error,
    COALESCE(s.error_request_id, CASE WHEN c.refused_at IS NOT NULL THEN c.last_error_request_id END)
        AS error_request_id,
    COALESCE(s.error_cf_ray, CASE WHEN c.refused_at IS NOT NULL THEN c.last_error_cf_ray END) AS error_cf_ray,
    w.rows_done, w.expected AS rows_expected, s.rows_missing, s.rows_rejected, s.market
FROM backmarket.sync_state s
JOIN backmarket.connections c USING (organization_id)
JOIN backmarket.schedule d USING (resource)
LEFT JOIN LATERAL (
    SELECT expected, least(expected, (next_page - 1) * page_size) AS rows_done
    FROM backmarket.walks w
    WHERE w.organization_id = s.organization_id AND w.resource = s.resource AND w.market = s.market
    ORDER BY kind = 'full' LIMIT 1
) w ON true
"""
