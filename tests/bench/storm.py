"""Everybody comes back at once: what a running stack makes of it.

    make up CHANNELS_PER_ADDRESS=32000 CHANNELS_PER_ADDRESS_SECOND=9999 MAX_CLIENTS=6000
    PYTHONPATH=tests python3 -m bench.storm --project sluice --clients 5000 --case cut

The limits are raised because all clients have one address here. A storm uses tens of thousands of local
ports, and with few free ones each connect() takes milliseconds. With --client-image sluice-tests-bench the
load client runs in a container, which has the ports of its own network namespace. Without it, it needs a C
compiler and OpenSSL's headers (Debian: gcc, libc6-dev, libssl-dev), and first, as root:

    sysctl -w net.ipv4.ip_local_port_range="10000 65000" net.ipv4.tcp_tw_reuse=1

Each client is a user with a session of its own, follows `user:<id>` and `all`, and behaves as PROTOCOL.md
has it: it connects by WebSocket (or with --transport sse by event stream), and polls while it has no
connection.
The cases:

  cut      every connection breaks at the same moment
  crash    Daphne's process is killed; supervisor starts it again
  kill     the container asgi is killed, and started again at once
  restart  the container asgi is restarted in order: Daphne drains, its clients get 1012
  roll     scripts/roll --no-build asgi
  away     the container asgi is stopped, and started again after --away seconds: all clients poll meanwhile
  command  whatever --command says

It exits with 1 if an update was missed or came twice, or if a client was not back within --limit.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import itertools
import json
import random
import shlex
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, fields
from typing import Any, Final

from harness.waiting import TimedOut, wait_until

from .client import Container, LoadClient, Person, Place, Rules
from .deployed import (
    ASGI_PORT,
    ROOT,
    Deployed,
    Failed,
    Probe,
    Publisher,
    Usage,
    listens,
    run,
    wait,
    wait_live,
)
from .requesting import REQUESTS, Refused, Requests

CASES: Final = ("cut", "crash", "kill", "restart", "roll", "away", "command")
_KILL_DAPHNE: Final = r"""
for folder in /proc/[0-9]*; do
    [[ $(tr '\0' ' ' < "$folder/cmdline") == *"-m sluice_updates."[s]erver* ]] || continue
    kill -KILL "${folder#/proc/}"
done
"""
_NOTHING: Final = Usage(0.0, 0, 0, 0, 0)
MEMORY: Final = 256  # MiB, the most that asgi may use in a storm of 5,000 clients; its container has 384
LAG: Final = 2000  # ms, the longest time in which the load client may do nothing
CLIENT_SHARE: Final = 0.6  # of its core, which the load client may use
AWAY: Final = 120.0  # seconds for which Daphne is away in the case of that name


class Watch:
    """What happens to the services meanwhile: memory, CPU and restarts of asgi and nginx, and whether health
    is answered.
    """

    def __init__(self, stack: Deployed, services: Sequence[str] = ("asgi", "nginx")) -> None:
        self.stack = stack
        self.services = services
        self.restarts = {name: self._restarts(name) for name in services}
        self.killed: dict[str, int] = dict.fromkeys(services, 0)
        self.cpu: dict[str, float] = dict.fromkeys(services, 0.0)
        self.peak: dict[str, int] = dict.fromkeys(services, 0)
        self.anonymous: dict[str, int] = dict.fromkeys(services, 0)
        self.health: list[tuple[float, int, float]] = []  # when, status (0: none), seconds
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._watch, args=(name,), daemon=True) for name in services]
        self._threads.append(threading.Thread(target=self._ask_health, daemon=True))

    def __enter__(self) -> Watch:
        self.since = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(15)

    def summary(self) -> dict[str, Any]:
        """All of it."""
        answered = [seconds for _, status, seconds in self.health if status == 200]
        all_answers = [at for at, status, _ in self.health if status > 0]
        return {
            "services": {
                name: {
                    "peak_mib": round(self.peak[name] / 2**20, 1),
                    "anonymous_peak_mib": round(self.anonymous[name] / 2**20, 1),
                    "cpu_seconds": round(self.cpu[name], 3),
                    "restarts": self._restarts(name) - self.restarts[name],
                    "killed_for_memory": self.killed[name],
                }
                for name in self.services
            },
            "health": {
                "asked": len(self.health),
                "ok": len(answered),
                "median_ms": round(1000 * statistics.median(answered), 1) if answered else None,
                "slowest_ms": round(1000 * max(answered), 1) if answered else None,
                "longest_without_s": self._longest_without(
                    [at for at, status, _ in self.health if status == 200]
                ),
                "longest_silence_s": self._longest_without(all_answers),
            },
        }

    def _longest_without(self, answers: Sequence[float]) -> float:
        """Seconds between two of these times, or before the first or after the last."""
        times = [self.since, *answers, time.monotonic()]
        return round(max(after - before for before, after in itertools.pairwise(times)), 2)

    def _restarts(self, name: str) -> int:
        return sum(self.stack.inspect(one)["RestartCount"] for one in self.stack.containers(name))

    def _watch(self, name: str) -> None:
        probes: dict[str, Probe] = {}
        first: dict[str, Usage] = {}
        last: dict[str, Usage] = {}
        look = 0.0
        while not self._over.wait(0.1):
            if time.monotonic() >= look:
                look = time.monotonic() + 1
                with contextlib.suppress(Failed):
                    for container in self.stack.containers(name):
                        if container not in probes:
                            probes[container] = Probe(container)
            for container, probe in list(probes.items()):
                usage = probe.usage()
                if usage is None:
                    probe.close()
                    del probes[container]
                    continue
                # A container that was started since then counts from zero.
                begun = time.monotonic() - self.since < 1.5
                if container not in last or usage.cpu < last[container].cpu:
                    first[container] = last[container] = usage if begun else _NOTHING
                self.cpu[name] += usage.cpu - last[container].cpu
                self.killed[name] += usage.killed - last[container].killed
                known = usage.peak if usage.peak > first[container].peak else usage.now
                self.peak[name] = max(self.peak[name], known)
                self.anonymous[name] = max(self.anonymous[name], usage.anonymous)
                last[container] = usage
        for probe in probes.values():
            probe.close()

    def _ask_health(self) -> None:
        """Health twice a second, by each Daphne's own address, as its health check asks. During a roll there
        are two: the better answer counts.
        """
        while not self._over.wait(0.5):
            began, status = time.monotonic(), 0
            with contextlib.suppress(Failed):
                found = [self._health_of(address) for address in self.stack.addresses("asgi")]
                status = min((one for one in found if one), default=0)
            self.health.append((time.monotonic(), status, time.monotonic() - began))

    @staticmethod
    def _health_of(address: str) -> int:
        """The status of a Daphne's answer; 0 without one."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection(address, ASGI_PORT, timeout=5)
            with contextlib.closing(connection):
                connection.request("GET", "/channels/healthz", headers={"Host": "localhost"})
                return connection.getresponse().status
        return 0


