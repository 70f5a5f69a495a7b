"""Admits handshakes at the pace at which they are finished, the oldest first. No input or output here.

A handshake costs the same whether it succeeds or its client gives up in the middle. When many clients come
back at once, a server that begins all of them finishes few. So only some are in progress at a time. The
others wait. Those that have waited for too long are told to come back, each at its own time.
"""

from __future__ import annotations

import logging
import random
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Protocol

from .. import limits
from ..metrics import count

logger = logging.getLogger(__name__)

SAMPLE: Final = 50  # handshakes in one measurement of the pace
WEIGHT: Final = 0.3  # of a new measurement
FIRST_PACE: Final = 400.0  # handshakes a second, before the first measurement
SLOWEST_PACE: Final = 10.0
REFUSALS_AT_ONCE: Final = 100  # in one turn of the loop


class Visitor(Protocol):
    """A client whose handshake waits."""

    def admit(self) -> None:
        """Begin the handshake."""

    def refuse(self, milliseconds: int) -> None:
        """Tell the client to come back after this time."""

    def restart(self) -> None:
        """Tell the client that the server restarts."""

    def abort(self) -> None:
        """Cut the connection."""


class Admission:
    """The handshakes of one process: those in progress, and those that wait."""

    def __init__(self, time: Callable[[], float]) -> None:
        self._time = time
        self._waiting: OrderedDict[Visitor, float] = OrderedDict()  # since when
        self._in_progress: OrderedDict[Visitor, float] = OrderedDict()  # since when
        self._admitting = False
        self._pace = FIRST_PACE
        self._has_measured = False
        self._draining = False
        self._finished = 0  # since the current measurement began
        self._measured_at: float | None = None  # when it began; None: nobody waits
        self._booked = 0.0  # the time that the last refused client was given

    @property
    def waiting(self) -> int:
        """How many handshakes wait."""
        return len(self._waiting)

    def arrive(self, visitor: Visitor) -> None:
        """Admit a client or let it wait; refuse it if too many wait."""
        if self._draining:
            visitor.restart()
            return
        if self.waiting >= limits.ADMISSIONS_WAITING:
            self._refuse(visitor)
            return
        self._waiting[visitor] = self._time()
        self._admit()
        if self._waiting and self._measured_at is None:
            self._measured_at, self._finished = self._time(), 0

    def expire(self) -> bool:
        """Refuse those that have waited for too long, before they give up. Call it every second, and soon
        again if it returns True: thousands of refusals in one turn would keep all others waiting.
        """
        now = self._time()
        refused = 0
        while self._waiting and refused < REFUSALS_AT_ONCE:
            visitor, since = next(iter(self._waiting.items()))
            if now - since < limits.ADMISSION_SECONDS:
                break
            del self._waiting[visitor]
            self._refuse(visitor)
            refused += 1
        self._admit()
        return refused == REFUSALS_AT_ONCE

    def drain(self) -> list[Visitor]:
        """Admit nobody any more. Returns those who wait: the caller tells them that the server restarts."""
        self._draining = True
        waiting = list(self._waiting)
        self._waiting.clear()
        return waiting

    def leave(self, visitor: Visitor) -> None:
        """Forget a client that is gone."""
        if self._waiting.pop(visitor, None) is not None:
            count("admissions_abandoned")
        self.finish(visitor)

    def finish(self, visitor: Visitor) -> None:
        """The handshake of a client is finished: it has hello or a close. More calls do nothing."""
        if self._in_progress.pop(visitor, None) is None:
            return
        self._measure()
        self._admit()
        if not self._waiting:
            self._measured_at = None

    def _admit(self) -> None:
        """Admit those who wait while there is room. A handshake may finish while it begins."""
        if self._admitting:
            return
        self._admitting = True
        try:
            now = self._time()
            while self._waiting and self._has_room(now):
                visitor, _ = self._waiting.popitem(last=False)
                self._in_progress[visitor] = now
                try:
                    visitor.admit()
                except Exception:  # one client must not affect another, in whose call this may be
                    logger.exception("a handshake could not begin; its connection is cut")
                    self._in_progress.pop(visitor, None)
                    visitor.abort()
        finally:
            self._admitting = False

    def _has_room(self, now: float) -> bool:
        while self._in_progress:
            oldest = next(iter(self._in_progress))
            if now - self._in_progress[oldest] < limits.HANDSHAKE_SECONDS:
                break
            del self._in_progress[oldest]  # it ended without notice; it must not take the room of others
        return len(self._in_progress) < limits.HANDSHAKES_AT_ONCE

    def _refuse(self, visitor: Visitor) -> None:
        """Give each refused client a time of its own, at the pace at which they can be admitted."""
        count("admissions_refused")
        now = self._time()
        self._booked = min(max(self._booked, now) + 1 / self._pace, now + limits.RETURN_SECONDS)
        wait = self._booked - now
        if wait >= limits.RETURN_SECONDS:  # there are no more times to give out
            wait *= random.uniform(0.5, 1)
        visitor.refuse(int(wait * 1000))

    def _measure(self) -> None:
        """Measure the pace while handshakes wait: then it is what the process can do."""
        self._finished += 1
        if self._measured_at is None or self._finished < SAMPLE:
            return
        now = self._time()
        pace = self._finished / max(now - self._measured_at, 0.001)
        weight = WEIGHT if self._has_measured else 1.0
        self._has_measured = True
        self._pace = max(SLOWEST_PACE, (1 - weight) * self._pace + weight * pace)
        self._measured_at, self._finished = now, 0
