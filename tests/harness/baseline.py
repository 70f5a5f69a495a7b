"""What a stack holds when it is idle: processes, sockets, file handles, the broker's queues and bindings, the
database's connections.

Read it before a fault and compare after it. What a fault leaves behind is a leak.
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
from .stack import Stack
from .waiting import TimedOut, wait_until

Figures = dict[str, int]

SLACK = {"processes": 2, "handles": 12, "sockets": 6, "connections": 3, "channels": 6, "database": 3}
"""How much higher each figure may be than at the start, for what opens at its first use. A leak per client of
a test would exceed it by far.
"""
MEMORY = 1.1
"""The share to which a service's memory (MiB) may have grown, in addition to MEMORY_SLACK. It counts what the
service's processes allocate, without the kernel's file cache and PostgreSQL's shared memory.
"""
MEMORY_SLACK = 8
EXACT = ("queues", "bindings")
COUNTED_BY_CONNECTION = ("postgres", "rabbitmq")
"""These two start processes and open files as they need them. We ask the servers themselves about their
clients' resources.
"""
PATIENCE = 100.0  # seconds: PostgreSQL and RabbitMQ notice within one minute that a peer vanished

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
    """Read all figures. Raises the engine's errors if a container is missing."""
    with ThreadPoolExecutor(4) as pool:
        broker = pool.submit(_broker, stack) if "rabbitmq" in stack.services else None
        database = pool.submit(_database, stack)
        places = [name for name in stack.services if name not in COUNTED_BY_CONNECTION]
        inside = pool.map(_inside, [replica for name in places for replica in stack.service(name)])
        figures: Counter[str] = Counter()
        for found in inside:
            figures.update(found)
        if memory:
            for replica in (replica for name in stack.services for replica in stack.service(name)):
                figures[f"{replica.service} memory"] += _memory(replica)
        return dict(figures) | (broker.result() if broker else {}) | database.result()


def _inside(replica: Replica) -> Figures:
    done = replica.exec("bash", "-c", _INSIDE)
    assert done.code == 0, f"{replica.name}: {done.output}"
    names = ("processes", "handles", "sockets")
    return {f"{replica.service} {name}": int(n) for name, n in zip(names, done.output.split(), strict=True)}


def _memory(replica: Replica) -> int:
    held = replica.stats()["memory_stats"]["stats"]
    return int(held.get("anon", held.get("total_rss", 0))) >> 20  # keys of cgroups version 2 and 1


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
    """The figures at the beginning."""

    stack: Stack
    before: Figures = field(default_factory=dict)
    memory: bool = False

    @classmethod
    def take(cls, stack: Stack, *, memory: bool = False) -> Baseline:
        """Read the figures. Warm the stack up first: it opens many things only at their first use."""
        return cls(stack, read(stack, memory=memory), memory)

    def excess(self, now: Figures) -> dict[str, tuple[int, int]]:
        """The figures that are still too high: before and now, by name."""
        return {
            name: (self.before.get(name, 0), now.get(name, 0))
            for name in sorted(self.before.keys() | now.keys())
            if not _is_back(name, self.before.get(name, 0), now.get(name, 0))
        }

    def check(self, patience: float = PATIENCE) -> Figures:
        """Wait until all figures are back, and print them. Raises AssertionError with those that are not."""
        now: Figures = {}
        began = time.monotonic()

        def is_back() -> bool:
            with contextlib.suppress(APIError, AssertionError):  # a container may just be starting
                now.clear()
                now.update(read(self.stack, memory=self.memory))
                return not self.excess(now)
            return False

        with contextlib.suppress(TimedOut):
            wait_until(is_back, patience, "back to what was there before", every=1)
        print(f"there (after {time.monotonic() - began:.1f} s) before → now: {self.table(now)}")
        assert now and not self.excess(now), f"leaked (before, now): {self.excess(now) or 'unreadable'}"
        return now

    def table(self, now: Figures) -> str:
        """The figures before and now, as text."""
        names = sorted(self.before.keys() | now.keys())
        return ", ".join(f"{name} {self.before.get(name, 0)} → {now.get(name, 0)}" for name in names)


def _is_back(name: str, before: int, now: int) -> bool:
    if name.endswith(EXACT):
        return now == before
    if name.endswith("memory"):
        return now <= before * MEMORY + MEMORY_SLACK
    kind = "database" if name.startswith("database") else name.rpartition(" ")[2]
    return now <= before + SLACK[kind]
