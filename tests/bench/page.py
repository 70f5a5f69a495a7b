"""Writes docs/explanation/performance.md, its plots and its data from the figures of `make bench`.

python3 -m bench.page DATA FOLDER

Every number in the page comes from DATA or is computed from it here.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from .plots import bars, curves, number_of

SERVERS: Final = {
    "sluice": "Sluice, directly to Daphne",
    "sluice-nginx": "Sluice, through nginx",
    "nchan": "nchan (C, in nginx)",
    "ws": "ws (Node.js)",
    "socketio": "Socket.IO (Node.js)",
    "uvicorn": "uvicorn, a bare list of sockets",
    "channels-redis": "Channels, channels_redis",
    "channels-rabbitmq": "Channels, channels_rabbitmq",
}
SIZES: Final = (100, 1000, 5000)
CASES: Final = {
    "cut": "all connections cut at once",
    "kill": "asgi killed, started again at once",
    "restart": "asgi restarted in order",
}
ENOUGH: Final = 5  # rounds
QUIET: Final = 1.0  # load average before the run
_USERS: Final = (100, 1000, 2000, 5000, 10_000, 20_000)


class Data:
    """The figures."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data

    def has(self, workload: str) -> bool:
        """Whether it was measured."""
        return bool(self.data.get(workload, {}).get("figures"))

    def about(self, workload: str) -> dict[str, Any]:
        """When, on what, and how often."""
        found: dict[str, Any] = self.data[workload]["about"]
        return found

    def servers(self, workload: str, what: str) -> list[str]:
        """The servers that were measured, in the page's order."""
        known = self.data[workload]["figures"].get(f"{workload} {what}", {})
        return [name for name in SERVERS if name in known]

    def values(self, workload: str, what: str, server: str, name: str) -> list[float]:
        """A figure, one for each round; empty if it was not measured."""
        key = f"{workload} {what}".strip()
        found: list[float] = self.data[workload]["figures"].get(key, {}).get(server, {}).get(name, [])
        return found

    def median(self, workload: str, what: str, server: str, name: str) -> float:
        """Its median over the rounds."""
        return statistics.median(self.values(workload, what, server, name) or [0.0])

    def cell(self, workload: str, what: str, server: str, name: str, factor: float = 1.0) -> str:
        """Median and spread, as a table has it."""
        values = [factor * value for value in self.values(workload, what, server, name)]
        if not values:
            return "–"
        text = number_of(statistics.median(values))
        return text if len(values) == 1 else f"{text} [{number_of(min(values))}–{number_of(max(values))}]"

    def ratio(self, workload: str, what: str, server: str, measure: Callable[[str], list[float]]) -> str:
        """The median of the rounds' ratios to Sluice, directly."""
        ours, theirs = measure("sluice"), measure(server)
        ratios = [their / our for our, their in zip(ours, theirs, strict=False) if our > 0]
        return f"{statistics.median(ratios):.2f}" if ratios else "–"

    def cpu(self, workload: str, what: str, server: str, suffix: str) -> list[float]:
        """CPU of the server and, where it is in the way, of nginx, by round."""
        parts = [self.values(workload, what, server, f"{who}_{suffix}") for who in ("server", "nginx")]
        return [sum(row) for row in zip(*(part for part in parts if part), strict=False)]


@dataclass(frozen=True)
class Model:
    """cost = a + b · clients, by least squares through the medians at 100, 1,000 and 5,000 clients."""

    a: float
    b: float

    @classmethod
    def through(cls, points: Sequence[tuple[float, float]]) -> Model:
        """The line with the least relative errors: small sizes count as much as large ones."""
        weights = [1 / max(cost, 1e-9) ** 2 for _, cost in points]
        total = sum(weights)
        mean_x = sum(w * x for w, (x, _) in zip(weights, points, strict=True)) / total
        mean_y = sum(w * y for w, (_, y) in zip(weights, points, strict=True)) / total
        over = sum(w * (x - mean_x) * (y - mean_y) for w, (x, y) in zip(weights, points, strict=True))
        under = sum(w * (x - mean_x) ** 2 for w, (x, _) in zip(weights, points, strict=True))
        b = over / under
        return cls(mean_y - b * mean_x, b)

    def at(self, clients: float) -> float:
        """The cost for so many."""
        return max(0.0, self.a + self.b * clients)


