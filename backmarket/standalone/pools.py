"""The worker pools: one for each kind of work, as docs/decisions/0017 measured them."""

from __future__ import annotations

from dataclasses import dataclass

from backmarket.messages import DELIVER_EVENTS, DISPATCH, QUEUES, SYNC_TASKS, WORK_TASKS


@dataclass(frozen=True, slots=True)
class Pool:
    """One worker process.

    Attributes:
        name: Celery's node name, before the `@`; its log has this name, too.
        queues: the queues it takes messages from.
        concurrency: tasks at a time (threads).
    """

    name: str
    queues: tuple[str, ...]
    concurrency: int = 16


SYNC = tuple(QUEUES[task] for task in SYNC_TASKS.values())

FLEET = (
    Pool("dispatch", (QUEUES[DISPATCH],), 1),
    Pool("sync", SYNC),
    Pool("work", tuple(sorted(QUEUES[task] for task in (*WORK_TASKS.values(), DELIVER_EVENTS)))),
)
"""The workers of one machine: dispatching never waits behind a sync."""

DEPLOYMENT = (
    Pool("sync", SYNC),
    Pool("bulk", (QUEUES[WORK_TASKS["bulk"]],), 4),
    Pool("labels", (QUEUES[WORK_TASKS["labels"]],), 8),
    Pool("writes", (QUEUES[WORK_TASKS["writes"]],), 8),
    Pool("events", (QUEUES[DELIVER_EVENTS],), 2),
    Pool("dispatch", (QUEUES[DISPATCH],), 2),
)
"""The workers of a deployment: any of them can be scaled, stopped or lost alone."""

ALL = Pool("all", tuple(queue for pool in DEPLOYMENT for queue in pool.queues))
"""One process for everything: for a few organizations."""


def of_name(name: str) -> Pool:
    """A pool of `DEPLOYMENT`, or `ALL`."""
    return next(pool for pool in (*DEPLOYMENT, ALL) if pool.name == name)