class Publishing:
    """Updates at a steady rate until the end: to `all`, and to one user after another."""

    def __init__(
        self, publisher: Publisher, people: Sequence[Person], to_all: float, to_users: float
    ) -> None:
        self.published = 0
        self._publisher = publisher
        self._people = [person.streams[1] for person in people]
        self._over = threading.Event()
        rates = ((to_all, self._to_all), (to_users, self._to_a_user))
        self._threads = [
            threading.Thread(target=self._run, args=(1 / rate, streams), daemon=True)
            for rate, streams in rates
            if rate > 0
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """No publish is under way when this returns."""
        self._over.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self, every: float, streams: Any) -> None:
        while not self._over.wait(every):
            if not self._publisher.publish(streams())["failed"]:
                self.published += 1

    def _to_all(self) -> list[str]:
        return ["all"]

    def _to_a_user(self) -> list[str]:
        return [random.choice(self._people)]


def strike(
    stack: Deployed,
    client: LoadClient,
    case: str,
    *,
    command: str = "",
    away: float = AWAY,
    action: Callable[[LoadClient], None] | None = None,
) -> tuple[float, float]:
    """Do it. Returns when it began and when the server was up again (monotonic; for a cut the same).
    `action`: what to do instead of the case's own.
    """
    if case == "cut":
        client.ask("cut rst")
        began = time.monotonic()
        return began, began
    (asgi,) = stack.containers("asgi")
    client.ask("mark")
    began = time.monotonic()
    if action is not None:
        action(client)
    elif case == "crash":
        run("docker", "exec", asgi, "bash", "-c", _KILL_DAPHNE)
    elif case == "kill":
        run("docker", "kill", "--signal", "KILL", asgi)
        run("docker", "start", asgi)
    elif case == "restart":
        run("docker", "restart", "--time", "25", asgi)
    elif case == "away":
        run("docker", "stop", "--time", "25", asgi)
        threading.Event().wait(away)
        run("docker", "start", asgi)
    else:
        given = ["scripts/roll", "--no-build", "asgi"] if case == "roll" else shlex.split(command)
        subprocess.run(given, check=True, cwd=ROOT, stdout=sys.stderr, timeout=300)
    wait(lambda: _listens(stack), 60, "a Daphne that listens", every=0.02)
    return began, time.monotonic()


def _listens(stack: Deployed) -> bool:
    with contextlib.suppress(Failed, KeyError):  # the container is being replaced
        place = stack.place("asgi")
        return listens(place.address, place.port)
    return False


