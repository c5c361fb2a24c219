"""How far behind the copies were lately, from the runs of syncs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from backmarket.database import Database
from backmarket.errors import InvalidArgument
from backmarket.queries.pagination import MAX_PAGE_SIZE
from backmarket.resources import RESOURCES

RUNS = 300
"""Maximum newest runs read of one organization and resource: a day's, at one every five minutes."""
MAX_LAG_HOURS = 366 * 24.0
"""Maximum time span of a query, in hours."""


@dataclass(frozen=True, slots=True)
class LagSample:
    """How far behind the copies were when a run ended.

    Attributes:
        at: when it ended.
        seconds: since the last success before it.
        failed: the run did not catch up.
        news: rows that it created, updated or removed.
    """

    at: datetime
    seconds: float
    failed: bool
    news: int


def get_lag_history(
    database: Database, organization_ids: Sequence[str], *, hours: float = 24.0
) -> dict[tuple[str, str], list[LagSample]]:
    """How far behind the copies of some organizations were, by organization and resource; one statement.

    Of listings, in the connection's locale.

    A run that found nothing new has no row in `sync_runs`, and no sample.

    Args:
        organization_ids: whose; up to 1000.
        hours: how far back.

    Raises:
        InvalidArgument: if there are too many organizations, or `hours` is invalid.
    """
    if len(organization_ids) > MAX_PAGE_SIZE:
        raise InvalidArgument(
            f"{len(organization_ids)} organizations are too many at once. Ask for up to {MAX_PAGE_SIZE}."
        )
    if not 0 < hours <= MAX_LAG_HOURS:
        raise InvalidArgument("hours must be more than 0, and at most those of 366 days.")
    values = {"organizations": [*organization_ids], "resources": [*RESOURCES], "hours": hours, "runs": RUNS}
    found: dict[tuple[str, str], list[LagSample]] = {}
    with database.transaction() as transaction:
        for organization, resource, *sample in transaction.execute(_HISTORY, values):
            found.setdefault((organization, resource), []).append(LagSample(*sample))
    for samples in found.values():
        samples.reverse()
    return found


# The newest runs, by the index of each partition; all runs of an organization that has fewer.
_HISTORY = """
SELECT o.organization_id, r.resource, run.finished_at, run.behind, run.outcome = 'failed',
    run.rows_created + run.rows_updated + run.rows_removed
FROM unnest(%(organizations)s::text[]) AS o (organization_id) CROSS JOIN unnest(%(resources)s::text[]) AS r (resource)
CROSS JOIN LATERAL (
    SELECT s.id, s.finished_at, s.behind, s.outcome, s.rows_created, s.rows_updated, s.rows_removed
    FROM backmarket.sync_runs s
    WHERE s.organization_id = o.organization_id AND s.resource = r.resource AND s.market = ''
      AND s.finished_at > now() - make_interval(secs => %(hours)s * 3600) AND s.behind IS NOT NULL
    ORDER BY s.id DESC LIMIT %(runs)s
) AS run
"""
