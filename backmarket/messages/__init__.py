"""The messages: names of tasks, their queues and arguments. Ids only, never payloads, secrets or personal data."""

from __future__ import annotations

from dataclasses import dataclass

DISPATCH = "backmarket.dispatch"
"""`dispatch()`: send a nudge for each organization and resource that is due."""

SYNC_ORDERS = "backmarket.sync_orders"
"""`sync_orders(organization_id, nudge=False)`: a nudge syncs if the row is due; without it, a sync is
requested and runs now."""

SYNC_LISTINGS = "backmarket.sync_listings"
"""`sync_listings(organization_id, nudge=False, market="")`: as for orders. A nudge is for one market: a further one of
the connection, or its locale (empty). Without `nudge`, all markets are synced, or only the one that is named."""

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
"""`fetch_labels(organization_id, nudge=False)`: a nudge fetches the labels that are due; without it, the worker
also fetches labels that wait for a retry."""

SEND_WRITES = "backmarket.send_writes"
"""`send_writes(organization_id, nudge=False)`: send the writes that are due; without it, the worker also sends writes
that wait for a retry."""

RUN_BULK = "backmarket.run_bulk"
"""`run_bulk(organization_id, nudge=False)`: a nudge processes bulk jobs that are due; without it, the worker also sends
parts that wait for a retry. Parts that Back Market already has are polled no sooner."""

SUBMIT_BULK = "backmarket.submit_bulk"
"""`submit_bulk(organization_id, object_key, **options)`: submit a file from the bucket, under `uploads/`; the options
are those of `submit.submit_object`. The outcome is a row of `bulk_jobs`."""

WORK_TASKS = {"labels": FETCH_LABELS, "writes": SEND_WRITES, "bulk": RUN_BULK}
"""The task of each kind of work other than syncs; see the table `work`."""

NUDGED_TASKS = {**SYNC_TASKS, **WORK_TASKS}
"""The tasks that take nudges, by the kind of row that they look at."""

ANNOUNCE_CHANGES = "backmarket.announce_changes"
"""`announce_changes()`: notify listeners of the change feed if there are new events."""

RECORD_INBOX = "backmarket.record_inbox"
"""`record_inbox()`: write an event for each entry of the inbox that has come or gone."""

UPKEEP = "backmarket.upkeep"
"""`upkeep()`: delete rows and partitions past their retention, if upkeep is due."""

SWEEP_BUCKET = "backmarket.sweep_bucket"
"""`sweep_bucket()`: delete queued objects from the bucket; if the sweep is due, compare the bucket with the rows."""

PROBE_KEYS = "backmarket.probe_keys"
"""`probe_keys()`: ask the API whether it accepts the refused keys again whose probes are due."""

DELIVER_EVENTS = "backmarket.deliver_events"
"""`deliver_events()`: call the endpoints that events are due for."""

QUEUES = {
    DISPATCH: "dispatch",
    ANNOUNCE_CHANGES: "dispatch",
    RECORD_INBOX: "dispatch",
    UPKEEP: "dispatch",
    SUBMIT_BULK: "bulk",
    SWEEP_BUCKET: "labels",
    PROBE_KEYS: "writes",
    DELIVER_EVENTS: "events",
    **{task: name for name, task in NUDGED_TASKS.items()},
}
"""The queue of each task. A worker pool names the queues that it takes."""

NUDGE_SECONDS = 60
"""Seconds until the dispatcher may nudge the same row again. Messages themselves never expire: workers would compare
their clocks with the sender's, and Redis would keep them anyway."""

QUEUE_FULL = 2000
"""Messages in a queue from which the dispatcher stops nudging scheduled work (2 MB)."""

REQUESTS_FULL = 10_000
"""Messages in a queue from which the dispatcher also stops repeating nudges of requests (10 MB)."""

TICKS_FULL = 10
"""Messages in a queue from which beat skips a tick."""

SHARED_TICKS_FULL = 300
"""The same for a queue that also takes nudges: they must not hold up the bucket's deletions.
Ticks that no worker takes use less than 1 MB, of two beats in all queues."""


def tick_limit(queue: str) -> int:
    """Messages in a queue from which beat skips a tick."""
    return SHARED_TICKS_FULL if queue in {QUEUES[task] for task in NUDGED_TASKS.values()} else TICKS_FULL


@dataclass(frozen=True, slots=True)
class Nudge:
    """A message that tells a worker to look at one row now.

    Args:
        name: the row's kind, a key of `NUDGED_TASKS`: a resource, `labels`, `writes` or `bulk`.
        market: of listings: a further market of the connection.
    """

    name: str
    organization_id: str
    market: str = ""
