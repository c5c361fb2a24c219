"""How the syncs fare: what an operator asks first, and what a caller waits for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic, sleep

from psycopg.rows import class_row, dict_row

from backmarket.connections import Connection, check_usable, get
from backmarket.database import Database
from backmarket.errors import ConnectionNotFound, WaitTimeout, error_for
from backmarket.sync.requests import SyncRequest


@dataclass(frozen=True, slots=True)
class SyncStatus:
    """How one resource of one organization fares.

    Attributes:
        organization_id: whose.
        resource: which.
        state: `never` synced, `ok`, `running`, `failing`, `not_available`, or, when nothing is asked, the
            connection's `disabled`, `no_key` or `unauthorized`, or the schedule's `off`.
        last_success_at: when a walk last ended well; None: never.
        lag: seconds since then; None: never.
        next_due_at: when the next turn may be taken.
        running_since: since when a worker holds the lease; None: none does.
        owner: which worker.
        failing_since: since when it fails; None: it does not.
        failures: failed runs in a row.
        error_code: of the last failure; or, where the state is `ok`, of what a person should look at.
        error: its text.
        error_request_id: for Back Market's support.
        error_cf_ray: the same.
        watermark: by the API's clock, everything modified before it is stored.
        rows_done: rows that the unfinished walk has stored.
        rows_expected: rows that the API counted for it; None: no walk is unfinished, or it did not say.
    """

    organization_id: str
    resource: str
    state: str
    last_success_at: datetime | None
    lag: float | None
    next_due_at: datetime
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


@dataclass(frozen=True, slots=True)
class ConnectionStatus:
    """A connection and how each of its resources fares."""

    connection: Connection
    resources: dict[str, SyncStatus]


@dataclass(frozen=True, slots=True)
class SyncOutcome:
    """What a sync that was waited for did.

    Attributes:
        rows_created: new rows.
        rows_updated: changed rows.
        rows_unchanged: rows that came and were stored already; 0 is all that is known of a run without news.
        rows_removed: rows that are gone.
        rows_rejected: rows that can't be stored: without a usable id, or with a value that PostgreSQL can't hold.
        requests: sent to the API.
    """

    rows_created: int = 0
    rows_updated: int = 0
    rows_unchanged: int = 0
    rows_removed: int = 0
    rows_rejected: int = 0
    requests: int = 0


@dataclass(frozen=True, slots=True)
class SyncHandle:
    """A sync that was asked for. It runs by itself; waiting is optional.

    Attributes:
        organization_id: whose.
        resource: which.
        request: which request it answers.
        nudged: a message was sent; False: the broker is away, and the sync begins when the dispatcher finds it.
    """

    organization_id: str
    resource: str
    request: SyncRequest
    nudged: bool
    _database: Database = field(repr=False)

    @property
    def number(self) -> int:
        """Of the request."""
        return self.request.number

    def done(self) -> SyncOutcome | None:
        """What the sync did; None: it has not ended.

        Raises:
            BackMarketError: it failed; the class says what to do. It is tried again by itself.
        """
        values = {
            "organization": self.organization_id,
            "resource": self.resource,
            "number": self.request.number,
            "turns": self.request.turns,
            "failures": self.request.failures,
        }
        with self._database.transaction() as transaction, transaction.cursor(row_factory=dict_row) as cursor:
            state = cursor.execute(_STATE, values).fetchone()
            run = cursor.execute(_RUN, values).fetchone() if state and state["answered"] else None
        connection = get(self._database, self.organization_id)
        if state is None or not state["known"]:
            raise ConnectionNotFound("The connection was removed since the sync was asked for; ask again.")
        if state["answered"]:
            return SyncOutcome(**run) if run else SyncOutcome()
        check_usable(connection, even_if_refused=True)
        if state["failed"]:
            marks = {"request_id": state["error_request_id"], "cf_ray": state["error_cf_ray"]}
            raise error_for(state["error_code"], state["error"], **marks)
        check_usable(connection)
        return None

    def status(self) -> SyncStatus:
        """How far it is."""
        return get_sync_status(self._database, self.organization_id)[self.resource]

    def wait(self, timeout: float = 60.0) -> SyncOutcome:
        """Wait until a walk that began after the request has ended.

        Args:
            timeout: seconds.

        Raises:
            WaitTimeout: it has not ended yet; it goes on by itself.
            BackMarketError: it failed; see `done`.
        """
        until, pause = monotonic() + timeout, 0.02
        while True:
            outcome = self.done()
            if outcome is not None:
                return outcome
            if monotonic() + pause > until:
                raise WaitTimeout(_why_not_done(self.status(), timeout))
            sleep(pause)
            pause = min(pause * 1.5, 0.5)


def get_sync_status(database: Database, organization_id: str) -> dict[str, SyncStatus]:
    """How each resource of one organization fares.

    Raises:
        ConnectionNotFound: there is no connection.
    """
    found = _select(database, "s.organization_id = %(organization)s", {"organization": organization_id, "limit": 100})
    if not found:
        get(database, organization_id)
    return {status.resource: status for status in found}


def get_all_sync_status(
    database: Database, *, after: str = "", limit: int = 1000, failing: bool = False
) -> list[SyncStatus]:
    """How the resources of all organizations fare, by organization id.

    Args:
        database: where.
        after: the last id of the page before.
        limit: rows at the most, but for those that complete the last organization.
        failing: only what fails, is not asked because the key was refused, or misses many rows.
    """
    condition = "s.organization_id > %(after)s"
    if failing:
        condition += (
            " AND c.enabled AND (s.failing_since IS NOT NULL OR c.unauthorized_at IS NOT NULL"
            " OR s.error_code = 'many_missing')"
        )
    return _select(database, condition, {"after": after, "limit": limit})


def get_connection_status(database: Database, organization_id: str) -> ConnectionStatus:
    """A connection and how it fares; no secrets.

    Raises:
        ConnectionNotFound: there is none.
    """
    return ConnectionStatus(get(database, organization_id), get_sync_status(database, organization_id))


def get_sync_status_of(database: Database, organization_ids: Sequence[str]) -> dict[str, dict[str, SyncStatus]]:
    """How each resource of some organizations fares, by organization and resource; one statement."""
    found: dict[str, dict[str, SyncStatus]] = {each: {} for each in organization_ids}
    values = {"organizations": [*organization_ids], "limit": 4 * len(organization_ids) + 1}
    # said of both tables: the planner would read the connections from the first to the last of them
    condition = "s.organization_id = ANY(%(organizations)s) AND c.organization_id = ANY(%(organizations)s)"
    for one in _select(database, condition, values):
        found[one.organization_id][one.resource] = one
    return found


def _select(database: Database, condition: str, values: dict[str, object]) -> list[SyncStatus]:
    with database.transaction() as transaction, transaction.cursor(row_factory=class_row(SyncStatus)) as cursor:
        return cursor.execute(
            f"SELECT * FROM ({_STATUS} WHERE {condition} ORDER BY s.organization_id"
            " FETCH FIRST %(limit)s ROWS WITH TIES) AS page ORDER BY organization_id, resource",
            values,
        ).fetchall()


def _why_not_done(status: SyncStatus, timeout: float) -> str:
    progress = f", {status.rows_done} of {status.rows_expected} rows" if status.rows_expected else ""
    if status.running_since is not None:
        return f"The sync is running{progress}, and has not ended within {timeout:g} s; it goes on by itself."
    if status.failures:
        return (
            f"The sync has not ended within {timeout:g} s, and fails ({status.error_code}): {status.error}"
            f" It is tried again after {status.next_due_at:%Y-%m-%d %H:%M:%S %Z}."
        )
    if progress:
        return f"The sync waits for its next turn{progress}, and has not ended within {timeout:g} s."
    return (
        f"No worker has taken the sync up within {timeout:g} s: is a worker with the queue {status.resource!r} running,"
        " and does it use the same broker? The request is kept."
    )


_STATUS = """
SELECT s.organization_id, s.resource,
    CASE WHEN c.api_key IS NULL THEN 'no_key' WHEN NOT c.enabled THEN 'disabled'
        WHEN c.unauthorized_at IS NOT NULL THEN 'unauthorized'
        WHEN s.lease_until > now() THEN 'running' WHEN s.failing_since IS NOT NULL THEN 'failing'
        WHEN s.availability = 'not_available' THEN 'not_available'
        WHEN NOT (d.enabled AND s.enabled) AND s.requested = s.served THEN 'off'
        WHEN s.last_success_at IS NULL THEN 'never' ELSE 'ok' END AS state,
    s.last_success_at, extract(epoch FROM now() - s.last_success_at)::float8 AS lag, s.next_due_at,
    CASE WHEN s.lease_until > now() THEN s.last_started_at END AS running_since,
    CASE WHEN s.lease_until > now() THEN s.lease_owner END AS owner,
    s.failing_since, s.failures, s.watermark,
    -- a key that was refused outside of a sync is told here, too
    COALESCE(s.error_code, CASE WHEN c.unauthorized_at IS NOT NULL THEN c.last_error_code END) AS error_code,
    COALESCE(s.error, CASE WHEN c.unauthorized_at IS NOT NULL THEN c.last_error END) AS error,
    COALESCE(s.error_request_id, CASE WHEN c.unauthorized_at IS NOT NULL THEN c.last_error_request_id END)
        AS error_request_id,
    COALESCE(s.error_cf_ray, CASE WHEN c.unauthorized_at IS NOT NULL THEN c.last_error_cf_ray END) AS error_cf_ray,
    w.rows_done, w.expected AS rows_expected
