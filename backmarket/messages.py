"""The messages: names of tasks, their queues and arguments. Ids only, never payloads, secrets or personal data."""

from __future__ import annotations

from dataclasses import dataclass

DISPATCH = "backmarket.dispatch"
"""`dispatch()`: send a nudge for each organization and resource that is due."""

SYNC_ORDERS = "backmarket.sync_orders"
"""`sync_orders(organization_id, nudge=False)`: a nudge syncs what is due; without it, a sync is asked for now."""

SYNC_LISTINGS = "backmarket.sync_listings"
"""`sync_listings(organization_id, nudge=False)`: as for orders."""

SYNC_DELIVERIES = "backmarket.sync_deliveries"
"""`sync_deliveries(organization_id, nudge=False)`: as for orders."""

SYNC_RETURNS = "backmarket.sync_returns"
"""`sync_returns(organization_id, nudge=False)`: as for orders."""

SYNC_TASKS = {
    "orders": SYNC_ORDERS,
    "listings": SYNC_LISTINGS,
    "deliveries": SYNC_DELIVERIES,
    "returns": SYNC_RETURNS,
}
"""The task that syncs each resource."""

FETCH_LABELS = "backmarket.fetch_labels"
"""`fetch_labels(organization_id, nudge=False)`: a nudge fetches the labels that are due; without it, those that wait
for their next try, too."""

SEND_WRITES = "backmarket.send_writes"
"""`send_writes(organization_id, nudge=False)`: send the writes that are due; without `nudge`, those that wait, too."""

RUN_BULK = "backmarket.run_bulk"
"""`run_bulk(organization_id, nudge=False)`: a nudge does what is due of the bulk jobs; without it, what waits for its
next try, too. What Back Market has is not asked about any sooner."""

SUBMIT_BULK = "backmarket.submit_bulk"
"""`submit_bulk(organization_id, object_key, **options)`: submit a file that lies in the bucket under `uploads/`; the
options are those of `submitting.submit_object`. Its outcome is a row of `bulk_jobs`."""

WORK_TASKS = {"labels": FETCH_LABELS, "writes": SEND_WRITES, "bulk": RUN_BULK}
"""The task that does each kind of work beside the syncs; see the table `work`."""

NUDGED_TASKS = {**SYNC_TASKS, **WORK_TASKS}
"""The tasks that are nudged for an organization, by what they look at."""

ANNOUNCE_CHANGES = "backmarket.announce_changes"
"""`announce_changes()`: tell those who follow the change feed that there is news."""

UPKEEP = "backmarket.upkeep"
"""`upkeep()`: drop what is too old, if that is due."""

SWEEP_BUCKET = "backmarket.sweep_bucket"
"""`sweep_bucket()`: delete what is to be deleted from the bucket, and compare it with the rows, if that is due."""

QUEUES = {
    DISPATCH: "dispatch",
    ANNOUNCE_CHANGES: "dispatch",
    UPKEEP: "dispatch",
    SUBMIT_BULK: "bulk",
    SWEEP_BUCKET: "labels",
    **{task: name for name, task in NUDGED_TASKS.items()},
}
"""The queue of each task. A worker pool names the queues that it takes."""

NUDGE_SECONDS = 60
"""How long a nudge counts: its message expires then, and the row may be nudged again."""


@dataclass(frozen=True, slots=True)
class Nudge:
    """A message that says: look at this row now.

    Args:
        name: what is to be looked at, of `NUDGED_TASKS`: a resource, `labels`, `writes` or `bulk`.
        organization_id: whose.
    """

    name: str
    organization_id: str
