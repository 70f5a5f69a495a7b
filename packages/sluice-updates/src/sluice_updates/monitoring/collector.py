"""What this process counts, as families of prometheus_client. Read at each scrape, from the scraping thread.

Reading is safe without a lock: numbers are replaced, never half written, and sets are copied before they
are looked at.
"""

from __future__ import annotations

import platform
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from .. import metrics
from ..asgi.health import STATUSES, health
from ..metrics import Histogram
from ..push.hub import Hub, running_hubs
from ..wakeup import sender

# By the name in metrics.counters: Prometheus' name without _total, its labels, its meaning.
COUNTERS: Final[Mapping[str, tuple[str, Sequence[str], str]]] = {
    "admissions_abandoned": ("sluice_admissions_abandoned", [], "Clients that left while they waited"),
    "admissions_refused": ("sluice_admissions_refused", [], "Clients told to come back later"),
    "anonymous_refused": (
        "sluice_anonymous_refused",
        ["limit"],
        "Anonymous readers refused (close code 4013), by limit",
    ),
    "bad_frames": ("sluice_bad_frames", ["code"], "Frames of clients that were refused, by error code"),
    "closes": ("sluice_closes", ["code"], "Connections closed by this server, by close code"),
    "coalesced_writes": ("sluice_coalesced_writes", [], "Writes of several updates at once"),
    "connections_opened": ("sluice_connections_opened", ["transport"], "Connections accepted"),
    "database_stalls": ("sluice_database_stalls", [], "Database calls abandoned because they took too long"),
    "fallen_behind": ("sluice_fallen_behind", [], "Subscriptions that fell behind and had to catch up"),
    "foreign_wake_ups": (
        "sluice_updates_foreign_wake_ups",
        [],
        "Wake-ups dropped because they name another database, or none",
    ),
    "frames_written": ("sluice_deliveries", [], "Updates written to a connection live"),
    "hints": ("sluice_hints", [], "Times that the database itself told of a commit"),
    "histories_rewritten": ("sluice_histories_rewritten", [], "Streams whose past changed (close code 4010)"),
    "layer_found_dead": ("sluice_layer_found_dead", [], "Times that this process's channel layer was dead"),
    "loop_backs_failed": ("sluice_loop_backs_failed", [], "Messages to itself that did not come back"),
    "origins_refused": ("sluice_origins_refused", [], "Handshakes refused because of their Origin"),
    "polls": ("sluice_database_polls", [], "Polls of the database"),
    "polls_failed": ("sluice_database_polls_failed", [], "Polls of the database that failed"),
    "refills": ("sluice_refills", [], "Readings of missing updates from the database"),
    "resumes": ("sluice_resumes", ["recovered"], "Streams resumed from a position, by success"),
    "sessions_ended": ("sluice_sessions_ended", [], "Connections whose session ended (close code 4009)"),
    "subscriptions_ended": ("sluice_subscriptions_ended", [], "Subscriptions ended because a right was lost"),
    "tasks_restarted": ("sluice_hub_tasks_restarted", ["task"], "Tasks of the hub restarted after an error"),
    "updates_out_of_order": ("sluice_gaps", [], "Updates that arrived before an earlier one"),
    "updates_replayed": ("sluice_replays", [], "Missed updates written to a connection"),
    "updates_taken": ("sluice_updates", [], "Updates taken from the layer or the database"),
    "wake_ups": ("sluice_wakeups", [], "Wake-ups of this database received through the channel layer"),
    "wake_ups_malformed": ("sluice_wakeups_malformed", [], "Wake-ups that could not be read"),
}
_LABELLED: Final = re.compile(r"(\w+)\{(.*)\}")


def registry(program: str, *collectors: Collector) -> CollectorRegistry:
    """A registry with these collectors, and the program's version."""
    found = CollectorRegistry()
    for collector in (Build(program), *collectors):
        found.register(collector)
    return found


def of_this_process(*, sender: bool) -> list[Collector]:
    """What this process counts, and its CPU time, memory and file handles."""
    return [Updates(sender=sender), ProcessCollector(registry=None)]


def render(found: CollectorRegistry) -> tuple[str, bytes]:
    """The content type and the text."""
    return CONTENT_TYPE_LATEST, generate_latest(found)


class Silent(Collector):
    """A collector that prometheus_client does not ask for its names when it is registered."""

    def describe(self) -> Iterable[Metric]:
        return []


class Build(Silent):
    """The program and its version."""

    def __init__(self, program: str) -> None:
        self._program = program

    def collect(self) -> Iterator[Metric]:
        try:
            installed = version("sluice-updates")
        except PackageNotFoundError:
            installed = "source"
        family = GaugeMetricFamily(
            "sluice_build_info", "The program, always 1", labels=["program", "version", "python"]
        )
        family.add_metric([self._program, installed, platform.python_version()], 1)
        yield family


class Updates(Silent):
    """The hub, if this process has one; the sender of wake-ups; the channel layer."""

    def __init__(self, *, sender: bool = True) -> None:
        self._sender = sender

    def collect(self) -> Iterator[Metric]:
        for hub in running_hubs():  # one, but in tests
            yield from _counters()
            yield from _hub(hub)
        if self._sender:
            yield from sender_families([sender.figures()])
        yield from _layer()


