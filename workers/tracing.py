"""OpenTelemetry traces of a worker, where `BACKMARKET_TRACES_ENDPOINT` says where they go; else none of it is imported.

A trace is a task, with its requests to the API, its downloads and its batches stored. Attributes are those of
`backmarket.observability.telemetry`: they name no organization, no account and no person.
"""

from __future__ import annotations

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import StatusCode, Tracer

from backmarket.observability import telemetry
from backmarket.observability.telemetry import AttributeValue, Span

EXPORT_SECONDS = 5.0
"""That one delivery to the collector may take; what it does not take is dropped, never waited for by a task."""


class Tracing:
    """Makes OpenTelemetry spans. Safe to share between threads.

    Args:
        tracer: makes them.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def on_start(self, span: Span) -> None:
        """Something begins, within what this thread's context says."""
        made = self._tracer.start_span(span.name)
        span.state[self] = made, context.attach(trace.set_span_in_context(made))

    def on_end(self, span: Span) -> None:
        """It ended."""
        made, token = span.state.pop(self)
        context.detach(token)
        made.set_attributes({f"backmarket.{name}": value for name, value in span.attributes.items()})
        if span.error is not None:
            made.set_attribute("error.type", span.error)
            made.set_status(StatusCode.ERROR)
        made.end()

    def on_event(self, name: str, attributes: dict[str, AttributeValue]) -> None:
        """What takes no time is an event of the span around it."""
        trace.get_current_span().add_event(name, {f"backmarket.{key}": value for key, value in attributes.items()})


def begin(endpoint: str) -> TracerProvider:
    """Trace this process from now on.

    Args:
        endpoint: of a collector that takes OTLP over HTTP, such as `http://collector:4318/v1/traces`.

    Returns:
        To be shut down at the end: what waits is delivered then.
    """
    return trace_to(BatchSpanProcessor(OTLPSpanExporter(endpoint, timeout=EXPORT_SECONDS)))


def trace_to(processor: SpanProcessor) -> TracerProvider:
    """Trace this process, for this processor."""
    provider = TracerProvider(resource=Resource.create({"service.name": "backmarket"}))
    provider.add_span_processor(processor)
    telemetry.subscribe(Tracing(provider.get_tracer("backmarket")))
    return provider
