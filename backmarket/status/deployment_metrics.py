"""The metrics of a whole deployment: how far behind it is, what waits, what needs an operator.

They are facts in PostgreSQL and in the broker, so they are read there, once for all processes: one statement and one
round trip, however many organizations there are. None names an organization.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from backmarket.database import SCHEMA_VERSION, Database
from backmarket.errors import BackMarketError
from backmarket.status.broker import Broker

METRICS = {
    "reachable": "Whether the service can be reached (1) or not (0)",
    "schema_version": "Version of the database's schema, and of the one that this program needs",
    "connections": "Connected organizations, by what keeps each from being asked (ok: nothing)",
    "sync_organizations": "Organizations to sync; each further market of listings counts as one more",
    "sync_lagging_organizations": "Organizations without a successful sync for more than two intervals; so for markets",
    "sync_oldest_seconds": "Seconds since the last success of the organization that has waited longest",
    "sync_overdue_seconds": "Seconds for which the sync that is due longest has not been claimed",
    "sync_running": "Slices of syncs that hold a lease now",
    "sync_failing_organizations": "Organizations whose last sync failed, by the code of the error",
    "sync_missing_rows": "Stored rows that full walks did not show, and that could not be marked as gone",
    "sync_rejected_rows": "Rows of the API that could not be stored",
    "labels_wanted": "Labels to be fetched: not tried yet, or to be retried",
    "labels_oldest_seconds": "Seconds since the oldest label to be fetched became known",
    "bulk_jobs": "Bulk jobs that have not ended",
    "bulk_lines_waiting": "Lines of bulk jobs that have not been sent",
    "bulk_oldest_seconds": "Seconds since the oldest bulk job that has not ended was submitted",
    "bulk_parts_undecided": "Parts of bulk jobs that a person has to settle",
    "writes": "Writes to Back Market that have not ended",
    "writes_oldest_seconds": "Seconds since the oldest write that has not ended was submitted",
    "writes_undecided": "Writes that a person has to settle",
    "bucket_deletions": "Objects and prefixes to delete from the bucket",
    "event_endpoints": "Endpoints for events, by state (disabled: after failures; off: by a person)",
    "event_retries": "Events that wait to be sent again",
    "events_overdue_seconds": "Seconds for which the endpoint that is due longest has not been claimed",
    "upkeep_overdue_seconds": "Seconds for which the hourly upkeep has been due",
    "database_bytes": "Size of the database",
    "clock_ahead_seconds": "Seconds by which the clock of a worker's host is ahead of PostgreSQL's",
    "queue_messages": "Messages that wait in a queue of the broker",
    "messages_unacknowledged": "Messages that workers have taken and not finished",
    "broker_memory_bytes": "Memory that the broker uses",
    "broker_memory_limit_bytes": "Memory that the broker may use (maxmemory); 0: all there is",
}
"""Names of the metrics, and their meanings."""


@dataclass(frozen=True, slots=True)
class DeploymentMetric:
    """One value.

    Attributes:
        name: of `METRICS`.
        value: a count, or in the unit of the name.
        labels: tell it from others of its name; never an organization.
    """

    name: str
    value: float
    labels: dict[str, str] = field(default_factory=dict)


def measure(database: Database, broker: Broker) -> list[DeploymentMetric]:
    """The current metrics; those of a service that cannot be reached are missing, and `reachable` says so."""
    found: list[DeploymentMetric] = []
    for service, ask in (("database", lambda: _of_database(database)), ("broker", lambda: _of_broker(broker))):
        answer = _asked(ask)
        found.append(DeploymentMetric("reachable", float(answer is not None), {"service": service}))
        found += answer or ()
    return found


def _asked(ask: Callable[[], list[DeploymentMetric]]) -> list[DeploymentMetric] | None:
    try:
        return ask()
    except BackMarketError:
        return None


def _of_database(database: Database) -> list[DeploymentMetric]:
    with database.transaction() as transaction:
        rows: Iterable[tuple[str, dict[str, str], float]] = transaction.execute(_METRICS.encode()).fetchall()
    needed = DeploymentMetric("schema_version", SCHEMA_VERSION, {"of": "program"})
    return [needed, *(DeploymentMetric(name, value, labels) for name, labels, value in rows)]


def _of_broker(broker: Broker) -> list[DeploymentMetric]:
    lengths, info = broker.lengths(), broker.info()
    unacknowledged = lengths.pop("unacked")
    return [
        *(DeploymentMetric("queue_messages", length, {"queue": queue}) for queue, length in lengths.items()),
        DeploymentMetric("messages_unacknowledged", unacknowledged),
        *(DeploymentMetric(name, info[field]) for name, field in _OF_INFO.items() if field in info),
    ]


_OF_INFO = {"broker_memory_bytes": "used_memory", "broker_memory_limit_bytes": "maxmemory"}

# One pass over each table, counted as it is read, or over a partial index of what is open; only columns that
# `backmarket_metrics` may read (`account` is null where there is no key). A sync counts as due under the same
# conditions as in `sync/requests.py`; without a success so far, a lag begins with the connection.
_METRICS = """
WITH sync AS MATERIALIZED (
    SELECT s.resource, wanted, CASE WHEN s.failing_since IS NOT NULL THEN s.error_code END AS failing,
        count(*) AS count,
        count(*) FILTER (WHERE lag > 2 * COALESCE(s.interval_seconds, d.interval_seconds)) AS lagging,
        max(lag) AS oldest,
        min(s.next_due_at) FILTER (WHERE s.next_due_at <= now() AND (s.lease_until > now()) IS NOT TRUE) AS due_at,
        count(*) FILTER (WHERE s.lease_until > now()) AS running,
        sum(s.rows_missing) AS missing, sum(s.rows_rejected) AS rejected
    FROM backmarket.sync_state s
    JOIN backmarket.connections c USING (organization_id)
    JOIN backmarket.schedule d USING (resource)
    CROSS JOIN LATERAL (SELECT
        extract(epoch FROM now() - COALESCE(s.last_success_at, c.created_at))::float8 AS lag,
        c.enabled AND c.account IS NOT NULL AND c.unauthorized_at IS NULL AND d.enabled AND s.enabled
            AND s.availability = 'available' AS wanted) AS one
    GROUP BY s.resource, wanted, failing
), of_resource AS (
    SELECT d.resource,
        COALESCE(sum(count) FILTER (WHERE wanted), 0) AS organizations,
        COALESCE(sum(lagging) FILTER (WHERE wanted), 0) AS lagging,
        COALESCE(max(oldest) FILTER (WHERE wanted), 0) AS oldest,
        COALESCE(extract(epoch FROM now() - min(due_at) FILTER (WHERE wanted)), 0)::float8 AS overdue,
        COALESCE(sum(running), 0) AS running,
        COALESCE(sum(missing) FILTER (WHERE wanted), 0) AS missing,
        COALESCE(sum(rejected) FILTER (WHERE wanted), 0) AS rejected
    FROM backmarket.schedule d LEFT JOIN sync USING (resource) GROUP BY d.resource
), labels AS (
    SELECT count(*) AS wanted, COALESCE(extract(epoch FROM now() - min(noted_at)), 0)::float8 AS oldest
    FROM backmarket.labels WHERE state = 'wanted'
), jobs AS (
    SELECT state, created_at FROM backmarket.bulk_jobs WHERE ended_at IS NULL
), parts AS (
    SELECT COALESCE(sum(lines) FILTER (WHERE state = 'pending'), 0) AS waiting,
        count(*) FILTER (WHERE state = 'unknown' AND due_at = 'infinity') AS undecided
    FROM backmarket.bulk_parts WHERE state IN ('pending', 'submitting', 'submitted', 'unknown')
), endpoints AS MATERIALIZED (
    SELECT CASE WHEN disabled_reason = 'person' THEN 'off' WHEN state = 'disabled' THEN 'disabled'
        WHEN failing_since IS NOT NULL THEN 'failing' ELSE 'ok' END AS state,
        CASE WHEN state = 'enabled' AND due_at <= now() AND (lease_until > now()) IS NOT TRUE THEN due_at END AS due_at
    FROM backmarket.event_endpoints
), writes AS MATERIALIZED (
    SELECT state, created_at, due_at FROM backmarket.api_writes WHERE state IN ('pending', 'sending', 'unknown')
)
SELECT name, labels, value::float8 FROM (
    SELECT 'schema_version' AS name, '{"of": "database"}'::jsonb AS labels,
        (SELECT max(version) FROM backmarket.schema_version)::float8 AS value
    UNION ALL SELECT 'connections', jsonb_build_object('state', s.state), count(c.state)
        FROM unnest(ARRAY['ok', 'disabled', 'no_key', 'unauthorized']) AS s (state)
        LEFT JOIN (SELECT CASE WHEN NOT enabled THEN 'disabled' WHEN account IS NULL THEN 'no_key'
            WHEN unauthorized_at IS NOT NULL THEN 'unauthorized' ELSE 'ok' END AS state
            FROM backmarket.connections) c ON c.state = s.state GROUP BY s.state
    UNION ALL SELECT f.name, jsonb_build_object('resource', resource), f.value FROM of_resource, LATERAL (VALUES
        ('sync_organizations', organizations::float8), ('sync_lagging_organizations', lagging),
        ('sync_oldest_seconds', oldest), ('sync_overdue_seconds', overdue), ('sync_running', running),
        ('sync_missing_rows', missing), ('sync_rejected_rows', rejected)
    ) AS f (name, value)
    UNION ALL SELECT 'sync_failing_organizations', jsonb_build_object('resource', resource, 'code', failing), count
        FROM sync WHERE wanted AND failing IS NOT NULL
    UNION ALL SELECT f.name, '{}'::jsonb, f.value FROM labels, LATERAL (VALUES
        ('labels_wanted', wanted::float8), ('labels_oldest_seconds', oldest)) AS f (name, value)
    UNION ALL SELECT 'bulk_jobs', jsonb_build_object('state', s.state), count(j.state)
        FROM unnest(ARRAY['pending', 'running', 'waiting_for_quota']) AS s (state) LEFT JOIN jobs j USING (state)
        GROUP BY s.state
    UNION ALL SELECT 'bulk_oldest_seconds', '{}'::jsonb,
        COALESCE(extract(epoch FROM now() - min(created_at)), 0) FROM jobs
    UNION ALL SELECT f.name, '{}'::jsonb, f.value FROM parts, LATERAL (VALUES
        ('bulk_lines_waiting', waiting::float8), ('bulk_parts_undecided', undecided)) AS f (name, value)
    UNION ALL SELECT 'writes', jsonb_build_object('state', s.state), count(w.state)
        FROM unnest(ARRAY['pending', 'sending', 'unknown']) AS s (state) LEFT JOIN writes w USING (state)
        GROUP BY s.state
    UNION ALL SELECT 'writes_oldest_seconds', '{}'::jsonb,
        COALESCE(extract(epoch FROM now() - min(created_at)), 0) FROM writes
    UNION ALL SELECT 'writes_undecided', '{}'::jsonb,
        count(*) FILTER (WHERE state = 'unknown' AND due_at = 'infinity') FROM writes
    UNION ALL SELECT 'bucket_deletions', '{}'::jsonb, count(*) FROM backmarket.bucket_deletions
    UNION ALL SELECT 'event_endpoints', jsonb_build_object('state', s.state), count(e.state)
        FROM unnest(ARRAY['ok', 'failing', 'disabled', 'off']) AS s (state) LEFT JOIN endpoints e USING (state)
        GROUP BY s.state
    UNION ALL SELECT 'event_retries', '{}'::jsonb, count(*) FROM backmarket.event_retries
    UNION ALL SELECT 'events_overdue_seconds', '{}'::jsonb,
        COALESCE(extract(epoch FROM now() - min(due_at)), 0) FROM endpoints
    UNION ALL SELECT 'upkeep_overdue_seconds', '{}'::jsonb,
        greatest(0, COALESCE(extract(epoch FROM now() - (SELECT due_at FROM backmarket.upkeep)), 0))
    UNION ALL SELECT 'clock_ahead_seconds', jsonb_build_object('process', process), ahead_seconds FROM backmarket.clocks
    UNION ALL SELECT 'database_bytes', '{}'::jsonb, pg_database_size(current_database())
) AS metrics
"""
