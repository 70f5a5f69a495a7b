"""What the stack's programs count, as families of prometheus_client. It needs that package."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from sluice_updates.monitoring.collector import Silent, gauge, sender_families

from ..health.heartbeat import Heartbeat
from . import jobs
from .figures import cumulative, sender_of
from .slots import Slots


class Processes(Silent):
    """What the processes of a program have counted in their slots.

    `noun` is what they handle, in Prometheus' names: `http_request` or `task`. `label` tells events apart.
    """

    def __init__(self, slots: Slots, events: Sequence[str], noun: str, label: str, processes: str) -> None:
        self._slots = slots
        self._events = events
        self._noun = noun
        self._label = label
        self._processes = processes

    def collect(self) -> Iterator[Metric]:
        total = self._slots.total()
        noun, words = self._noun, self._noun.replace("_", " ").replace("http", "HTTP")
        ended = CounterMetricFamily(f"sluice_{noun}s", f"{words}s that ended", labels=[self._label])
        for event in self._events:
            ended.add_metric([event], total[event])
        yield ended
        yield HistogramMetricFamily(
            f"sluice_{noun}_seconds",
            f"Time of a {words}",
            buckets=cumulative(total),
            sum_value=total["seconds"],
        )
        yield gauge(f"sluice_{noun}s_running", f"{words}s that run now", total["running"])
        yield gauge(self._processes, "Processes that handle them", total["processes"])
        yield from sender_families([sender_of(total)])


class Alive(Silent):
    """The age of a program's heartbeat: of its last round trip through the broker, or of its loop."""

    def __init__(self, heartbeat: Heartbeat) -> None:
        self._heartbeat = heartbeat

    def collect(self) -> Iterator[Metric]:
        last = self._heartbeat.last()
        if last:
            age = max(0.0, time.time() - last / 1e9)
            yield gauge("sluice_heartbeat_age_seconds", "Since the last sign that the program works", age)


class Channels(Silent):
    """The messages of a Channels worker, by channel."""

    def collect(self) -> Iterator[Metric]:
        from sluice_layer import metrics

        yield _by("sluice_messages", "Messages handled", "channel", metrics.handled)
        yield _by("sluice_messages_failed", "Messages whose handler failed", "channel", metrics.failed)
        yield _by("sluice_messages_seconds", "Time spent on messages", "channel", metrics.seconds)


class Jobs(Silent):
    """The jobs and tasks that beat starts, by name."""

    def collect(self) -> Iterator[Metric]:
        yield _by("sluice_job_runs", "Runs of a job that ended", "name", jobs.runs)
        yield _by("sluice_job_failures", "Runs of a job that failed", "name", jobs.failures)
        last = GaugeMetricFamily(
            "sluice_job_last_success_timestamp_seconds", "When a job last succeeded", labels=["name"]
        )
        for name, when in list(jobs.succeeded_at.items()):
            last.add_metric([name], when)
        yield last


def _by(name: str, meaning: str, label: str, values: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(name, meaning, labels=[label])
    for key, value in list(values.items()):
        family.add_metric([key], value)
    return family
