"""Measure the push against its peers, and write the figures as JSON.

    make bench                                     everything, about 40 minutes
    make bench ARGS="--only storms --only tls"     single workloads; the other figures stay as they are
    make bench ARGS="--rounds 9"

On a host with a C compiler, against a stack that runs (without the workloads that need one of their own):

    PYTHONPATH=tests python3 -m bench --project sluice --peers-image sluice-peers --results results

Each round measures every server once, one after the other, so that what else the machine does meets all of
them; figures are medians over the rounds. A measurement is refused, and done again at most twice, if a client
missed a message or got one twice, or if the load client used more than 60 % of its core.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

from . import loads
from .about import about, clock
from .deployed import OPEN, Deployed, Failed, development, run, wait
from .peers import NAMES, Peers
from .requesting import REQUESTS, Refused, Requests
from .sluice import DIRECT, THROUGH_NGINX, Sluice
from .storm import problems, storm
from .visits import describe, visit

SIZES: Final = (100, 1000, 5000)
STORMS: Final = {  # case and transport
    "cut": ("cut", "websocket"),
    "kill": ("kill", "websocket"),
    "restart": ("restart", "websocket"),
    "cut-sse": ("cut", "sse"),
    "restart-sse": ("restart", "sse"),
    "away": ("away", "websocket"),
}
AWAY_ROUNDS: Final = 2  # it takes minutes, in which all pages poll
STREAMS: Final = (1, 11, 51)
IMAGES: Final = ("wsgi", "asgi", "worker", "nginx", "rabbitmq", "postgres")
_READ_ALL: Final = """
FROM sluice-asgi:{tag}
USER 0
RUN printf 'def may_read(user, stream):\\n    return True\\n' >> /opt/sluice/app/mysite/rights.py
USER 33:33
"""


class Bench:
    """The figures, by workload, server and name: one value for each round."""

    def __init__(self, results: Path, rounds: int, peers: Peers | None, owner: str = "") -> None:
        self.labels = (f"sluice.test.run={owner}",) if owner else ()
        self.results = results
        self.rounds = rounds
        self.peers = peers
        self.found: dict[str, Any] = {}
        self.refused: list[str] = []
        self.storms: list[dict[str, Any]] = []
        self.load_average = os.getloadavg()[0]

    def add(self, workload: str, server: str, measure: Callable[[], dict[str, float]]) -> None:
        """Measure once, at most three times if it is refused, and keep the figures."""
        for _ in range(3):
            try:
                figures = measure()
            except Refused as refusal:
                self.refuse(workload, server, refusal)
                continue
            self.keep(workload, server, figures)
            return

    def refuse(self, workload: str, server: str, why: object) -> None:
        """Note that a measurement does not count."""
        self.refused.append(f"{workload}, {server}: {why}")
        print(f"{clock()} REFUSED {self.refused[-1]}", flush=True)

    def keep(self, workload: str, server: str, figures: dict[str, float]) -> None:
        """Keep the figures of one round."""
        print(f"{clock()} {workload:16} {server:18} {describe(figures)}", flush=True)
        known = self.found.setdefault(workload, {}).setdefault(server, {})
        for name, value in figures.items():
            known.setdefault(name, []).append(value)

    def save(self, name: str) -> None:
        """Merge a workload into the file: what was measured now replaces what was there."""
        part = {key: values for key, values in self.found.items() if key.split()[0] == name}
        if not part:
            return
        file = self.results / "bench.json"
        kept = json.loads(file.read_text()) if file.exists() else {}
        now = about(self.rounds) | {"load_average": self.load_average}
        refused = [one for one in self.refused if one.split(",")[0].split()[0] == name]
        kept[name] = {"about": now, "figures": part, "refused": refused}
        if name == "storms":
            kept[name]["runs"] = self.storms
        if self.peers:
            kept["versions"] = self.peers.versions()
        self.results.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")

    # ---- the workloads

    def broadcast(self, stack: Deployed) -> None:
        """Broadcasts of single messages and bursts to 100, 1,000 and 5,000 clients; connecting; idling."""
        publisher = stack.publisher()
        ours = [Sluice(stack, way, publisher) for way in ("asgi", "nginx")]
        for _ in range(self.rounds):
            for count in SIZES:
                for server in ours:
                    if count == SIZES[-1]:
                        server.restart()
                    self._visit(server, count)
                for name in NAMES if self.peers else ():
                    assert self.peers
                    with self.peers.start(name) as peer:
                        self._visit(peer, count)
        publisher.close()

    def _visit(self, server: Any, count: int, label: str = "broadcast") -> None:
        try:
            with visit(server, server.people(count)) as (here, connecting, base):
                self.keep(f"{label} connect-{count}", server.name, connecting)
                self.add(f"{label} single-{count}", server.name, here.broadcasts)
                if count == 1000:
                    self.add(f"{label} burst-{count}", server.name, here.burst)
                if count == SIZES[-1]:
                    self.add(f"{label} idle-{count}", server.name, lambda: here.idle(base))
        except Failed as failure:  # of this visit; the others count
            self.refuse(f"{label} {count}", server.name, failure)

    def message(self, stack: Deployed) -> None:
        """A message from the POST to the other person's socket."""
        for _ in range(self.rounds):
            self.add("message", THROUGH_NGINX, lambda: loads.message_to_browser(stack))

    def requests(self, stack: Deployed) -> None:
        """Gunicorn's GET alone, and beside broadcasts that take all that Daphne has."""
        publisher = stack.publisher()
        server = Sluice(stack, "nginx", publisher)
        for _ in range(self.rounds):
            with Requests(stack) as alone:
                wait(lambda: alone.count >= REQUESTS, 60, f"{REQUESTS} requests")
            self.keep("requests alone", THROUGH_NGINX, alone.figures())
            with visit(server, server.people(1000)) as (here, _connecting, _base):
                with Requests(stack) as beside:
                    while beside.count < REQUESTS:  # a broadcast that takes too long is refused
                        here.broadcast()
                self.keep("requests broadcast", THROUGH_NGINX, beside.figures())
        publisher.close()

    def publishing(self, stack: Deployed) -> None:
        """Commits a second."""
        for _ in range(self.rounds):
            for name, options in {
                "1 thread, 1 stream": {"threads": 1, "streams": 1},
                "8 threads, 1 stream": {"threads": 8, "streams": 1},
                "8 threads, 100 streams": {"threads": 8, "streams": 100},
                "1 thread, 50 updates a commit": {"threads": 1, "streams": 1, "batch": 50},
            }.items():
                rate = loads.commits(stack, **options)
                figures = {"commits_per_s": rate, "updates_per_s": rate * options.get("batch", 1)}
                self.keep(f"publishing {name}", THROUGH_NGINX, figures)

    def streams(self, stack: Deployed) -> None:
        """The same broadcast where each client follows more streams."""
        publisher = stack.publisher()
        server = Sluice(stack, "asgi", publisher)
        for _ in range(self.rounds):
            for count in STREAMS:
                server.restart()
                with visit(server, server.people(1000, count)) as (here, connecting, base):
                    self.keep(f"streams connect-{count}", DIRECT, connecting)
                    self.add(f"streams single-{count}", DIRECT, here.broadcasts)
                    self.add(f"streams idle-{count}", DIRECT, lambda: here.idle(base))
        publisher.close()

    def replicas(self, stack: Deployed) -> None:
        """Two Daphnes behind nginx."""
        self._through_nginx(stack, "replicas", 2)

    def tls(self, stack: Deployed) -> None:
        """Through nginx, with TLS."""
        self._through_nginx(stack, "tls", 1, tls=True)

    def _through_nginx(self, stack: Deployed, label: str, replicas: int, *, tls: bool = False) -> None:
        publisher = stack.publisher()
        server = Sluice(stack, "nginx", publisher, tls=tls)
        for _ in range(self.rounds):
            self._visit(server, 1000, label)
        publisher.close()


