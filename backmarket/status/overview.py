"""All organizations at a glance: counts by health, and a page of them with their syncs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg.rows import class_row, dict_row

from backmarket.connections.connection import SELECT, Connection
from backmarket.database import Database
from backmarket.errors import InvalidArgument
from backmarket.queries.pagination import check_limit
from backmarket.resources import RESOURCES
from backmarket.status.sync_status import ConnectionStatus, get_sync_status_of

HEALTHS = ("ok", "failing", "unauthorized", "disabled", "no_key")
"""Values of `Connection.health`."""


@dataclass(frozen=True, slots=True)
class ResourceOverview:
    """Status of one resource's syncs over all active organizations.

    Attributes:
        organizations: number of active ones.
        running: walks that a worker is running.
        failing: syncs whose last try failed, each market of an organization counted.
        never: organizations that were never synced.
        typical_lag: median seconds since the last success; None: none ever succeeded.
        worst_lag: the same, of the worst.
    """

    resource: str
    organizations: int
    running: int
    failing: int
    never: int
    typical_lag: float | None
    worst_lag: float | None


@dataclass(frozen=True, slots=True)
class Overview:
    """All organizations.

    Attributes:
        organizations: number by health, with each of `HEALTHS`.
        resources: status of the syncs, by resource.
    """

    organizations: dict[str, int]
    resources: dict[str, ResourceOverview]

    @property
    def total(self) -> int:
        """Number of organizations."""
        return sum(self.organizations.values())


def get_overview(database: Database) -> Overview:
    """Counts of organizations by health, and status by resource; two statements, however many there are."""
    with database.transaction() as transaction, transaction.cursor(row_factory=dict_row) as cursor:
        healths = cursor.execute(_HEALTHS).fetchall()
        resources = cursor.execute(_RESOURCES).fetchall()
    counted = dict.fromkeys(HEALTHS, 0) | {each["health"]: each["count"] for each in healths}
    found = {each["resource"]: ResourceOverview(**each) for each in resources}
    return Overview(counted, {name: found[name] for name in RESOURCES if name in found})


def get_connection_statuses(
    database: Database, *, health: str | None = None, search: str | None = None, after: str = "", limit: int = 50
) -> list[ConnectionStatus]:
    """Connections by organization id, each with the status of its resources; two statements.

    Args:
        health: of this health only.
        search: part of the id, ignoring case.
        after: the last id of the page before.
        limit: 1 to 1000.

    Raises:
        InvalidArgument: if there is no such health, or the limit is invalid.
    """
    if health is not None and health not in HEALTHS:
        raise InvalidArgument(f"There is no health {health!r}. Choose one of {', '.join(HEALTHS)}.")
    check_limit(limit)
    values: dict[str, Any] = {"after": after, "health": health, "search": search, "limit": limit}
    conditions = ["organization_id > %(after)s"]
    conditions += [f"{_HEALTH} = %(health)s"] if health else []
    conditions += ["position(lower(%(search)s) IN lower(organization_id)) > 0"] if search else []
    statement = f"{SELECT} WHERE {' AND '.join(conditions)} ORDER BY organization_id LIMIT %(limit)s"
    with database.transaction() as transaction, transaction.cursor(row_factory=class_row(Connection)) as cursor:
        found = cursor.execute(statement.encode(), values).fetchall()
    statuses = get_sync_status_of(database, [each.organization_id for each in found])
    return [ConnectionStatus(each, statuses[each.organization_id]) for each in found]


# As `Connection.health` has it.
_HEALTH = """CASE WHEN api_key IS NULL THEN 'no_key' WHEN NOT enabled THEN 'disabled'
    WHEN unauthorized_at IS NOT NULL THEN 'unauthorized' WHEN last_error_at IS NOT NULL THEN 'failing' ELSE 'ok' END"""

_HEALTHS = f"SELECT {_HEALTH} AS health, count(*) AS count FROM backmarket.connections GROUP BY 1"

_RESOURCES = """
SELECT resource, count(*) FILTER (WHERE s.market = '') AS organizations,
    count(*) FILTER (WHERE lease_until > now()) AS running,
    count(*) FILTER (WHERE failing_since IS NOT NULL) AS failing,
    count(*) FILTER (WHERE last_success_at IS NULL AND s.market = '') AS never,
    extract(epoch FROM now() - percentile_disc(0.5) WITHIN GROUP (ORDER BY last_success_at DESC))::float8
        AS typical_lag,
    extract(epoch FROM now() - min(last_success_at))::float8 AS worst_lag
FROM backmarket.sync_state s JOIN backmarket.connections c USING (organization_id)
WHERE c.enabled AND c.api_key IS NOT NULL AND c.unauthorized_at IS NULL AND s.availability = 'available'
GROUP BY resource
"""
