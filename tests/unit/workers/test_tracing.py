"""Traces: a task with what it did inside, no organization in them, and nothing of it where nobody asked."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from backmarket.errors import ServerError
from backmarket.observability import telemetry
from backmarket.services.request_threads import RequestThreads
from tests.support.waiting import PATIENCE_SECONDS
from workers import tracing

CHECKOUT = Path(__file__).parents[3]


@pytest.fixture
def exported() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    before = telemetry._subscribers
    provider = tracing.trace_to(SimpleSpanProcessor(exporter))
    yield exporter
    for subscriber in set(telemetry._subscribers) - set(before):
        telemetry.unsubscribe(subscriber)
    provider.shutdown()


def by_name(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


def ask() -> None:
    with telemetry.span("api_request", method="GET") as span:
        telemetry.emit("limiter_wait", seconds=0.5)
        span.attributes["status"] = 200


def test_what_a_task_does_is_within_it_in_threads_that_fetch_too(exported: InMemorySpanExporter) -> None:
    request_threads = RequestThreads(1)
    with telemetry.span("task", task="backmarket.sync_orders"):
        request_threads.reserve(1, patience=1)
        request_threads.submit(ask).result(PATIENCE_SECONDS)
        with telemetry.span("store", resource="orders", rows=50):
            pass
    request_threads.close()
    found = by_name(exported)
    task = found["task"]
    assert task.parent is None
    assert task.attributes == {"backmarket.task": "backmarket.sync_orders"}
    for name in ("api_request", "store"):
        parent = found[name].parent
        assert parent is not None
        assert parent.span_id == task.context.span_id
    assert found["api_request"].attributes == {"backmarket.method": "GET", "backmarket.status": 200}
    (event,) = found["api_request"].events
    assert (event.name, dict(event.attributes or {})) == ("limiter_wait", {"backmarket.seconds": 0.5})
    assert found["store"].attributes == {"backmarket.resource": "orders", "backmarket.rows": 50}


def test_two_tasks_are_two_traces(exported: InMemorySpanExporter) -> None:
    for name in ("one", "two"):
        with telemetry.span("task", task=name):
            pass
    assert len({span.context.trace_id for span in exported.get_finished_spans()}) == 2


def test_an_error_is_its_code_and_never_its_text(exported: InMemorySpanExporter) -> None:
    with pytest.raises(ServerError), telemetry.span("api_request", method="GET"):
        raise ServerError("what a person said")
    span = by_name(exported)["api_request"]
    assert span.status.status_code == StatusCode.ERROR
    assert (span.attributes or {})["error.type"] == "server_error"
    assert "person" not in span.to_json()


def test_a_worker_that_is_not_asked_for_traces_loads_none_of_it() -> None:
    show = "import workers.lifecycle, workers.app, sys; print(*sys.modules)"
    variables = {"BACKMARKET_REDIS_URL": "redis://127.0.0.1:1/0", "PATH": ""}
    shown = subprocess.run(
        [sys.executable, "-c", show], cwd=CHECKOUT, env=variables, check=True, capture_output=True, text=True
    )
    assert "workers.lifecycle" in shown.stdout
    loaded = set(shown.stdout.split())
    assert loaded & {"workers.tracing", "opentelemetry.exporter", "requests", "google.protobuf"} == set()
