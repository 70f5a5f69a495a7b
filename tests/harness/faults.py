"""Faults as named objects. Each does one thing to one service and can say how it is undone.

with KILL(stack.service("asgi")): … applies it, and undoes it at the end. `CRASH` needs no undoing: the
restart policy is part of what is tested.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .service import Replica, Service


@dataclass(frozen=True)
class Fault:
    """A fault by name; `apply` and `heal` act on one container."""

    name: str
    apply: Callable[[Replica], object]
    heal: Callable[[Replica], object] = lambda replica: None

    def __str__(self) -> str:
        return self.name

    @contextmanager
    def __call__(self, service: Service, *, count: int | None = None) -> Iterator[list[Replica]]:
        """Hit the first `count` containers of the service (default: all) for as long as the block runs."""
        hit = service.replicas[:count]
        assert hit, f"{service.name} has no container"
        for replica in hit:
            self.apply(replica)
        try:
            yield hit
        finally:
            for replica in hit:
                self.heal(replica)


CRASH = Fault("crash", Replica.crash)
KILL = Fault("kill", Replica.kill, Replica.start)
TERM = Fault("term", Replica.stop, Replica.start)
PAUSE = Fault("pause", Replica.pause, Replica.resume)
CUT = Fault("cut", Replica.cut, Replica.mend)
ALL = (CRASH, KILL, TERM, PAUSE, CUT)