def broadcast_cost(data: Data, server: str, who: str) -> Model:
    """CPU milliseconds of a broadcast."""
    points = [
        (float(size), size * data.median("broadcast", f"single-{size}", server, f"{who}_us_per_frame") / 1000)
        for size in SIZES
    ]
    return Model.through(points)


# ---- the page


def page(data: Data) -> str:
    """Its text."""
    return "\n".join(line for section in _SECTIONS for line in section(data)).rstrip() + "\n"


def _head(data: Data) -> Iterator[str]:
    yield "# Performance"
    yield ""
    yield "What push costs, how it compares, what happens when all clients come back at once, and how large"
    yield "a machine must be."
    yield ""
    yield "Every figure on this page was measured by `make bench`, which also writes the page. The data are in"
    yield "[performance.json](performance.json)."
    yield ""
    yield "## How it was measured"
    yield ""
    yield "| workload | date (UTC) | commit | rounds | cores | memory | processor | load before |"
    yield "|---|---|---|---:|---:|---:|---|---:|"
    for name in _measured(data):
        about = data.about(name)
        yield (
            f"| {name} | {about['when']} | {about['commit']} | {about['rounds']} | {about['cores']} | "
            f"{about['memory_gib']} GiB | {about['processor']} | {about['load_average']:.1f} |"
        )
    yield ""
    preliminary = [
        name
        for name in _measured(data)
        if data.about(name)["rounds"] < ENOUGH or data.about(name)["load_average"] > QUIET
    ]
    if preliminary:
        yield f"**Preliminary:** {', '.join(preliminary)}. These had fewer than {ENOUGH} rounds, or other programs"
        yield "used the machine at the same time. Compare ratios, not absolute figures."
        yield ""
    yield "- All parts share the machine: this stack with its limits of one core a service, the peers with the"
    yield "  same limit, and the load client."
    yield "- In each round, every server is measured once, one after the other. A figure is the median over the"
    yield "  rounds, with the least and the most in brackets. A ratio is taken within each round."
    yield "- A run in which a client missed a message, or got one twice, is refused and repeated. So is one in"
    yield "  which the load client used more than 60 % of its core."
    yield "- Sluice's clock starts before the INSERT: its time includes a durable commit. It checks sessions"
    yield "  and rights, and keeps history. The peers publish from memory, to anybody, and keep nothing."
    yield "- Each client of Sluice has a session of its own and follows two streams. A message is 200 bytes."
    yield ""
    yield "To repeat it, on a machine that does nothing else:"
    yield ""
    yield "```sh"
    yield 'make bench      # about 40 minutes; make bench ARGS="--only storms" measures a part again'
    yield "make figures    # writes this page"
    yield "```"
    yield ""
    if versions := data.data.get("versions"):
        names = ("channels", "channels-rabbitmq", "channels_redis", "daphne", "uvicorn", "ws", "socket.io")
        found = [
            f"{name} {versions[name]}"
            for name in (*names, "libnginx-mod-nchan", "nodejs")
            if name in versions
        ]
        yield f"Peers: {', '.join(found)}."
        yield ""


