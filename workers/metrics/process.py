"""Metrics of one process, from the events and spans of `backmarket.observability.telemetry`."""

from __future__ import annotations

import threading
from time import monotonic

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from backmarket.observability import telemetry
from backmarket.observability.telemetry import AttributeValue, Span
from workers.health.heartbeat import HEARTBEAT

_REQUEST_BUCKETS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_WAIT_BUCKETS = (0.01, 0.1, 0.5, 1, 2, 5, 10, 30, 60)
_TASK_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300)
"""Bounds of the buckets, in seconds."""


class ProcessMetrics:
    """Counts events and spans. Safe to share between threads.

    Args:
        registry: the registry of the metrics.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        def name(text: str) -> str:
            return f"backmarket_{text}"

        self._tasks = Counter(name("tasks"), "Tasks that ended", ["task", "outcome"], registry=registry)
        self._task_seconds = Histogram(
            name("task_seconds"), "Seconds that tasks took", ["task"], buckets=_TASK_BUCKETS, registry=registry
        )
        self._slices = Counter(
            name("slices"),
            "Slices of syncs, labels, writes and bulk jobs, by how each ended",
            ["work", "end"],
            registry=registry,
        )
        self._requests = Counter(
            name("api_requests"),
            "Requests to the API, by the status of the answer, or the code of the error",
            ["method", "status"],
            registry=registry,
        )
        self._request_seconds = Histogram(
            name("api_request_seconds"),
            "Seconds that requests to the API took",
            buckets=_REQUEST_BUCKETS,
            registry=registry,
        )
        self._downloads = Counter(name("downloads"), "Labels and invoices fetched", ["outcome"], registry=registry)
        self._webhooks = Counter(
            name("webhooks"),
            "Calls of webhooks, by outcome: delivered, or the code of the error",
            ["outcome"],
            registry=registry,
        )
        self._webhook_seconds = Histogram(
            name("webhook_seconds"), "Seconds that calls of webhooks took", buckets=_REQUEST_BUCKETS, registry=registry
        )
        self._waits = Histogram(
            name("limiter_wait_seconds"),
            "Seconds that requests waited for a slot of the rate limiter",
            buckets=_WAIT_BUCKETS,
            registry=registry,
        )
        self._denied = Counter(
            name("limiter_denied"),
            "Requests for slots of the rate limiter that were not fully granted",
            ["by"],
            registry=registry,
        )
        self._blocks = Counter(
            name("limiter_blocks"), "Answers 429 of the API that blocked an account", registry=registry
        )
        self._rows = Counter(
            name("rows"), "Rows stored, by resource and outcome", ["resource", "outcome"], registry=registry
        )
        self._store_seconds = Histogram(
            name("store_seconds"), "Seconds that storing a batch of rows took", ["resource"], registry=registry
        )
        self._running: dict[int, float] = {}
        self._lock = threading.Lock()
        running = Gauge(name("tasks_running"), "Tasks that run now", registry=registry)
        running.set_function(lambda: len(self._running))
        oldest = Gauge(
            name("task_oldest_seconds"), "Seconds for which the oldest running task has run", registry=registry
        )
        oldest.set_function(self._oldest)
        age = Gauge(name("heartbeat_age_seconds"), "Seconds since the main loop's last heartbeat", registry=registry)
        age.set_function(lambda: HEARTBEAT.age)

    def on_start(self, span: Span) -> None:
        """Note the start of a span."""
        if span.name == "task":
            with self._lock:
                self._running[id(span)] = monotonic()

    def on_end(self, span: Span) -> None:
        """Count a span that ended."""
        match span.name:
            case "task":
                with self._lock:
                    self._running.pop(id(span), None)
                task = str(span.attributes["task"])
                self._tasks.labels(task, span.error or "done").inc()
                self._task_seconds.labels(task).observe(span.seconds)
            case "api_request":
                status = str(span.attributes.get("status", span.error))
                self._requests.labels(str(span.attributes["method"]), status).inc()
                self._request_seconds.observe(span.seconds)
            case "download":
                self._downloads.labels(span.error or "done").inc()
            case "webhook":
                self._webhooks.labels(str(span.attributes.get("outcome", span.error))).inc()
                self._webhook_seconds.observe(span.seconds)
            case "store":
                self._store_seconds.labels(str(span.attributes["resource"])).observe(span.seconds)

    def on_event(self, name: str, attributes: dict[str, AttributeValue]) -> None:
        """Count an event."""
        match name, attributes:
            case "slice", {"work": work, "end": end}:
                self._slices.labels(str(work), str(end)).inc()
            case "limiter_wait", {"seconds": int() | float() as seconds}:
                self._waits.observe(seconds)
            case "limiter_denied", {"by": by}:
                self._denied.labels(str(by)).inc()
            case "limiter_block", _:
                self._blocks.inc()
            case "rows", {"resource": resource, "outcome": outcome, "count": int() as count}:
                self._rows.labels(str(resource), str(outcome)).inc(count)

    def _oldest(self) -> float:
        with self._lock:
            begun = min(self._running.values(), default=None)
        return 0.0 if begun is None else monotonic() - begun


def count_from_now_on(registry: CollectorRegistry) -> None:
    """Count what this process does."""
    telemetry.subscribe(ProcessMetrics(registry))
