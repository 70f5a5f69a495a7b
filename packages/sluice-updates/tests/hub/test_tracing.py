"""OpenTelemetry's spans, from a request that publishes to the write to the sockets, by the real SDK."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from harness.servers import RabbitMQ
from harness.waiting import wait_until
from sluice_updates import tracing
from updates_lab.site import SOON, Person, Served, Site

Span = dict[str, Any]
WAY = ("publish", "commit", "wake_up", "hub", "write")
SLOW_POLL = '{"POLL_SECONDS": 20}'


@pytest.fixture(scope="module")
def traced(site: Site, rabbitmq: RabbitMQ) -> Iterator[Site]:
    """The same site, whose publishers have a broker and are traced."""
    traced = Site(site.database_url, HUBSITE_PUBLISHER_URL=rabbitmq.url, HUBSITE_TRACING="yes")
    try:
        yield traced
    finally:
        traced.close()


@pytest.fixture
def served(traced: Site, rabbitmq: RabbitMQ, serve: Callable[..., Served]) -> Served:
    """A server whose hub is traced, too, and hears of updates by wake-ups only."""
    return hearing(
        serve(
            on=traced,
            HUBSITE_LAYER="rabbitmq",
            HUBSITE_LAYER_URL=rabbitmq.url,
            HUBSITE_LIMITS=SLOW_POLL,
            HUBSITE_TRACING="yes",
        )
    )


def hearing(served: Served) -> Served:
    """Wait until wake-ups reach the server."""
    wait_until(lambda: served.health()[1]["layer"]["works"], SOON, "the first loop-back")
    return served


def test_one_trace_leads_from_the_request_to_the_sockets(traced: Site, served: Served) -> None:
    people = [traced.person() for _ in range(3)]
    with ExitStack() as stack:
        sockets = [stack.enter_context(served.connect(person, "streams=all")) for person in people]
        for socket in sockets:
            socket.hello()
        known = ids(everything(traced, served))
        traced.send_traced("all", 1)
        for socket in sockets:
            assert socket.numbers(1) == [1]
        way = wait_for_way(traced, served, known)
    (request,) = [span for span in everything(traced, served) if span["id"] == way["publish"]["parent"]]
    assert request["name"] == "request" and request["parent"] is None
    for before, after in itertools.pairwise(WAY):
        assert way[after]["parent"] == way[before]["id"], (before, after)
        assert way[after]["begin"] >= way[before]["begin"]
    assert len({span["trace"] for span in way.values()}) == 1
    assert way["publish"]["attributes"] == {"sluice.stream": "all", "sluice.event": "new-message"}
    assert way["write"]["attributes"] == {
        "sluice.stream": "all",
        "sluice.updates": 1,
        "sluice.connections": 3,
    }


def test_a_commit_of_several_updates_has_one_wake_up(traced: Site, served: Served) -> None:
    person = traced.person()
    with served.connect(person) as socket:
        socket.hello()
        known = ids(everything(traced, served))
        traced.send_traced(person.stream, 1, 2, 3)
        assert socket.numbers(3) == [1, 2, 3]
        way = wait_for_way(traced, served, known)
    new = [span for span in everything(traced, served) if span["id"] not in known]
    assert [span["name"] for span in new].count("sluice_updates.publish") == 3
    for name in ("commit", "hub"):
        assert way[name]["attributes"]["sluice.updates"] == 3
    assert len({span["trace"] for span in new}) == 1


def test_a_rollback_ends_the_trace(traced: Site, served: Served) -> None:
    known = ids(everything(traced, served))
    traced.send_traced("all", 1, undo=True)
    traced.send_traced("all", 2)  # what comes after it is complete
    wait_until(
        lambda: (
            "sluice_updates.hub"
            in {one["name"] for one in everything(traced, served) if one["id"] not in known}
        ),
        SOON,
        "the second trace",
    )
    new = [span for span in everything(traced, served) if span["id"] not in known]
    assert [span["name"] for span in new].count("sluice_updates.publish") == 2
    assert [span["name"] for span in new].count("sluice_updates.commit") == 1


def test_a_hub_without_tracing_ignores_the_context(
    traced: Site, rabbitmq: RabbitMQ, serve: Callable[..., Served]
) -> None:
    layer = {"HUBSITE_LAYER": "rabbitmq", "HUBSITE_LAYER_URL": rabbitmq.url}
    served = hearing(serve(on=traced, **layer, HUBSITE_LIMITS=SLOW_POLL))
    person = traced.person()
    with served.connect(person) as socket:
        socket.hello()
        traced.send_traced(person.stream, 1)
        assert socket.numbers(1) == [1]
    assert spans_of(served) == []


@pytest.mark.parametrize(
    "trace", ["no mapping", {}, {"traceparent": 7}, {"traceparent": "00-zz"}, {"a": "b"}]
)
def test_a_context_that_is_none_delays_nothing(
    traced: Site, served: Served, person: Person, trace: object
) -> None:
    with served.connect(person) as socket:
        socket.hello()
        silent = Site(traced.database_url)
        silent.send(person.stream, 1)
        updates, database = silent.wake_ups(person.stream), silent.identity()
        silent.close()
        served.wake(updates, database=database, trace=trace)
        assert socket.numbers(1) == [1]


def test_without_the_setting_nothing_is_imported_or_kept() -> None:
    assert tracing.tracer() is None
    assert tracing.committing() is None
    with tracing.publishing("all", "news") as span, tracing.waking([1]) as carrier:
        assert span is None and carrier is None
    with tracing.receiving({"traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01"}, [("all", 1)]) as span:
        assert span is None
    assert not tracing.taken
    assert "opentelemetry" not in sys.modules


def everything(traced: Site, served: Served) -> list[Span]:
    """The spans of both processes."""
    return [*traced.spans(), *spans_of(served)]


def spans_of(served: Served) -> list[Span]:
    found: list[Span] = json.loads(served.get("/spans")[2])
    return found


def ids(spans: list[Span]) -> set[str]:
    return {span["id"] for span in spans}


def wait_for_way(traced: Site, served: Served, known: set[str]) -> dict[str, Span]:
    """Wait for the spans of one update on its way, by their short names; of several publishes, the first."""

    def complete() -> dict[str, Span] | None:
        new = [span for span in everything(traced, served) if span["id"] not in known]
        way = {span["name"].removeprefix("sluice_updates."): span for span in reversed(new)}
        return way if set(WAY) <= way.keys() else None

    way = wait_until(complete, SOON, "all spans")
    assert way is not None
    return {name: way[name] for name in WAY}
