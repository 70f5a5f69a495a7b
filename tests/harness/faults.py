"""Named faults. Each does one thing to one service and knows how to undo it.

`with KILL(stack.service("asgi")): …` applies the fault and undoes it at the end. `CRASH` has no undo, because
it tests the restart policy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .service import Replica, Service


@dataclass(frozen=True)
class Fault:
    """A named fault. `apply` and `heal` act on one container."""

    name: str
    apply: Callable[[Replica], object]
    heal: Callable[[Replica], object] = lambda replica: None

    def __str__(self) -> str:
        return self.name

    @contextmanager
    def __call__(self, service: Service, *, count: int | None = None) -> Iterator[list[Replica]]:
        """Apply the fault to the first `count` containers of the service (default: all) during the block."""
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