def run_ways(bench: Bench, tag: str) -> None:
    """An update from publish() to a browser, by each way of waking Daphne."""
    with contextlib.ExitStack() as there:
        stacks = {
            "rabbitmq": there.enter_context(own_stack(tag, {})),
            "notify": there.enter_context(own_stack(tag, {}, broker=False)),
            "data_version": there.enter_context(development(tag, owner(None))),
            "database": there.enter_context(own_stack(tag, {"UPDATES_NOTIFY": "no"}, broker=False)),
        }
        for _ in range(bench.rounds):
            for way, stack in stacks.items():
                bench.add(f"ways {way}", DIRECT, partial(loads.publish_to_browser, stack))


def run_storms(bench: Bench, stack: Deployed, clients: int, limit: float) -> None:
    """All clients come back at once, with requests to Gunicorn beside it."""
    for number in range(bench.rounds):
        for name, (case, transport) in STORMS.items():
            if case == "away" and number >= AWAY_ROUNDS:
                continue
            report = storm(
                stack, case=case, transport=transport, clients=clients, limit=limit,
                image=os.environ.get("SLUICE_BENCH_IMAGE", ""), labels=bench.labels,
            )  # fmt: skip
            report["name"] = name
            report["problems"] = problems(report)
            bench.storms.append(report)
            asgi = report["services"]["asgi"]
            before, beside = (report["requests"][when] for when in ("before", "beside"))
            bench.keep(
                f"storms {name}",
                THROUGH_NGINX,
                _times(report)
                | {
                    "not_back": float(clients - report["back"]),
                    "failed": float(report["failed"]),
                    "lost": float(report["missed"] + report["doubled"] + report["unrecovered"]),
                    "peak_mib": asgi["peak_mib"],
                    "killed": float(asgi["killed_for_memory"] + asgi["restarts"]),
                    "polls": float(report["polls"]["sent"]),
                }
                | {
                    f"requests_{when}p99_ms": figures["p99_ms"]
                    for when, figures in (("before_", before), ("", beside))
                    if "p99_ms" in figures
                },
            )
            for problem in report["problems"]:
                bench.refuse(f"storms {name}", THROUGH_NGINX, problem)
            stack.wait_healthy("asgi", 120)


