"""OpenTelemetry's SDK as a project sets it up, with an exporter that keeps the spans in memory."""

from __future__ import annotations

import os
from typing import Any

_exporter: Any = None


def set_up() -> None:
    """Set it up if the tests ask for it."""
    global _exporter
    if os.environ.get("HUBSITE_TRACING") != "yes":
        return
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    _exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(_exporter))
    trace.set_tracer_provider(provider)


def spans() -> list[dict[str, Any]]:
    """The exported spans."""
    return [
        {
            "name": span.name,
            "trace": format(span.context.trace_id, "032x"),
            "id": format(span.context.span_id, "016x"),
            "parent": format(span.parent.span_id, "016x") if span.parent else None,
            "links": [format(link.context.span_id, "016x") for link in span.links],
            "attributes": dict(span.attributes or {}),
            "begin": span.start_time,
            "end": span.end_time,
        }
        for span in (_exporter.get_finished_spans() if _exporter else ())
    ]
