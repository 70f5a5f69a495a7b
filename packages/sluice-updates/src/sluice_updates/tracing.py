"""OpenTelemetry's spans of an update, from publish() to the sockets. SLUICE_UPDATES_TRACING turns them on.

    publish → commit → wake_up (all in the process that publishes) → hub → write (in Daphne)

Each is the parent of the next. The wake-up carries the context. An update that the database's poll finds has
no context, so its trace ends with the wake-up. Needs opentelemetry-api (the extra `opentelemetry`). The
project sets up the SDK and the exporter.
"""

from __future__ import annotations

import functools
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final

from . import conf

Carrier = dict[str, str]  # a context in a message: the headers of W3C Trace Context
Place = tuple[str, int]  # stream and offset

PREFIX: Final = "sluice_updates."
_MOST: Final = 1000  # contexts kept between two steps; of the oldest ones, the trace ends there

_OFF: Final[AbstractContextManager[None]] = nullcontext()

# The contexts of updates that the hub has taken and not written yet. Empty while tracing is off.
taken: OrderedDict[Place, Any] = OrderedDict()

_committed: OrderedDict[int, tuple[Any, int]] = OrderedDict()  # by a commit's first id: context, time in ns
_lock = threading.Lock()  # of _committed: requests add to it, the sender's thread takes from it


@functools.cache
def tracer() -> Any | None:
    """OpenTelemetry's tracer; None: tracing is off, or the API isn't installed."""
    if not conf.tracing():
        return None
    try:
        from opentelemetry import trace
    except ImportError:  # a system check reports it
        return None
    return trace.get_tracer("sluice_updates")


# In the process that publishes


def publishing(stream: str, event: str) -> AbstractContextManager[Any]:
    """The span of one publish()."""
    found = tracer()
    if found is None:
        return _OFF
    from opentelemetry.trace import SpanKind

    attributes = {"sluice.stream": stream, "sluice.event": event}
    span: AbstractContextManager[Any] = found.start_as_current_span(
        f"{PREFIX}publish", kind=SpanKind.PRODUCER, attributes=attributes
    )
    return span


def committing() -> Any | None:
    """Begin the span from the transaction's first publish() to its commit. After a rollback it never ends, so
    it is never exported.
    """
    found = tracer()
    return None if found is None else found.start_span(f"{PREFIX}commit")


def committed(span: Any, ids: Sequence[int]) -> None:
    """The transaction of these updates was committed: end its span, and keep its context for the sender."""
    from opentelemetry.trace import set_span_in_context

    span.set_attribute("sluice.updates", len(ids))
    span.end()
    with _lock:
        _committed[ids[0]] = (set_span_in_context(span), time.time_ns())
        if len(_committed) > _MOST:
            _committed.popitem(last=False)


def waking(ids: Sequence[int]) -> AbstractContextManager[Carrier | None]:
    """The span of a commit's wake-up, from the commit until the broker has it. Returns what the message
    carries.
    """
    return _waking(ids[0]) if _committed and ids else _OFF


@contextmanager
def _waking(first: int) -> Iterator[Carrier | None]:
    from opentelemetry.trace import SpanKind

    with _lock:
        context, since = _committed.pop(first, (None, 0))
    found = tracer()
    if found is None or context is None:
        yield None
        return
    with found.start_as_current_span(
        f"{PREFIX}wake_up", context, kind=SpanKind.PRODUCER, start_time=since
    ) as span:
        yield _carrier(span)


def _carrier(span: Any) -> Carrier:
    # This format, whatever propagator the project uses: both ends are ours.
    from opentelemetry.trace import set_span_in_context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: Carrier = {}
    TraceContextTextMapPropagator().inject(carrier, set_span_in_context(span))
    return carrier


# In Daphne, on the event loop


def receiving(carrier: Mapping[str, Any] | None, places: Sequence[Place]) -> AbstractContextManager[Any]:
    """The span in which the hub takes the updates of one wake-up."""
    return _OFF if carrier is None or tracer() is None else _receiving(carrier, places)


@contextmanager
def _receiving(carrier: Mapping[str, Any], places: Sequence[Place]) -> Iterator[Any]:
    from opentelemetry.trace import SpanKind, set_span_in_context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    context = TraceContextTextMapPropagator().extract(
        {name: value for name, value in carrier.items() if isinstance(value, str)}
    )
    found = tracer()
    assert found is not None
    attributes = {"sluice.updates": len(places)}
    with found.start_as_current_span(
        f"{PREFIX}hub", context, kind=SpanKind.CONSUMER, attributes=attributes
    ) as span:
        inner = set_span_in_context(span)
        for place in places:
            taken[place] = inner
        while len(taken) > _MOST:
            taken.popitem(last=False)
        yield span


def forget(places: Iterable[Place]) -> None:
    """These updates are not written: nobody follows their stream, or they came before."""
    for place in places:
        taken.pop(place, None)


def writing(places: Sequence[Place]) -> Any | None:
    """Begin the span in which updates of one stream are written to all connections. Several traces may meet
    in it: it belongs to the first, and links to the others.
    """
    contexts = [context for place in places if (context := taken.pop(place, None)) is not None]
    found = tracer()
    if not contexts or found is None:
        return None
    from opentelemetry.trace import Link, get_current_span

    links = [Link(get_current_span(context).get_span_context()) for context in contexts[1:]]
    attributes = {"sluice.stream": places[0][0], "sluice.updates": len(places)}
    return found.start_span(f"{PREFIX}write", contexts[0], links=links, attributes=attributes)


def written(span: Any, connections: int) -> None:
    """End it."""
    span.set_attribute("sluice.connections", connections)
    span.end()
