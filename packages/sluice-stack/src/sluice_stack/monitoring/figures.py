"""What one of several processes counts, and writes into its slot: events, durations, its sender's numbers."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Final

from sluice_updates.metrics import SENDER_FIGURES

from .slots import Slots

# Seconds.
BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BUCKET_FIELDS: Final = tuple(f"bucket {bound}" for bound in (*BUCKETS, "more"))
_GAUGES: Final = ("running", "processes", "sender queued", "sender down")
_PUBLISH_SECONDS: Final = 0.5


def slots(events: Sequence[str], count: int) -> Slots:
    """Slots for processes that count these events."""
    fields = [*events, "running", "processes", "seconds", *_BUCKET_FIELDS]
    return Slots([*fields, *(f"sender {name}" for name in SENDER_FIGURES)], count, _GAUGES)


class Figures:
    """Counts in one process. Its threads share it; publish() writes it into the process's slot."""

    def __init__(self, slots: Slots, slot: int) -> None:
        self._slots = slots
        self._slot = slot
        self._lock = threading.Lock()
        self._values = slots.base(slot)
        self._values["processes"] = 1
        self._base = dict(self._values)
        self._next = 0.0

    def begin(self) -> float:
        """A request or a task begins. Returns what end() needs."""
        with self._lock:
            self._values["running"] += 1
        return time.monotonic()

    def end(self, event: str, began: float) -> None:
        """It has ended with this event."""
        seconds = time.monotonic() - began
        bucket = _BUCKET_FIELDS[bisect_left(BUCKETS, seconds)]
        with self._lock:
            self._values["running"] -= 1
            self._values[event] += 1
            self._values["seconds"] += seconds
            self._values[bucket] += 1

    def forget(self) -> None:
        """What began is not to be counted."""
        with self._lock:
            self._values["running"] -= 1

    def publish(self, *, now: bool = False) -> None:
        """Write into the slot, at most twice a second unless `now`."""
        time_ = time.monotonic()
        if time_ < self._next and not now:
            return
        self._next = time_ + _PUBLISH_SECONDS
        from sluice_updates.wakeup import sender  # needs Django's apps

        for name, value in sender.figures().items():
            self._values[f"sender {name}"] = self._base[f"sender {name}"] + value
        with self._lock:
            self._slots.write(self._slot, self._values)


def sender_of(total: Mapping[str, float]) -> dict[str, float]:
    """The senders' part of Slots.total(); empty without a broker."""
    from sluice_updates.wakeup import sender  # needs Django's apps

    return {name: total[f"sender {name}"] for name in SENDER_FIGURES} if sender.is_wanted() else {}


def cumulative(total: Mapping[str, float]) -> list[tuple[str, float]]:
    """The durations' part of Slots.total(): bound and number of values up to it."""
    found, sum_ = [], 0.0
    for bound, field in zip((*map(repr, BUCKETS), "+Inf"), _BUCKET_FIELDS, strict=True):
        sum_ += total[field]
        found.append((bound, sum_))
    return found
