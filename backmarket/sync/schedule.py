"""The schedule as data: whether and how often each resource is synced, by default and for each organization.

Dispatchers and slices read it at each run, so a change needs no restart.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from psycopg.rows import class_row

from backmarket import audit
from backmarket.connections import get
from backmarket.database import Database
from backmarket.errors import InvalidArgument
from backmarket.resources import RESOURCES, ResourceName, check_resource

MIN_INTERVAL_SECONDS, MAX_INTERVAL_SECONDS = 1.0, 366 * 86400.0
"""Minimum and maximum interval of the schedule, in seconds."""


@dataclass(frozen=True, slots=True)
class ScheduleEntry:
    """How one resource is synced.

    Attributes:
        enabled: whether it is synced automatically; a requested sync runs in any case.
        interval: seconds between two syncs.
        full_interval: seconds between two full walks; None: every sync is one.
        download_labels: whether the labels of an organization's shipments are copied to the bucket; None: the
            resource has none, or each organization sets it.
        own: names of the values that the organization has set; the others are the defaults.
    """

    resource: ResourceName
    enabled: bool
    interval: float
    full_interval: float | None
    download_labels: bool | None
    own: tuple[str, ...]


def get_schedule(database: Database, organization_id: str | None = None) -> dict[ResourceName, ScheduleEntry]:
    """The schedule by resource: the effective one of an organization, or the defaults.

    Args:
        organization_id: None: the defaults.

    Raises:
        ConnectionNotFound: if there is no such organization.
    """
    statement = _EVERYBODYS if organization_id is None else _OF_ONE
    with database.transaction() as transaction, transaction.cursor(row_factory=class_row(ScheduleEntry)) as cursor:
        found = cursor.execute(statement, {"organization": organization_id}).fetchall()
    if not found and organization_id is not None:
        get(database, organization_id)
    entries = {entry.resource: _meant(entry) for entry in found}
    return {resource: entries[resource] for resource in RESOURCES if resource in entries}


def update_schedule(
    database: Database,
    resource: str,
    *,
    organization_id: str | None = None,
    enabled: bool | None = None,
    interval: float | None = None,
    full_interval: float | None = None,
    download_labels: bool | None = None,
    inherit: bool = False,
) -> ScheduleEntry:
    """Change the schedule of one resource; what is None stays. It takes effect at once: a sync may become due sooner.

    Args:
        resource: such as `orders`.
        organization_id: change it for this one only, in all of its markets; None: change the default, for all
            without a value of their own.
        enabled: whether it is synced automatically. Off by default is off for each, whatever its own schedule says.
        interval: seconds between two syncs, from 1 s to 366 days.
        full_interval: seconds between two full walks, the same.
        download_labels: whether the labels of an organization's shipments are copied to the bucket.
        inherit: first drop the organization's own values.

    Returns:
        The schedule as it is now.

    Raises:
        InvalidArgument: if there is no such resource, or a value is invalid.
        ConnectionNotFound: if there is no such organization.
    """
    values = {
        "enabled": enabled,
        "interval": interval,
        "full_interval": full_interval,
        "download_labels": download_labels,
    }
    _check(resource, organization_id, values, inherit=inherit)
    fields = [name for name, value in values.items() if value is not None]
    act = audit.Act("schedule.change", organization_id, "schedule", resource, {"fields": fields, "inherit": inherit})
    with database.transaction() as transaction:
        changed = transaction.execute(
            _UPDATE_EVERYBODYS if organization_id is None else _UPDATE_ONE,
            {
                **values,
                "resource": resource,
                "organization": organization_id,
                "inherit": inherit,
                "incremental": bool(RESOURCES[resource].since),
            },
        )
        if organization_id is None or changed.rowcount:
            audit.record(transaction, act)
    entries = get_schedule(database, organization_id)
    if resource not in entries:
        raise InvalidArgument(
            f"{resource} is not synced for this organization. Connect it again (`upsert_connection`,"
            " `connections add`)."
        )
    return entries[resource]


def _check(resource: str, organization_id: str | None, values: dict[str, Any], *, inherit: bool) -> None:
    check_resource(resource)
    if not inherit and all(value is None for value in values.values()):
        raise InvalidArgument(f"Nothing is to be changed. Give one of {', '.join(values)}, or inherit.")
    for name in ("interval", "full_interval"):
        if values[name] is not None and not MIN_INTERVAL_SECONDS <= values[name] <= MAX_INTERVAL_SECONDS:
            raise InvalidArgument(f"{name} must be 1 second to 366 days ({MAX_INTERVAL_SECONDS:.0f}), in seconds.")
    if values["full_interval"] is not None and not RESOURCES[resource].since:
        raise InvalidArgument(f"Every sync of {resource} is a full sync. Set its interval instead.")
    if values["download_labels"] is not None and not RESOURCES[resource].label:
        raise InvalidArgument(f"{resource} have no labels. Choose deliveries or returns.")
    if organization_id is None and (inherit or values["download_labels"] is not None):
        raise InvalidArgument(
            "download_labels and inherit are about one organization: name it (`organization_id`, `--organization`)."
        )


def _meant(entry: ScheduleEntry) -> ScheduleEntry:
    """The entry without the values that mean nothing for its resource."""
    resource = RESOURCES[entry.resource]
    return replace(
        entry,
        full_interval=entry.full_interval if resource.since else None,
        download_labels=entry.download_labels if resource.label else None,
        own=tuple(entry.own),
    )


_EVERYBODYS = """
SELECT resource, enabled, interval_seconds AS interval, full_interval_seconds AS full_interval,
    NULL::boolean AS download_labels, '{}'::text[] AS own
