"""A slice: deliver what is due, to many endpoints at once, for as long as one task may take.

Safe to run twice and to be killed anywhere: endpoints are claimed by leases, and a batch whose result was not written
is sent again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from time import monotonic

from backmarket.events import results, routing, rows
from backmarket.events.delivery import BATCH_SECONDS, BatchResult, deliver
from backmarket.events.endpoints import ensure_task
from backmarket.events.rows import Batch, Claimed
from backmarket.observability.logs import Logger
from backmarket.services import Services
from backmarket.work.queue import owner_name

CLAIM = 64
"""Maximum number of endpoints claimed in one statement."""

FAILING_SHARE = 4
"""Endpoints whose last attempt failed take at most one of so many threads."""

COLLECT_SECONDS = 0.05
"""Seconds for which results are collected, to be written in one transaction."""

ROUTE_SECONDS = 0.25
"""Seconds between two looks for new events within a slice."""

log = Logger(__name__)


@dataclass(slots=True)
class SliceResult:
    """What a slice did.

    Attributes:
        delivered: events that were delivered.
        failed: attempts that failed.
        disabled: endpoints that were disabled.
    """

    delivered: int = 0
    failed: int = 0
    disabled: int = 0


def run_slice(services: Services) -> SliceResult:
    """Deliver due events, as far as one slice goes.

    Raises:
        DatabaseUnavailable: if PostgreSQL is unreachable; leases run out, and what was not written is sent again.
    """
    if services.settings.event_task:
        ensure_task(services.database)
    return _Slice(services).run()


class _Slice:
    def __init__(self, services: Services) -> None:
        self._services = services
        self._settings = services.settings
        self._threads = services.event_threads
        self._until = monotonic() + services.settings.task_budget_seconds
        self._lease_seconds = self._settings.event_deadline + BATCH_SECONDS + self._settings.lease_seconds
        self._finished: SimpleQueue[BatchResult] = SimpleQueue()
        self._in_flight = 0
        self._failing = 0
        """Endpoints in flight whose last attempt failed."""
        self._routed_at = -ROUTE_SECONDS
        self._result = SliceResult()

    def run(self) -> SliceResult:
        while True:
            if monotonic() < self._until and not self._services.stopping.is_set():
                self._start()
            if not self._in_flight:
                return self._result
            self._write(self._collect())

    def _start(self) -> None:
        """Claim due endpoints, as far as threads are free, and send their batches."""
        if monotonic() - self._routed_at >= ROUTE_SECONDS:
            self._routed_at = monotonic()
            routing.route(self._services.database)
        reserved = self._threads.reserve(CLAIM, patience=0.0)
        begun = 0
        try:
            claimed = self._claim(reserved) if reserved else []
            for batch in rows.read(self._services.database, claimed) if claimed else ():
                self._threads.submit(partial(self._deliver, batch))
                begun += 1
                self._in_flight += 1
                self._failing += batch.endpoint.failures > 0
        finally:
            self._threads.release(reserved - begun)

    def _claim(self, room: int) -> list[Claimed]:
        failing_room = max(1, self._settings.event_threads // FAILING_SHARE) - self._failing
        failing = self._claim_some(min(room, failing_room), failing=True)
        return failing + self._claim_some(room - len(failing), failing=False)

    def _claim_some(self, limit: int, *, failing: bool) -> list[Claimed]:
        if limit <= 0:
            return []
        return rows.claim(
            self._services.database,
            owner=owner_name(self._settings.process_name),
            seconds=self._lease_seconds,
            limit=limit,
            failing=failing,
            tasks=bool(self._settings.event_task),
        )

    def _deliver(self, batch: Batch) -> None:
        self._finished.put(deliver(self._services, batch))

    def _collect(self) -> list[BatchResult]:
        """Results, after a short wait for those that are about to come."""
        collected: list[BatchResult] = []
        until = monotonic() + COLLECT_SECONDS
        try:
            while len(collected) < self._in_flight and (left := until - monotonic()) > 0:
                collected.append(self._finished.get(timeout=left))
        except Empty:
            pass
        return collected

    def _write(self, collected: Sequence[BatchResult]) -> None:
        if not collected:
            return
        self._in_flight -= len(collected)
        self._failing -= sum(each.batch.endpoint.failures > 0 for each in collected)
        disabled = results.write(self._services.database, collected, give_up_days=self._settings.event_give_up_days)
        for endpoint_id in disabled:
            log.error("events.endpoint_disabled", endpoint=endpoint_id)
        self._result.disabled += len(disabled)
        self._result.delivered += sum(sent.answer.error_code is None for each in collected for sent in each.sent)
        self._result.failed += sum(each.failed for each in collected)
