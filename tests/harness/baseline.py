"""What a stack holds when nobody is there: processes, sockets, file handles, the broker's queues and
bindings, the database's connections. Taken before a fault and compared after it: what a fault leaves behind
is a leak.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from docker.errors import APIError

from .service import Replica
from .stack import SERVICES, Stack
from .waiting import TimedOut, wait_until

Figures = dict[str, int]

SLACK = {"processes": 2, "handles": 12, "sockets": 6, "connections": 3, "channels": 6, "database": 3}
"""What may be more by figure than at the start: what is opened when first needed. Far less than what would be
left if each client of a test left one.
"""
MEMORY = 1.1
"""What a service's memory (MiB) may have grown to, as a share of what it was; besides, MEMORY_SLACK. It is
what its processes hold for themselves, without the kernel's cache of files and what PostgreSQL's share.
"""
MEMORY_SLACK = 8
EXACT = ("queues", "bindings")
COUNTED_BY_CONNECTION = ("postgres", "rabbitmq")
"""These two start processes and open files as they see fit; what clients cost them is asked of themselves."""
PATIENCE = 100.0  # seconds: PostgreSQL and RabbitMQ notice a peer that vanished within one minute

_INSIDE = """
processes=0 handles=0
for place in /proc/[0-9]*; do
    [[ $place != "/proc/$$" ]] || continue
    open=("$place"/fd/*)
    ((processes += 1, handles += ${#open[@]}))
done
sockets=0
while read -r _ _ _ state _; do
    case $state in 01 | 02 | 03 | 04 | 05 | 08 | 09 | 0B) ((sockets += 1)) ;; esac
done < <(cat /proc/net/tcp /proc/net/tcp6)
echo "$processes $handles $sockets"
"""
_BROKER = """
    Vhosts = [<<"asgi">>, <<"celery">>],
    Count = fun(List) -> lists:sum([length(List(Vhost)) || Vhost <- Vhosts]) end,
    io:format("~w ~w ~w ~w", [
        length(rabbit_amqqueue:list()), Count(fun rabbit_binding:list/1),
        length(rabbit_networking:connections()), length(rabbit_channel:list())]).
"""
_DATABASE = """
    SELECT usename, count(*) FROM pg_stat_activity
    WHERE usename IS NOT NULL AND backend_type = 'client backend' AND pid <> pg_backend_pid() GROUP BY usename
"""


def read(stack: Stack, *, memory: bool = False) -> Figures:
    """All figures, now. Raises whatever a container that is not there raises."""
    with ThreadPoolExecutor(4) as pool:
        broker = pool.submit(_broker, stack)
        database = pool.submit(_database, stack)
        places = [name for name in SERVICES if name not in COUNTED_BY_CONNECTION]
        inside = pool.map(_inside, [replica for name in places for replica in stack.service(name)])
        figures: Counter[str] = Counter()
        for found in inside:
            figures.update(found)
        if memory:
            for replica in (replica for name in SERVICES for replica in stack.service(name)):
                figures[f"{replica.service} memory"] += _memory(replica)
        return dict(figures) | broker.result() | database.result()


def _inside(replica: Replica) -> Figures:
    done = replica.exec("bash", "-c", _INSIDE)
    assert done.code == 0, f"{replica.name}: {done.output}"
    names = ("processes", "handles", "sockets")
    return {f"{replica.service} {name}": int(n) for name, n in zip(names, done.output.split(), strict=True)}


def _memory(replica: Replica) -> int:
    held = replica.stats()["memory_stats"]["stats"]
    return int(held.get("anon", held.get("total_rss", 0))) >> 20  # cgroups of version 2 and 1


def _broker(stack: Stack) -> Figures:
    done = stack.rabbitmqctl("eval", _BROKER)
    found = re.match(r"(\d+) (\d+) (\d+) (\d+)", done.output)
    assert found, done.output
    names = ("queues", "bindings", "connections", "channels")
    return {f"broker {name}": int(n) for name, n in zip(names, found.groups(), strict=True)}


def _database(stack: Stack) -> Figures:
    return {f"database of {role}": int(count) for role, count in stack.psql(_DATABASE)}


@dataclass
class Baseline:
    """What was there at the beginning."""

    stack: Stack
    before: Figures = field(default_factory=dict)
    memory: bool = False

    @classmethod
    def take(cls, stack: Stack, *, memory: bool = False) -> Baseline:
        """Read it, on a stack that has done all that it does once: much is opened when first needed."""
        return cls(stack, read(stack, memory=memory), memory)

    def excess(self, now: Figures) -> dict[str, tuple[int, int]]:
        """What is not back: before and now, by name."""
        return {
            name: (self.before.get(name, 0), now.get(name, 0))
            for name in sorted(self.before.keys() | now.keys())
            if not _is_back(name, self.before.get(name, 0), now.get(name, 0))
        }

    def check(self, patience: float = PATIENCE) -> Figures:
        """Wait until all is back; print what was read. Raises AssertionError with what is not."""
        now: Figures = {}
        began = time.monotonic()

        def is_back() -> bool:
            with contextlib.suppress(APIError, AssertionError):  # a container that is just being started
                now.clear()
                now.update(read(self.stack, memory=self.memory))
                return not self.excess(now)
            return False

        with contextlib.suppress(TimedOut):
            wait_until(is_back, patience, "back to what was there before", every=1)
        print(f"there (after {time.monotonic() - began:.1f} s) before → now: {self.table(now)}")
        assert now and not self.excess(now), f"left behind (before, now): {self.excess(now) or 'unreadable'}"
        return now

    def table(self, now: Figures) -> str:
        """Before and now, in words."""
        names = sorted(self.before.keys() | now.keys())
        return ", ".join(f"{name} {self.before.get(name, 0)} → {now.get(name, 0)}" for name in names)


def _is_back(name: str, before: int, now: int) -> bool:
    if name.endswith(EXACT):
        return now == before
    if name.endswith("memory"):
        return now <= before * MEMORY + MEMORY_SLACK
    kind = "database" if name.startswith("database") else name.rpartition(" ")[2]
    return now <= before + SLACK[kind]