def _broadcast(data: Data) -> Iterator[str]:
    yield "## Broadcast"
    yield ""
    if not data.has("broadcast"):
        yield from _missing("broadcast")
        return
    yield "One message to all clients. *All* is the time until the last client has it; *CPU* is that of the"
    yield "server, plus nginx where it is in the way. Ratios are to Sluice, directly; below 1 is better than it."
    yield ""
    yield "![Time until 1,000 clients have a broadcast](broadcast.svg)"
    yield ""
    for size in reversed(SIZES):
        what = f"single-{size}"
        yield f"### To {size:,} clients"
        yield ""
        yield "| server | p50 ms | p99 ms | all, ms | CPU µs a frame | time, ratio | CPU, ratio |"
        yield "|---|---:|---:|---:|---:|---:|---:|"
        for server in data.servers("broadcast", what):
            cpu = data.cpu("broadcast", what, server, "us_per_frame")
            times = data.ratio(
                "broadcast", what, server, lambda one: data.values("broadcast", what, one, "last_ms")
            )
            costs = data.ratio(
                "broadcast", what, server, lambda one: data.cpu("broadcast", what, one, "us_per_frame")
            )
            cells = [data.cell("broadcast", what, server, f"{part}_ms") for part in ("p50", "p99", "last")]
            yield (
                f"| {SERVERS[server]} | {' | '.join(cells)} | {number_of(statistics.median(cpu))} | "
                f"{times} | {costs} |"
            )
        yield ""
    yield "### 50 messages in a row, to 1,000 clients"
    yield ""
    yield "Sluice commits 50 transactions, one after the other. nchan gets 50 requests, the others publish in"
    yield "their own process."
    yield ""
    yield "| server | all, ms | frames a second | CPU µs a frame |"
    yield "|---|---:|---:|---:|"
    for server in data.servers("broadcast", "burst-1000"):
        cpu = data.cpu("broadcast", "burst-1000", server, "us_per_frame")
        cells = [data.cell("broadcast", "burst-1000", server, name) for name in ("last_ms", "frames_per_s")]
        yield f"| {SERVERS[server]} | {' | '.join(cells)} | {number_of(statistics.median(cpu))} |"
    yield ""
    yield "### Connecting and idling, 5,000 clients"
    yield ""
    yield "60 clients connect at a time. Memory is PSS, less that of the same process without clients."
    yield ""
    yield "![Memory of an idle connection](idle.svg)"
    yield ""
    yield "| server | connections a second | CPU ms a connection | KiB a connection | CPU µs/s a connection |"
    yield "|---|---:|---:|---:|---:|"
    for server in data.servers("broadcast", "idle-5000"):
        cpu = statistics.median(data.cpu("broadcast", "connect-5000", server, "us")) / 1000
        memory = data.cpu("broadcast", "idle-5000", server, "kib")
        idle = data.cpu("broadcast", "idle-5000", server, "us_per_s")
        yield (
            f"| {SERVERS[server]} | {data.cell('broadcast', 'connect-5000', server, 'per_s')} | "
            f"{number_of(cpu)} | {number_of(statistics.median(memory))} | {number_of(statistics.median(idle))} |"
        )
    yield ""


def _storms(data: Data) -> Iterator[str]:
    yield "## Everybody comes back at once"
    yield ""
    if not data.has("storms"):
        yield from _missing("storms")
        return
    clients = max(run["clients"] for run in data.data["storms"]["runs"])
    yield f"{clients:,} clients lose their connections at the same moment, through nginx. They behave as"
    yield "[the protocol](../reference/protocol.md#what-a-client-does) has it: back-off, jitter, a timer of 5 s."
    yield "Meanwhile updates go to all clients, and to single ones. *Lost* counts updates that a client missed or"
    yield "got twice, by the positions. *Failed* counts attempts that ended before hello. *Killed* counts"
    yield "processes of asgi that were killed for memory or restarted by the engine."
    yield ""
    yield "![Clients that are back, over time](storms.svg)"
    yield ""
    table = [
        "| what | half back, s | 95 % | last | last, after asgi listens | not back in time | failed | lost | "
        "asgi's peak, MiB | killed | GET p99, ms |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    names = (
        "back_p50_s",
        "back_p95_s",
        "back_last_s",
        "after_up_s",
        "not_back",
        "failed",
        "lost",
        "peak_mib",
    )
    for case, text in CASES.items():
        if not data.servers("storms", case):
            continue
        cells = [
            data.cell("storms", case, "sluice-nginx", name) for name in (*names, "killed", "requests_p99_ms")
        ]
        table.append(f"| {text} | {' | '.join(cells)} |")
    yield from table
    yield ""
    if refused := data.data["storms"]["refused"]:
        yield f"{len(refused)} of the checks in these runs failed: clients that were not back within the limit,"
        yield "or lost updates. The table has their numbers."
        yield ""


