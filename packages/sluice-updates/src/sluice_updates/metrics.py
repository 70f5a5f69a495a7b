"""What this process counts: plain numbers. `monitoring` renders them; it alone needs prometheus_client.

A number is changed by the thread that owns it: the hub's by the event loop.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Final

# A name says what is counted. Labels follow the name: `closes{code=4008}`.
counters: defaultdict[str, int] = defaultdict(int)


def _none() -> int:
    return 0


# How many handshakes wait for admission; the server replaces it.
admissions_waiting: Callable[[], int] = _none

# Of wakeup.sender.figures(): numbers that may be summed over processes.
SENDER_FIGURES: Final = ("queued", "down", "announced", "unheard", "skipped", "dropped")

# Seconds. The poll finds what a lost wake-up left, so the second is a limit of interest.
LATENCY_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Histogram:
    """Counts of observed values by bucket. An observation costs half a microsecond."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...] = LATENCY_BUCKETS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)  # the last: above all bounds
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value in the first bucket whose bound it does not exceed."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def cumulative(self) -> list[tuple[str, float]]:
        """Bound and number of values up to it, as Prometheus wants them."""
        found, total = [], 0
        for bound, count in zip((*self.bounds, float("inf")), list(self.counts), strict=True):
            total += count
            found.append(("+Inf" if bound == float("inf") else repr(float(bound)), float(total)))
        return found


publish_to_write = Histogram()


def count(name: str, amount: int = 1, **labels: object) -> None:
    """Add to a counter."""
    if labels:
        name += "{" + ",".join(f"{key}={value}" for key, value in labels.items()) + "}"
    counters[name] += amount


def written(published: Iterable[float]) -> None:
    """Updates, published at these Unix times (0: unknown), were written to all their subscribers.

    The times are the database's, so a difference between two machines' clocks is part of the value.
    """
    now = time.time()
    for when in published:
        if when:
            publish_to_write.observe(max(0.0, now - when))