FROM backmarket.sync_state s
JOIN backmarket.connections c USING (organization_id)
JOIN backmarket.schedule d USING (resource)
LEFT JOIN LATERAL (
    SELECT expected, least(expected, (next_page - 1) * page_size) AS rows_done
    FROM backmarket.walks w WHERE w.organization_id = s.organization_id AND w.resource = s.resource
    ORDER BY kind = 'full' LIMIT 1
) w ON true
"""

# Failed: the last turn did, and ended after the request. A turn that runs holds the lease; one that hands on, or ends
# well, sets the failures to 0.
_STATE = """
SELECT served >= %(number)s AS answered, requested >= %(number)s AS known,
    lease_until IS NULL AND failures > 0 AND (lease_number > %(turns)s OR failures > %(failures)s) AS failed,
    error_code, error, error_request_id, error_cf_ray
FROM backmarket.sync_state WHERE organization_id = %(organization)s AND resource = %(resource)s
"""

# The oldest of the newest runs that may be the one; a run without news has no row.
_RUN = """
SELECT rows_created, rows_updated, rows_unchanged, rows_removed, rows_rejected, requests
FROM (
    SELECT * FROM backmarket.sync_runs
    WHERE organization_id = %(organization)s AND resource = %(resource)s ORDER BY id DESC LIMIT 100
) AS newest
WHERE serving >= %(number)s AND outcome = 'done' ORDER BY id LIMIT 1
"""