def _times(report: dict[str, Any]) -> dict[str, float]:
    """When clients were back; nothing if none was."""
    if not report["back"]:
        return {}
    back = {f"back_{part}_s": report["back_s"][part] for part in ("p50", "p95", "last")}
    return back | {"after_up_s": report["last_back_after_up_s"]}


# Which settings a workload's stack needs beside OPEN.
WORKLOADS: Final[dict[str, dict[str, str]]] = {
    "broadcast": {},
    "message": {},
    "requests": {},
    "publishing": {},
    "storms": {},
    "streams": {"READ_ALL": "yes"},
    "replicas": {"SCALE": "2"},
    "tls": {"TLS": "self-signed"},
    "ways": {"STACKS": "own"},
}


@contextlib.contextmanager
def own_stack(tag: str, settings: dict[str, str], *, broker: bool = True) -> Iterator[Deployed]:
    """A stack for some workloads, as an operator gets it but for the limits on one address."""
    from harness.stack import Stack  # needs Docker's Python package, which a host need not have

    scale = {"asgi": int(settings["SCALE"])} if "SCALE" in settings else None
    given = {key: value for key, value in settings.items() if key not in ("SCALE", "READ_ALL")}
    if "READ_ALL" in settings:
        tag = read_all(tag)
    stack = Stack(tag, {"EXPOSE_BACKEND": "no"} | OPEN | given, broker=broker)
    try:
        stack.boot()
        if scale:
            stack.up(scale=scale)
        yield Deployed(stack.name)
    finally:
        stack.close()
        if "READ_ALL" in settings:
            run("docker", "image", "rm", "--force", *(f"sluice-{name}:{tag}" for name in IMAGES))


def owner(project: str | None) -> str:
    """Whose the containers beside the stack are, if this runs in the image."""
    if project:
        return ""
    from harness.engine import PREFIX, run_id

    return f"{PREFIX}-{run_id()}-peers"


def read_all(tag: str) -> str:
    """The tag of images whose only difference is that everybody may read every stream. The sample site allows
    three a user, too few to measure what more cost.
    """
    from harness.engine import run_id

    new = f"e2e-{run_id()}"
    for name in IMAGES:
        run("docker", "tag", f"sluice-{name}:{tag}", f"sluice-{name}:{new}")
    run("docker", "build", "--tag", f"sluice-asgi:{new}", "-", given=_READ_ALL.format(tag=tag))
    return new


def main() -> int:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(
        "bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=WORKLOADS, help="a workload; may be repeated")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--project", help="a running stack; without it, stacks of its own are started")
    parser.add_argument(
        "--peers-image", default=os.environ.get("SLUICE_PEERS_IMAGE", ""), help="none: no peers"
    )
    parser.add_argument("--results", type=Path, default=Path("/results"))
    parser.add_argument("--storm-clients", type=int, default=5000)
    parser.add_argument("--storm-limit", type=float, default=60.0, help="seconds until all must be back")
    given = parser.parse_args()
    wanted = given.only or list(WORKLOADS)
    if given.project:
        wanted = [name for name in wanted if not WORKLOADS[name]]
    with contextlib.ExitStack() as open_things:
        needs_peers = given.peers_image and "broadcast" in wanted
        who = owner(given.project)
        peers = open_things.enter_context(Peers(given.peers_image, who)) if needs_peers else None
        bench = Bench(given.results, given.rounds, peers, who)
        for settings in ({}, *(WORKLOADS[name] for name in wanted if WORKLOADS[name])):
            names = [name for name in wanted if WORKLOADS[name] == settings]
            if not names:
                continue
            if names == ["ways"]:
                try:
                    run_ways(bench, os.environ["SLUICE_IMAGE_TAG"])
                finally:
                    bench.save("ways")
                continue
            with contextlib.ExitStack() as there:
                if given.project:
                    stack = Deployed(given.project)
                else:
                    stack = there.enter_context(own_stack(os.environ["SLUICE_IMAGE_TAG"], settings))
                for name in names:
                    try:
                        if name == "storms":
                            run_storms(bench, stack, given.storm_clients, given.storm_limit)
                        else:
                            getattr(bench, name)(stack)
                    finally:
                        bench.save(name)
    print(f"\n{len(bench.refused)} refused or with problems; the figures are in {given.results}/bench.json")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as error:
        sys.exit(f"bench: {error}")