def _site(data: Data) -> Iterator[str]:
    yield "## Messages, pages, commits"
    yield ""
    if data.has("message"):
        cells = [data.cell("message", "", "sluice-nginx", name) for name in ("p50_ms", "p99_ms")]
        yield "A message from the POST to the other person's socket, through nginx, 20 a second:"
        yield f"p50 {cells[0]} ms, p99 {cells[1]} ms."
        yield ""
    if data.has("requests"):
        yield "| a page of Gunicorn's, 20 a second, through nginx | p50 ms | p99 ms |"
        yield "|---|---:|---:|"
        for what, text in (
            ("alone", "alone"),
            ("broadcast", "beside broadcasts to 1,000, each as soon as the last one has arrived"),
        ):
            cells = [data.cell("requests", what, "sluice-nginx", name) for name in ("p50_ms", "p99_ms")]
            yield f"| {text} | {' | '.join(cells)} |"
        yield ""
    if data.has("publishing"):
        yield "| publishing, from one process | commits a second | updates a second |"
        yield "|---|---:|---:|"
        for what in ("1 thread, 1 stream", "8 threads, 1 stream", "8 threads, 100 streams",
                     "1 thread, 50 updates a commit"):  # fmt: skip
            cells = [
                data.cell("publishing", what, "sluice-nginx", f"{name}_per_s")
                for name in ("commits", "updates")
            ]
            yield f"| {what} | {' | '.join(cells)} |"
        yield ""
    if site := data.data.get("site"):
        yield "What else people wait for; each through nginx, one after the other unless it says otherwise:"
        yield ""
        yield "| what | p50 | p99 | of |"
        yield "|---|---:|---:|---:|"
        for row in site["rows"]:
            yield f"| {row['what']} | {row['p50']} | {row['p99']} | {row['of']} |"
        yield ""
        yield "| image | " + " | ".join(site["images"]) + " |"
        yield "|---|" + "---:|" * len(site["images"])
        yield "| `docker image ls` | " + " | ".join(site["images"].values()) + " |"
        yield ""


def _growth(data: Data) -> Iterator[str]:
    yield "## Growth"
    yield ""
    if data.has("broadcast"):
        yield "### The model: cost = a + b · clients"
        yield ""
        yield "A broadcast has a fixed cost (the commit, the wake-up, the encoding) and a cost for each client"
        yield "(a frame written to a socket). The lines go through the medians at 100, 1,000 and 5,000 clients;"
        yield "*error* is the largest distance of a median from its line."
        yield ""
        yield "![CPU of a broadcast by the number of clients](growth.svg)"
        yield ""
        yield "| CPU of a broadcast | a, ms | b, µs a client | error |"
        yield "|---|---:|---:|---:|"
        for server, who, text in _COSTS:
            model = broadcast_cost(data, server, who)
            error = max(
                abs(
                    model.at(size)
                    / (
                        size
                        * data.median("broadcast", f"single-{size}", server, f"{who}_us_per_frame")
                        / 1000
                    )
                    - 1
                )
                for size in SIZES
            )
            yield f"| {text} | {number_of(model.a)} | {number_of(1000 * model.b)} | {error:.0%} |"
        yield ""
    if data.has("streams"):
        yield "### More streams a client"
        yield ""
        yield "1,000 clients, directly to Daphne; everything but `all` is a stream that only this client follows."
        yield ""
        yield "| streams a client | broadcast, all, ms | CPU µs a frame | CPU ms a connection | KiB a connection |"
        yield "|---:|---:|---:|---:|---:|"
        for count in (1, 11, 51):
            cells = [
                data.cell("streams", f"single-{count}", "sluice", "last_ms"),
                data.cell("streams", f"single-{count}", "sluice", "server_us_per_frame"),
                data.cell("streams", f"connect-{count}", "sluice", "server_us", 1e-3),
                data.cell("streams", f"idle-{count}", "sluice", "server_kib"),
            ]
            yield f"| {count} | {' | '.join(cells)} |"
        yield ""
    if data.has("replicas") or data.has("tls"):
        yield "### Replicas and TLS, 1,000 clients through nginx"
        yield ""
        yield "| what | broadcast, all, ms | CPU of asgi, µs a frame | CPU of nginx | CPU of nginx a connection, ms |"
        yield "|---|---:|---:|---:|---:|"
        for workload, text in (("broadcast", "one asgi"), ("replicas", "two asgi"), ("tls", "one asgi, TLS")):
            if data.has(workload):
                cells = [
                    data.cell(workload, "single-1000", "sluice-nginx", name)
                    for name in ("last_ms", "server_us_per_frame", "nginx_us_per_frame")
                ]
                cells.append(data.cell(workload, "connect-1000", "sluice-nginx", "nginx_us", 1e-3))
                yield f"| {text} | {' | '.join(cells)} |"
        yield ""