@contextlib.contextmanager
def connected(
    place: Place,
    people: Sequence[Person],
    rules: Rules,
    *,
    parallel: int = 60,
    deadline: float = 180,
    within: Container | None = None,
) -> Iterator[LoadClient]:
    """A load client with all of its clients live."""
    with LoadClient(place, people, rules, within=within) as client:
        client.ask(f"start {parallel}")
        wait_live(client, deadline)
        yield client


def storm(
    stack: Deployed,
    *,
    case: str,
    clients: int = 5000,
    way: str = "nginx",
    tls: bool = False,
    transport: str = "websocket",
    rules: Rules | None = None,
    limit: float = 180.0,
    to_all: float = 1.0,
    to_users: float = 20.0,
    command: str = "",
    away: float = AWAY,
    action: Callable[[LoadClient], None] | None = None,
    image: str = "",
    labels: tuple[str, ...] = (),
    quiet: bool = True,
) -> dict[str, Any]:
    """One storm and its report. `image`: of the container in which the load client runs, with `labels`."""

    def tell(text: str) -> None:
        if not quiet:
            print(text, file=sys.stderr, flush=True)

    people = stack.people(clients)
    publisher = stack.publisher()
    place = stack.place(way, tls=tls, transport=transport, polls=way == "nginx" and not tls)
    within = Container(image, stack.network(way), labels) if image else None
    with connected(place, people, rules or Rules(), within=within) as client:
        first = client.ask("status")
        connecting = first["back"]["last"] / 1000
        tell(f"{clients} clients connected, 60 at a time, in {connecting:.1f} s")
        # Each client has a position of its own to come back with.
        publisher.publish(["all"])
        publishing = Publishing(publisher, people, to_all, to_users)
        with Requests(stack) as before:
            wait(lambda: before.count >= REQUESTS, 60, f"{REQUESTS} requests")
        with Watch(stack) as watch, Requests(stack) as beside:
            some = 2 * (to_all + to_users)
            wait(lambda: publishing.published >= some, 60, f"{some:g} published updates")
            began, up = strike(stack, client, case, command=command, away=away, action=action)
            tell(f"{case}: the server was up again after {up - began:.1f} s")
            status, curve = _wait_back(client, up + limit, tell)
        publishing.stop()
        behind = _wait_caught_up(stack, client, people)
        final = client.ask("status")
    publisher.close()
    back = {name: status["back"][name] / 1000 for name in ("first", "p50", "p95", "last")}
    seconds_of_cpu = status["cpu"] / max(status["seconds"], 1e-9)
    return {
        "case": case,
        "way": way,
        "tls": tls,
        "transport": transport,
        "clients": clients,
        "rules": asdict(rules or Rules()),
        "connecting_s": connecting,
        "up_again_s": round(up - began, 3),
        "back": status["back"]["count"],
        "back_s": back,
        "last_back_after_up_s": round(back["last"] - (up - began), 3),
        "caught_up_s": {name: status["caught_up"][name] / 1000 for name in ("first", "p50", "p95", "last")},
        "curve": curve,
        "attempts": status["attempts"],
        "failed": status["failed"],
        "most_in_progress": status["most_in_progress"],
        "ends": status["ends"],
        "closes": status["closes"],
        "statuses": status["statuses"],
        "polls": {
            "sent": status["polls"],
            "statuses": status["poll_statuses"],
            "updates": status["poll_updates"],
            "ms": {name: status["poll_times"][name] for name in ("p50", "p99", "last")},
        },
        "requests": {"before": _figures(before), "beside": _figures(beside)},
        "published": publishing.published,
        "updates": final["updates"],
        "missed": behind,
        "doubled": final["doubled"],
        "unrecovered": final["unrecovered"],
        "client_share_of_core": round(seconds_of_cpu, 3),
        "client_worst_lag_ms": status["worst_lag"],
    } | watch.summary()


def _figures(requests: Requests) -> dict[str, float]:
    with contextlib.suppress(Refused):
        return requests.figures()
    return {"failed": float(requests.failed)}


def _wait_back(client: LoadClient, until: float, tell: Any) -> tuple[dict[str, Any], list[tuple[float, int]]]:
    """Wait until all are back. Returns the status, and how many were back after how many seconds."""
    told = time.monotonic()
    curve: list[tuple[float, int]] = [(0.0, 0)]
    status: dict[str, Any] = {}

    def all_back() -> bool:
        nonlocal told, status
        status = client.ask("status")
        curve.append((round(status["seconds"], 2), status["back"]["count"]))
        if status["back"]["count"] == client.count:
            return True
        if time.monotonic() - told >= 1:
            told = time.monotonic()
            tell(
                f"{status['seconds']:6.1f} s  back {status['back']['count']:5}  failed {status['failed']:6}  "
                f"{status['states']}"
            )
        return False

    with contextlib.suppress(TimedOut):  # the report says how many are not back
        wait_until(all_back, until - time.monotonic(), "all clients back")
    return status, curve


