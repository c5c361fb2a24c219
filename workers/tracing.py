"""OpenTelemetry traces of a worker, sent to `BACKMARKET_TRACES_ENDPOINT`; if it is not set, nothing of it is imported.

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
"""Seconds that one export to the collector may take; what it does not accept is dropped, and no task waits for it."""


class Tracing:
    """Makes OpenTelemetry spans. Safe to share between threads.

    Args:
        tracer: makes the spans.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def on_start(self, span: Span) -> None:
        """Start a span, within the current one of this thread."""
        made = self._tracer.start_span(span.name)
        span.state[self] = made, context.attach(trace.set_span_in_context(made))

    def on_end(self, span: Span) -> None:
        """End a span."""
        made, token = span.state.pop(self)
        context.detach(token)
        made.set_attributes({f"backmarket.{name}": value for name, value in span.attributes.items()})
        if span.error is not None:
            made.set_attribute("error.type", span.error)
            made.set_status(StatusCode.ERROR)
        made.end()

    def on_event(self, name: str, attributes: dict[str, AttributeValue]) -> None:
        """Add an event to the current span."""
        trace.get_current_span().add_event(name, {f"backmarket.{key}": value for key, value in attributes.items()})


def begin(endpoint: str) -> TracerProvider:
    """Trace this process from now on.

    Args:
        endpoint: the URL of a collector for OTLP over HTTP, such as `http://collector:4318/v1/traces`.

    Returns:
        The provider, to be shut down at the end: it then delivers pending spans.
    """
    return trace_to(BatchSpanProcessor(OTLPSpanExporter(endpoint, timeout=EXPORT_SECONDS)))


def trace_to(processor: SpanProcessor) -> TracerProvider:
    """Trace this process, for this processor."""
    provider = TracerProvider(resource=Resource.create({"service.name": "backmarket"}))
    provider.add_span_processor(processor)
    telemetry.subscribe(Tracing(provider.get_tracer("backmarket")))
    return provider