def _sizing(data: Data) -> Iterator[str]:
    yield "## Sizing"
    yield ""
    if not data.has("broadcast"):
        yield from _missing("broadcast")
        return
    yield "Computed from the figures above: the model for CPU, plus what idle connections cost. *Updates a second*"
    yield "are broadcasts to all clients at which each service stays below 70 % of a core. Each further asgi takes"
    yield "its share of the clients. Memory is that of idle connections; leave as much again for a reconnect"
    yield "storm. The database, RabbitMQ and Gunicorn come on top."
    yield ""
    yield "| clients | asgi processes | updates a second to all | asgi's memory, each | nginx's memory | handles: nginx | handles: asgi, each |"
    yield "|---:|---:|---:|---:|---:|---:|---:|"
    asgi = broadcast_cost(data, "sluice-nginx", "server")
    nginx = broadcast_cost(data, "sluice-nginx", "nginx")
    idle = {
        (who, name): data.median("broadcast", "idle-5000", "sluice-nginx", f"{who}_{name}")
        for who in ("server", "nginx")
        for name in ("kib", "us_per_s", "base_mib")
    }
    for clients in _USERS:
        processes = max(1, -(-clients // 5000))
        share = clients / processes
        rates = []
        for model, who, count, cores in ((asgi, "server", share, 1.0), (nginx, "nginx", clients, 1.0)):
            free = 0.7 * cores - idle[who, "us_per_s"] * count / 1e6
            rates.append(free / (model.at(count) / 1000))
        memory = {
            who: idle[who, "base_mib"] + idle[who, "kib"] * count / 1024
            for who, count in (("server", share), ("nginx", clients))
        }
        yield (
            f"| {clients:,} | {processes} | {number_of(max(0.0, min(rates)))} | {number_of(memory['server'])} MiB | "
            f"{number_of(memory['nginx'])} MiB | {2 * clients + 512:,} | {int(share) + 512:,} |"
        )
    yield ""
    yield "Above 5,000 clients, raise `MAX_CLIENTS` and `CHANNELS_PER_ADDRESS`; "
    yield "[the environment](../reference/environment.md) explains both."
    yield ""


def _breaks(data: Data) -> Iterator[str]:
    yield "## What breaks first"
    yield ""
    if data.has("storms"):
        killed = sum(sum(data.values("storms", case, "sluice-nginx", "killed")) for case in CASES)
        late = sum(sum(data.values("storms", case, "sluice-nginx", "not_back")) for case in CASES)
        peak = max(run["services"]["asgi"]["peak_mib"] for run in data.data["storms"]["runs"])
        if killed or late:
            yield f"1. **asgi, in a reconnect storm.** In {len(data.data['storms']['runs'])} storms, asgi was killed"
            yield f"   {number_of(killed)} times, and {number_of(late)} clients were not back within the limit. Its"
            yield f"   memory peaked at {number_of(peak)} MiB."
        else:
            yield f"1. **asgi's memory, in a reconnect storm.** It peaked at {number_of(peak)} MiB; the container's"
            yield "   limit is `mem_limit` in [compose.yaml](../../compose.yaml)."
    if data.has("broadcast"):
        asgi = broadcast_cost(data, "sluice-nginx", "server")
        nginx = broadcast_cost(data, "sluice-nginx", "nginx")
        yield f"2. **CPU, with broadcasts.** To 5,000 clients, one asgi has the time for at most"
        yield f"   {number_of(1000 / asgi.at(5000))} broadcasts a second, and nginx for {number_of(1000 / nginx.at(5000))} with one core."
        yield "   Then updates arrive later, but all of them do. Another asgi halves the first figure's cost."
    if data.has("requests"):
        alone = data.median("requests", "alone", "sluice-nginx", "p99_ms")
        beside = data.median("requests", "broadcast", "sluice-nginx", "p99_ms")
        yield f"3. **Pages, beside broadcasts.** Where all services share two cores, the p99 of a page rises from"
        yield f"   {number_of(alone)} to {number_of(beside)} ms while broadcasts take all the CPU that they can get."
    yield ""


_SECTIONS: Final = (_head, _broadcast, _storms, _site, _growth, _sizing, _breaks)
_COSTS: Final = (
    ("sluice", "server", "asgi, directly"),
    ("sluice-nginx", "server", "asgi, behind nginx"),
    ("sluice-nginx", "nginx", "nginx"),
    ("nchan", "server", "nchan"),
)
_WORKLOADS: Final = ("broadcast", "storms", "message", "requests", "publishing", "streams", "replicas", "tls")


def _measured(data: Data) -> list[str]:
    return [name for name in _WORKLOADS if data.has(name)]


def _missing(workload: str) -> Iterator[str]:
    yield f'Not measured yet: `make bench ARGS="--only {workload}"`, then `make figures`.'
    yield ""


# ---- the plots


def plots(data: Data) -> dict[str, str]:
    """The SVG files by name."""
    found = {}
    if data.has("broadcast"):
        for name, title, unit, what, values in (
            (
                "broadcast.svg",
                "Until all of 1,000 clients have a broadcast",
                "ms",
                "single-1000",
                lambda server: data.values("broadcast", "single-1000", server, "last_ms"),
            ),
            (
                "idle.svg",
                "Memory of an idle connection, at 5,000",
                "KiB",
                "idle-5000",
                lambda server: data.cpu("broadcast", "idle-5000", server, "kib"),
            ),
        ):
            rows = [(SERVERS[one], values(one)) for one in data.servers("broadcast", what)]
            found[name] = bars(title, unit, rows)
        found["growth.svg"] = curves(
            "CPU of a broadcast",
            "clients",
            "ms",
            [
                (
                    text,
                    [
                        (
                            size,
                            size
                            * data.median("broadcast", f"single-{size}", server, f"{who}_us_per_frame")
                            / 1000,
                        )
                        for size in SIZES
                    ],
                )
                for server, who, text in _COSTS
            ],
        )
    if data.has("storms"):
        lines = []
        for case, text in CASES.items():
            runs = [run for run in data.data["storms"]["runs"] if run["case"] == case]
            if runs:
                ordered = sorted(runs, key=lambda run: (-run["back"], run["back_s"]["last"]))
                lines.append((text, ordered[(len(ordered) - 1) // 2]["curve"]))
        found["storms.svg"] = curves("Clients that are back (the median run)", "seconds", "clients", lines)
    return found


def main() -> int:
    """Write the page, the plots and the data."""
    source, folder = Path(sys.argv[1]), Path(sys.argv[2])
    data = Data(json.loads(source.read_text()))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "performance.md").write_text(page(data))
    (folder / "performance.json").write_text(json.dumps(data.data, indent=1, sort_keys=True) + "\n")
    for name, text in plots(data).items():
        (folder / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