def _wait_caught_up(stack: Deployed, client: LoadClient, people: Sequence[Person]) -> int:
    """Wait at most 15 s until each live client is at the heads of the table. Returns how many updates are
    missing; a client that stands at another tag misses one. A client that is not back is another problem.
    """
    heads = stack.heads()
    behind = 0

    def caught_up() -> bool:
        nonlocal behind
        behind = 0
        for positions in client.ask("positions"):
            for stream, position in positions.items():
                head = heads.get(stream, "0-0")
                if position != head:
                    behind += max(1, int(head.split("-")[0]) - int(position.split("-")[0]))
        return behind == 0

    with contextlib.suppress(TimedOut):  # the report says how many are missing
        wait_until(caught_up, 15, "all updates", every=0.5)
    return behind


def problems(report: dict[str, Any]) -> list[str]:
    """Why this run failed, or does not count."""
    return [*failures(report), *doubts(report)]


def failures(report: dict[str, Any]) -> list[str]:
    """What the stack did wrong."""
    found = [
        f"{report[what]} updates {text}"
        for what, text in (
            ("missed", "did not reach a client"),
            ("doubled", "came twice"),
            ("unrecovered", "could not be replayed"),
        )
        if report[what]
    ]
    if report["back"] < report["clients"]:
        found.append(f"{report['clients'] - report['back']} clients were not back in time")
    peak = report["services"]["asgi"]["peak_mib"]
    if peak > MEMORY:
        found.append(f"asgi used {peak:.0f} MiB, more than {MEMORY}")
    for name, used in report["services"].items():
        if used["killed_for_memory"] or used["restarts"]:
            found.append(
                f"{name}: {used['killed_for_memory']} killed for memory, {used['restarts']} restarts"
            )
    return found


def doubts(report: dict[str, Any]) -> list[str]:
    """Why its times don't count."""
    found = []
    if report["client_worst_lag_ms"] > LAG:
        found.append(
            f"the load client was late by {report['client_worst_lag_ms'] / 1000:.1f} s; usually few local"
            " ports are free: use --client-image, or"
            ' sysctl -w net.ipv4.ip_local_port_range="10000 65000" net.ipv4.tcp_tw_reuse=1'
        )
    if report["client_share_of_core"] > CLIENT_SHARE:
        found.append(f"the load client used {report['client_share_of_core']:.0%} of its core")
    return found


def main() -> int:
    """One storm, from the command line."""
    parser = argparse.ArgumentParser(
        "bench.storm", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--project", default="sluice", help="the compose project of the running stack")
    parser.add_argument("--clients", type=int, default=5000)
    parser.add_argument("--case", choices=CASES, default="cut")
    parser.add_argument("--command", default="", help="for --case command")
    parser.add_argument("--way", choices=("nginx", "asgi"), default="nginx", help="through nginx, or direct")
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--transport", choices=("websocket", "sse"), default="websocket")
    parser.add_argument("--away", type=float, default=AWAY, help="seconds, for --case away")
    parser.add_argument("--client-image", default="", help="run the load client in a container of this image")
    parser.add_argument(
        "--limit", type=float, default=180.0, help="seconds after it is up, until all are back"
    )
    parser.add_argument("--to-all", type=float, default=1.0, help="updates a second to all clients")
    parser.add_argument("--to-users", type=float, default=20.0, help="updates a second to one client each")
    parser.add_argument("--json", action="store_true", help="print only the report's JSON")
    for field in fields(Rules):
        name = f"--{field.name.replace('_', '-')}"
        if isinstance(field.default, bool):
            parser.add_argument(name, action="store_true", help="see Rules in client/__init__.py")
        else:
            parser.add_argument(name, type=float, default=field.default, metavar="MS")
    given = parser.parse_args()
    rules = Rules(**{field.name: getattr(given, field.name) for field in fields(Rules)})
    report = storm(
        Deployed(given.project),
        case=given.case,
        clients=given.clients,
        way=given.way,
        tls=given.tls,
        transport=given.transport,
        away=given.away,
        image=given.client_image,
        rules=rules,
        limit=given.limit,
        to_all=given.to_all,
        to_users=given.to_users,
        command=given.command,
        quiet=given.json,
    )
    report["problems"] = problems(report)
    print(json.dumps(report, indent=None if given.json else 1))
    return 1 if report["problems"] else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as error:
        sys.exit(f"bench.storm: {error}")