def _counters() -> Iterator[Metric]:
    families = {
        name: CounterMetricFamily(public, meaning, labels=labels)
        for name, (public, labels, meaning) in COUNTERS.items()
    }
    for name, (_, labels, _) in COUNTERS.items():
        if not labels:  # a counter exists before its first event, so that its increase is seen
            families[name].add_metric([], metrics.counters.get(name, 0))
    for name, value in list(metrics.counters.items()):
        match = _LABELLED.fullmatch(name)
        if match:
            values = [pair.partition("=")[2] for pair in match[2].split(",")]
            families[match[1]].add_metric([text.lower() for text in values], value)
    yield from families.values()
    yield gauge(
        "sluice_admissions_waiting", "Handshakes that wait for admission", metrics.admissions_waiting()
    )
    yield histogram(
        "sluice_publish_to_write_seconds",
        "From publish() to the last write of the update in this process",
        metrics.publish_to_write,
    )


def _hub(hub: Hub) -> Iterator[Metric]:
    connections = GaugeMetricFamily("sluice_connections", "Open connections", labels=["transport"])
    found = Counter(type(member).TRANSPORT for member in list(hub.people.connections))
    for transport in ("websocket", "sse", "consumer"):
        connections.add_metric([transport], found[transport])
    yield connections
    yield gauge("sluice_people", "Users with at least one connection", len(hub.people))
    yield gauge("sluice_anonymous", "Connections of anonymous readers", len(hub.people.anonymous))
    yield gauge("sluice_streams", "Streams followed", len(hub.streams))
    report = health(hub)
    status = GaugeMetricFamily("sluice_health", "1 for the status of /channels/healthz", labels=["status"])
    for name in STATUSES:
        status.add_metric([name], report["status"] == name)
    yield status
    layer, database = report["layer"], report["database"]
    yield gauge("sluice_layer_configured", "Whether there is a channel layer", layer["configured"])
    yield gauge("sluice_layer_up", "Whether messages to itself come back through the layer", layer["works"])
    up = GaugeMetricFamily("sluice_way_up", "Whether this way of waking works", labels=["way"])
    for way in hub.ways:
        if way.configured:
            up.add_metric([way.name], report[way.name]["works"])
    yield up
    yield gauge("sluice_loop_back_seconds", "Time of the last message to itself", hub.layer.latency)
    if layer["age"] is not None:
        yield gauge("sluice_loop_back_age_seconds", "Since the last one came back", layer["age"])
    yield gauge("sluice_database_up", "Whether the database can be polled", database["works"])
    yield gauge("sluice_database_poll_seconds", "Time of the last poll of the database", hub.poller.latency)
    if database["age"] is not None:
        yield gauge("sluice_database_poll_age_seconds", "Since the last successful poll", database["age"])


def sender_families(figures: Iterable[Mapping[str, float]]) -> Iterator[Metric]:
    """The senders of wake-ups, summed over the processes of a program. Nothing without one."""
    wanted = [found for found in figures if found]
    if not wanted:
        return
    total = {name: sum(found[name] for found in wanted) for name in metrics.SENDER_FIGURES}
    yield gauge("sluice_sender_queue", "Commits that wait to be announced", total["queued"])
    yield gauge("sluice_sender_down", "Processes whose wake-ups are not accepted", total["down"])
    for name, meaning in (
        ("announced", "Updates announced"),
        ("unheard", "Updates announced that not every hub received"),
        ("skipped", "Commits not announced while the other side was down"),
        ("dropped", "Commits not announced because the queue was full"),
    ):
        yield counter(f"sluice_sender_{name}", meaning, total[name])


def _layer() -> Iterator[Metric]:
    """sluice_layer's connections, if the default layer is one."""
    if "channels.layers" not in sys.modules:
        return
    layers: Any = sys.modules["channels.layers"].channel_layers
    layer = layers.backends.get("default")  # never created here: it must not be another thread's
    if layer is None or not hasattr(layer, "statuses"):
        return
    found: list[dict[str, Any]] = layer.statuses()
    yield counter(
        "sluice_layer_connects", "Connections made to the broker", sum(one["connects"] for one in found)
    )
    yield counter(
        "sluice_layer_dropped", "Messages dropped because nobody read", sum(one["dropped"] for one in found)
    )
    yield gauge("sluice_layer_held", "Messages that wait for a reader", sum(one["held"] for one in found))
    connected = GaugeMetricFamily("sluice_layer_connected", "Connections that are up", labels=["direction"])
    for direction in ("receiving", "sending"):
        connected.add_metric([direction], sum(bool(one[direction]) for one in found))
    yield connected


def gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(name, meaning, value=float(value))


def counter(name: str, meaning: str, value: float) -> Metric:
    return CounterMetricFamily(name, meaning, value=float(value))


def histogram(name: str, meaning: str, values: Histogram) -> Metric:
    return HistogramMetricFamily(name, meaning, buckets=values.cumulative(), sum_value=values.sum)
