"""One visit to one server: connect so many clients, let them idle, broadcast to them."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Iterator
from typing import Any, Final, Protocol

from .client import LoadClient, Person, Place
from .deployed import Failed, Probe, wait, wait_live
from .requesting import Refused
from .storm import CLIENT_SHARE

BURST: Final = 50
_SINGLES: Final = {100: 20, 1000: 10, 5000: 4}
_IDLE: Final = 6.0  # seconds, the interval that is measured
# Milliseconds between two rounds of reading in a burst. A read then takes several messages. With a read for
# each message, the client would need more than its share of the core beside a fast server.
_GATHER: Final = 5


class Server(Protocol):
    """What is measured."""

    name: str

    @property
    def place(self) -> Place: ...

    def people(self, count: int) -> list[Person]: ...

    def publish(self, number: int, times: int, size: int = 200) -> None: ...

    def probes(self) -> dict[str, Probe]: ...


class Visit:
    """Clients of one server that are connected."""

    def __init__(self, server: Server, client: LoadClient, probes: dict[str, Probe]) -> None:
        self.server = server
        self.client = client
        self.probes = probes
        self._number = 1

    def broadcast(self, times: int = 1) -> dict[str, float]:
        """Publish so many messages in a row, and return the figures once every client has all of them.
        Raises Refused if one was missed or came twice, or if the client was too busy to measure.
        """
        expected = self.client.count * times
        self.client.ask("report")
        before = self._cpu()
        self.server.publish(self._number, times)
        self._number += times
        self.client.ask(f"await {expected} 60000")
        after = self._cpu()
        report = self.client.ask("report")
        if report["delivered"] != expected or report["missed"] or report["doubled"]:
            raise Refused(
                f"{report['delivered']} deliveries, {expected} expected; "
                f"{report['missed']} missed, {report['doubled']} twice"
            )
        share = report["cpu"] / report["seconds"]
        if share > CLIENT_SHARE:
            raise Refused(f"the load client used {share:.0%} of its core")
        figures = {f"{part}_ms": report["delay"][part] for part in ("p50", "p99", "last")}
        seconds = (report["at"]["last"] - report["at"]["first"]) / 1000
        figures["frames_per_s"] = expected / max(seconds, 1e-6)
        for name, used in after.items():
            figures[f"{name}_us_per_frame"] = 1e6 * (used - before[name]) / expected
        return figures

    def broadcasts(self) -> dict[str, float]:
        """The medians of several broadcasts of one message each."""
        count = self.client.count
        singles = next((n for size, n in _SINGLES.items() if count <= size), 3)
        found = []
        for _ in range(singles + 1):
            found.append(self.broadcast())
        return medians(found[1:])

    def burst(self) -> dict[str, float]:
        """As `broadcast`, for BURST messages in a row; times are exact to _GATHER."""
        self.client.ask(f"gather {_GATHER}")
        try:
            return self.broadcast(BURST)
        finally:
            self.client.ask("gather 0")

    def idle(self, base: dict[str, int]) -> dict[str, float]:
        """Memory and CPU for each connection, where `base` is the memory without any."""
        count = self.client.count
        before, begun = self._cpu(), time.monotonic()
        wait(lambda: time.monotonic() - begun >= _IDLE, 2 * _IDLE, "the end of the interval")
        after, seconds = self._cpu(), time.monotonic() - begun
        figures: dict[str, float] = {}
        for name, probe in self.probes.items():
            figures[f"{name}_kib"] = (probe.pss() - base[name]) / count / 1024
            figures[f"{name}_us_per_s"] = 1e6 * (after[name] - before[name]) / seconds / count
            figures[f"{name}_base_mib"] = base[name] / 2**20
        return figures

    def _cpu(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for name, probe in self.probes.items():
            usage = probe.usage()
            if usage is None:
                raise Failed(f"{self.server.name}: its container does not run")
            group = name.rstrip("0123456789")
            found[group] = found.get(group, 0.0) + usage.cpu
        return found


@contextlib.contextmanager
def visit(server: Server, people: list[Person]) -> Iterator[tuple[Visit, dict[str, float], dict[str, int]]]:
    """All clients connected: the visit, the figures of connecting, and the memory before it."""
    probes = server.probes()
    try:
        base = {name: probe.pss() for name, probe in probes.items()}
        with LoadClient(server.place, people) as client:
            here = Visit(server, client, probes)
            before = here._cpu()
            client.ask("start 60")
            status = wait_live(client, 240)
            after = here._cpu()
            figures = {"per_s": len(people) / max(status["back"]["last"] / 1000, 1e-6)}
            for name, used in after.items():
                figures[f"{name}_us"] = 1e6 * (used - before[name]) / len(people)
            yield here, figures, base
    finally:
        for probe in probes.values():
            probe.close()


def medians(found: list[dict[str, float]]) -> dict[str, float]:
    """The median of each figure."""
    return {name: statistics.median(one[name] for one in found) for name in found[0]}


def describe(figures: dict[str, Any]) -> str:
    """One line of figures, for the log."""
    return "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