FROM backmarket.schedule
"""

_OF_ONE = """
SELECT resource, d.enabled AND s.enabled AS enabled,
    COALESCE(s.interval_seconds, d.interval_seconds) AS interval,
    COALESCE(s.full_interval_seconds, d.full_interval_seconds) AS full_interval,
    s.download_labels,
    array_remove(ARRAY[
        CASE WHEN NOT s.enabled THEN 'enabled' END,
        CASE WHEN s.interval_seconds IS NOT NULL THEN 'interval' END,
        CASE WHEN s.full_interval_seconds IS NOT NULL THEN 'full_interval' END,
        CASE WHEN NOT s.download_labels THEN 'download_labels' END
    ], NULL) AS own
FROM backmarket.sync_state s JOIN backmarket.schedule d USING (resource)
WHERE s.organization_id = %(organization)s AND s.market = ''
"""

# After a change of the interval, a sync due later than the new interval allows is due then. A failing sync keeps its
# back-off.
# LEAST ignores null: no other interval.
_SOONER = """
(sync_due_at, full_walk_due_at, next_due_at) = (
    SELECT sync, full_walk, CASE
        WHEN s.failures > 0 OR s.availability <> 'available' THEN s.next_due_at
        WHEN %(incremental)s THEN LEAST(s.next_due_at, sync, full_walk)
        ELSE LEAST(s.next_due_at, sync) END
    FROM (
        SELECT LEAST(s.sync_due_at, backmarket.next_in_phase(
                s.organization_id || '/' || s.resource || s.market, changed.interval)) AS sync,
            LEAST(s.full_walk_due_at, backmarket.next_in_phase(
                s.organization_id || '/' || s.resource || s.market || '/full', changed.full_interval)) AS full_walk
    ) AS due
)
"""

# The rows are locked by organization id, as erasure locks them: in another order the two would deadlock.
_UPDATE_EVERYBODYS = f"""
WITH changed AS (
    UPDATE backmarket.schedule SET enabled = COALESCE(%(enabled)s, enabled),
        interval_seconds = COALESCE(%(interval)s, interval_seconds),
        full_interval_seconds = COALESCE(%(full_interval)s, full_interval_seconds)
    WHERE resource = %(resource)s RETURNING resource
), states AS (
    SELECT organization_id, resource, market,
        CASE WHEN interval_seconds IS NULL THEN %(interval)s::float8 END AS interval,
        CASE WHEN full_interval_seconds IS NULL THEN %(full_interval)s::float8 END AS full_interval
    FROM backmarket.sync_state JOIN changed USING (resource)
    ORDER BY organization_id, market FOR UPDATE OF sync_state
)
UPDATE backmarket.sync_state AS s SET {_SOONER} FROM states AS changed
WHERE s.organization_id = changed.organization_id AND s.resource = changed.resource AND s.market = changed.market
  AND (changed.interval IS NOT NULL OR changed.full_interval IS NOT NULL)
"""

_UPDATE_ONE = f"""
WITH locked AS MATERIALIZED (
    SELECT market FROM backmarket.sync_state
    WHERE organization_id = %(organization)s AND resource = %(resource)s ORDER BY market FOR UPDATE
)
UPDATE backmarket.sync_state AS s
SET enabled = COALESCE(%(enabled)s, s.enabled OR %(inherit)s),
    interval_seconds = COALESCE(%(interval)s, CASE WHEN NOT %(inherit)s THEN s.interval_seconds END),
    full_interval_seconds = COALESCE(%(full_interval)s, CASE WHEN NOT %(inherit)s THEN s.full_interval_seconds END),
    download_labels = COALESCE(%(download_labels)s, s.download_labels OR %(inherit)s),
    {_SOONER}
FROM (
    SELECT COALESCE(%(interval)s, CASE WHEN %(inherit)s THEN interval_seconds END) AS interval,
        COALESCE(%(full_interval)s, CASE WHEN %(inherit)s THEN full_interval_seconds END) AS full_interval
    FROM backmarket.schedule WHERE resource = %(resource)s
) AS changed, locked
WHERE s.organization_id = %(organization)s AND s.resource = %(resource)s AND s.market = locked.market
"""
