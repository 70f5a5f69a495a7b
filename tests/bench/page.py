"""Writes docs/explanation/performance.md, its plots and its data from the figures of `make bench`.

python3 -m bench.page DATA FOLDER

Every number in the page comes from DATA or is computed from it here.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from .markdown import heading, item, paragraph, table
from .measured import SERVERS, SIZES, Data, broadcast_cost, broadcasts, is_modelled
from .plots import bars, curves, number_of

CASES: Final = {
    "cut": "all connections cut at once",
    "kill": "asgi killed, started again at once",
    "restart": "asgi restarted in order",
    "cut-sse": "all event streams cut at once",
    "restart-sse": "asgi restarted in order, event streams",
    "away": "asgi away for 2 minutes, all pages poll",
}
STREAMS: Final = (1, 11, 51)
WAYS: Final = {
    "rabbitmq": "RabbitMQ",
    "notify": "PostgreSQL's NOTIFY, without RabbitMQ",
    "data_version": "`make dev`: SQLite's `data_version`",
    "database": "none: the poll alone",
}
ENOUGH: Final = 5  # rounds
QUIET: Final = 0.75  # of the cores: the load average before the run, in which the images were built
_USERS: Final = (100, 1000, 2000, 5000, 10_000, 20_000)


# ---- the page


def page(data: Data) -> str:
    """Its text. A section without any figures is left out."""
    sections = [[*section(data)] for section in _SECTIONS]
    kept = [lines for lines in sections if any(line and not line.startswith("#") for line in lines)]
    return "\n".join(line for lines in kept for line in lines).rstrip() + "\n"


def _head(data: Data) -> Iterator[str]:
    yield from heading("Performance", 1)
    yield from paragraph(
        """What push costs, how it compares with other servers, what happens when all clients come back at
        once, and how large a machine must be."""
    )
    yield from paragraph(
        """`make bench` measured the figures on this page, or they are computed from its data,
        [performance.json](performance.json). Only those of `make up` come from `time make up`. `make figures`
        writes the page."""
    )
    yield from heading("How it was measured")
    abouts = [(name, data.about(name)) for name in _measured(data)]
    yield from table(
        (
            "workload",
            "date (UTC)",
            "commit",
            "processor",
            "cores",
            "memory",
            "rounds",
            "refused",
            "load before",
        ),
        (
            (
                name,
                about["when"],
                about["commit"],
                about["processor"],
                str(about["cores"]),
                f"{about['memory_gib']} GiB",
                str(about["rounds"]),
                str(len(data.data[name].get("refused", []))),
                f"{about['load_average']:.1f}",
            )
            for name, about in abouts
        ),
        left=4,
    )
    preliminary = [
        name
        for name, about in abouts
        if about["rounds"] < ENOUGH or about["load_average"] > QUIET * about["cores"]
    ]
    if preliminary:
        yield from paragraph(
            f"""**Preliminary:** {", ".join(preliminary)}. These had fewer than {ENOUGH} rounds, or other
            programs used the machine before. Compare ratios, not absolute figures."""
        )
    for text in (
        """All parts share the machine: this stack, the peers, and the load client. Each server has at most
        one core.""",
        """In each round, every server is measured once, one after the other. A figure is the median over the
        rounds, with the least and the most in brackets. A ratio is taken within each round.""",
        """A run in which a client missed a message, or got one twice, is refused and repeated. So is one in
        which the load client used more than 60 % of its core.""",
        """The time of a message begins before it is published. For Sluice that is before the INSERT, so it
        includes a durable commit. Sluice also checks sessions and rights, and keeps history. The peers
        publish from memory to everybody, and keep nothing.""",
        """Each client of Sluice is a user with a session and follows two streams. A message is 200 bytes and
        its envelope.""",
    ):
        yield from item(text)
    yield ""
    if versions := data.data.get("versions"):
        found = ", ".join(f"{name} {versions[name]}" for name in _VERSIONS if name in versions)
        yield from paragraph(f"Peers: {found}.")
    yield from paragraph("To repeat it, on a machine that does nothing else:")
    yield "```sh"
    yield "make bench                                # everything"
    yield 'make bench ARGS="--only storms --rounds 9"  # only one workload; the others keep their figures'
    yield "make figures                              # writes this page"
    yield "```"
    yield ""


def _broadcast(data: Data) -> Iterator[str]:
    yield from heading("Broadcast")
    if not data.has("broadcast"):
        yield from _missing("broadcast")
        return
    yield from paragraph(
        """One message to all clients. *Last* is the time until the last client has it. *CPU* is that of the
        server, plus nginx where it is in between. Ratios are to Sluice directly: below 1 is faster or
        cheaper than Sluice."""
    )
    yield from paragraph("![Time until the last of 1,000 clients has a broadcast](broadcast.svg)")
    for size in reversed(SIZES):
        yield from heading(f"To {size:,} clients", 3)
        yield from table(
            ("server", "p50, ms", "p99, ms", "last, ms", "CPU µs a frame", "time, ratio", "CPU, ratio"),
            (
                _single(data, f"single-{size}", server)
                for server in data.servers("broadcast", f"single-{size}")
            ),
        )
    yield from heading("50 messages in a row, to 1,000 clients", 3)
    yield from paragraph(
        """Sluice commits 50 transactions, one after the other. nchan gets 50 requests. The others publish
        in their own process."""
    )
    yield from table(
        ("server", "last, ms", "frames a second", "CPU µs a frame"),
        (
            (
                SERVERS[server],
                data.cell("broadcast", "burst-1000", server, "last_ms"),
                data.cell("broadcast", "burst-1000", server, "frames_per_s"),
                _middle(data.cpu("broadcast", "burst-1000", server, "us_per_frame")),
            )
            for server in data.servers("broadcast", "burst-1000")
        ),
    )
    if not data.servers("broadcast", "idle-5000"):
        return
    yield from heading("Connecting and idling, 5,000 clients", 3)
    yield from paragraph(
        """60 clients connect at a time. Memory is PSS, less that of the same process without clients. Pings
        are included."""
    )
    yield from paragraph("![Memory of an idle connection](idle.svg)")
    yield from table(
        ("server", "connections a second", "CPU ms a connection", "KiB a connection", "idle CPU, µs/s"),
        (
            (
                SERVERS[server],
                data.cell("broadcast", "connect-5000", server, "per_s"),
                _middle(data.cpu("broadcast", "connect-5000", server, "us"), 1e-3),
                _middle(data.cpu("broadcast", "idle-5000", server, "kib")),
                _middle(data.cpu("broadcast", "idle-5000", server, "us_per_s")),
            )
            for server in data.servers("broadcast", "idle-5000")
        ),
    )


def _single(data: Data, what: str, server: str) -> tuple[str, ...]:
    def times(one: str) -> list[float]:
        return data.values("broadcast", what, one, "last_ms")

    def cpu(one: str) -> list[float]:
        return data.cpu("broadcast", what, one, "us_per_frame")

    return (
        SERVERS[server],
        *(data.cell("broadcast", what, server, f"{part}_ms") for part in ("p50", "p99", "last")),
        _middle(cpu(server)),
        data.ratio(server, times),
        data.ratio(server, cpu),
    )


def _storms(data: Data) -> Iterator[str]:
    yield from heading("Everybody comes back at once")
    if not data.has("storms"):
        yield from _missing("storms")
        return
    clients = max(run["clients"] for run in data.data["storms"]["runs"])
    yield from paragraph(
        f"""{clients:,} clients lose their connections at the same moment, through nginx. They behave as
        [the protocol](../reference/protocol.md#what-a-client-does) says: back-off with jitter, timers, and
        polling while they have no connection. Meanwhile updates go to all clients, and to single ones."""
    )
    yield from paragraph("![Clients that are back, over time](storms.svg)")
    yield from table(
        ("clients back after, s", "half", "95 %", "last", "last, after asgi listens", "not in time"),
        (_storm(data, case, _TIMES) for case in _cases(data)),
    )
    yield from table(
        (
            "the same runs",
            "failed attempts",
            "polls",
            "lost updates",
            "asgi's peak, MiB",
            "kills",
            "GET p99 before, ms",
            "meanwhile",
        ),
        (_storm(data, case, _COSTS_OF_STORM) for case in _cases(data)),
    )
    yield from paragraph(
        """*Polls* are those of all clients while they had no connection. *Lost* are updates that a client
        missed or got twice, counted by the positions. *Kills* are processes of asgi that the kernel killed
        for memory, and restarts by the engine. *GET* is a page of Gunicorn's, 20 requests a second, before
        the storm and meanwhile. Where clients are not back in time, the other times are of those that
        are."""
    )


def _cases(data: Data) -> list[str]:
    return [case for case in CASES if data.servers("storms", case)]


def _storm(data: Data, case: str, names: Sequence[str]) -> tuple[str, ...]:
    return (CASES[case], *(data.cell("storms", case, "sluice-nginx", name) for name in names))


def _site(data: Data) -> Iterator[str]:
    yield from heading("Messages, pages, commits")
    if data.has("message"):
        p50, p99 = (data.cell("message", "", "sluice-nginx", f"{name}_ms") for name in ("p50", "p99"))
        yield from paragraph(
            f"""A message from the POST to the other person's socket, through nginx, 20 a second: p50
            {p50} ms, p99 {p99} ms."""
        )
    if data.has("ways"):
        yield from paragraph(
            """An update from `publish()`, in another process, to a browser's socket, directly to Daphne, 20
            a second, by [each way](push-without-rabbitmq.md) that tells Daphne of a commit. The time begins
            before the INSERT, so it includes the commit."""
        )
        yield from table(
            ("way", "p50, ms", "p99, ms"),
            (
                (text, *(data.cell("ways", way, "sluice", f"{p}_ms") for p in ("p50", "p99")))
                for way, text in WAYS.items()
            ),
        )
    if data.has("requests"):
        texts = {"alone": "alone", "broadcast": "beside uninterrupted broadcasts to 1,000"}
        yield from table(
            ("a page of Gunicorn's, 20 requests a second through nginx", "p50, ms", "p99, ms"),
            (
                (text, *(data.cell("requests", what, "sluice-nginx", f"{p}_ms") for p in ("p50", "p99")))
                for what, text in texts.items()
            ),
        )
    if data.has("publishing"):
        yield from table(
            ("publishing, from one process", "commits a second", "updates a second"),
            (
                (
                    what,
                    data.cell("publishing", what, "sluice-nginx", "commits_per_s"),
                    data.cell("publishing", what, "sluice-nginx", "updates_per_s"),
                )
                for what in _PUBLISHING
            ),
        )
    if site := data.data.get("site"):
        about = site["about"]
        yield from paragraph(
            f"""What else people wait for, through nginx ({about["when"]}, {about["cores"]} cores,
            {about["memory_gib"]} GiB):"""
        )
        rows = site["rows"]
        yield from table(
            ("what", "p50", "p99", "of"), ((row["what"], row["p50"], row["p99"], row["of"]) for row in rows)
        )
        images = site["images"]
        yield from table(("image", *images), [("`docker image ls`", *images.values())])


def _growth(data: Data) -> Iterator[str]:
    yield from heading("Growth")
    if data.has("broadcast"):
        yield from heading("The model: cost = a + b · clients", 3)
        yield from paragraph(
            """A broadcast has a fixed cost (the commit's wake-up, reading and encoding the update) and a cost
            for each client (a frame written to a socket). The lines go through the medians at 100, 1,000 and
            5,000 clients. *Error* is the largest distance of a median from its line."""
        )
        yield from paragraph("![CPU of a broadcast by the number of clients](growth.svg)")
        rows = []
        for server, who, text in _modelled(data):
            model, points = broadcast_cost(data, server, who), broadcasts(data, server, who)
            error = max(abs(model.at(size) / cost - 1) for size, cost in points)
            rows.append((text, number_of(model.a), number_of(1000 * model.b), f"{error:.0%}"))
        yield from table(("CPU of a broadcast", "a, ms", "b, µs a client", "error"), rows)
    if data.has("streams"):
        yield from heading("More streams a client", 3)
        yield from paragraph(
            """1,000 clients, directly to Daphne. Beside `all`, every stream is followed by one client
            only."""
        )
        yield from table(
            ("streams a client", "broadcast, last, ms", "CPU µs a frame", "CPU ms a connection",
             "KiB a connection"),
            (
                (
                    str(count),
                    data.cell("streams", f"single-{count}", "sluice", "last_ms"),
                    data.cell("streams", f"single-{count}", "sluice", "server_us_per_frame"),
                    data.cell("streams", f"connect-{count}", "sluice", "server_us", 1e-3),
                    data.cell("streams", f"idle-{count}", "sluice", "server_kib"),
                )
                for count in STREAMS
            ),
        )  # fmt: skip
    if data.has("replicas") or data.has("tls"):
        yield from heading("Replicas and TLS", 3)
        texts = {"broadcast": "one asgi", "replicas": "two asgi", "tls": "one asgi, TLS at nginx"}
        yield from table(
            ("1,000 clients, through nginx", "broadcast, last, ms", "CPU of asgi, µs a frame",
             "CPU of nginx, µs a frame", "CPU of nginx, ms a connection"),
            (
                (
                    text,
                    data.cell(workload, "single-1000", "sluice-nginx", "last_ms"),
                    data.cell(workload, "single-1000", "sluice-nginx", "server_us_per_frame"),
                    data.cell(workload, "single-1000", "sluice-nginx", "nginx_us_per_frame"),
                    data.cell(workload, "connect-1000", "sluice-nginx", "nginx_us", 1e-3),
                )
                for workload, text in texts.items()
                if data.has(workload)
            ),
        )  # fmt: skip


def _sizing(data: Data) -> Iterator[str]:
    yield from heading("Sizing")
    measured = data.has("broadcast") and "sluice-nginx" in data.servers("broadcast", "idle-5000")
    if not (measured and is_modelled(data, "sluice-nginx", "nginx")):
        yield from _missing("broadcast")
        return
    yield from paragraph(
        """Computed by the model, for idle clients and for updates to all of them. *Cores* are those that asgi
        and nginx keep busy at the given number of updates a second to all clients. One asgi and one nginx
        worker can use one core each, so a share near 1 is the limit: add a replica of asgi before it. Memory
        is that of idle connections. A reconnect storm needs more: see the peak above. PostgreSQL, RabbitMQ,
        Gunicorn and Celery come on top: their limits are in [compose.yaml](../../compose.yaml)."""
    )
    asgi = broadcast_cost(data, "sluice-nginx", "server")
    nginx = broadcast_cost(data, "sluice-nginx", "nginx")
    idle = {
        (who, name): data.median("broadcast", "idle-5000", "sluice-nginx", f"{who}_{name}")
        for who in ("server", "nginx")
        for name in ("kib", "us_per_s", "base_mib")
    }

    def row(clients: int, updates: float) -> tuple[str, ...]:
        cores = {
            who: idle[who, "us_per_s"] * clients / 1e6 + updates * model.at(clients) / 1000
            for who, model in (("server", asgi), ("nginx", nginx))
        }
        memory = {who: idle[who, "base_mib"] + idle[who, "kib"] * clients / 1024 for who in cores}
        return (
            f"{clients:,}",
            f"{updates:g}",
            f"{cores['server']:.2f}",
            f"{cores['nginx']:.2f}",
            f"{memory['server']:.0f} MiB",
            f"{memory['nginx']:.0f} MiB",
            f"{clients + 512:,}",
            f"{2 * clients + 512:,}",
        )

    yield from table(
        (
            "clients",
            "updates a second",
            "cores: asgi",
            "nginx",
            "memory: asgi",
            "nginx",
            "files: asgi",
            "nginx",
        ),
        (row(clients, updates) for clients in _USERS for updates in (0.1, 1, 10)),
        left=0,
    )
    yield from paragraph(
        """Above 5,000 clients, raise `MAX_CLIENTS` and `CHANNELS_PER_ADDRESS`
        ([environment variables](../reference/environment.md))."""
    )


def _breaks(data: Data) -> Iterator[str]:
    yield from heading("What breaks first")
    if data.has("storms"):
        runs = data.data["storms"]["runs"]
        killed = sum(sum(data.values("storms", case, "sluice-nginx", "killed")) for case in CASES)
        late = sum(run["clients"] > run["back"] for run in runs)
        peak = max(run["services"]["asgi"]["peak_mib"] for run in runs)
        yield from item(
            f"""**A reconnect storm.** Of {len(runs)} storms, {late} left clients that were not back in time,
            and asgi was killed or restarted {killed:.0f} times in all. Its memory peaked at {peak:.0f} MiB
            of the `mem_limit` in [compose.yaml](../../compose.yaml).""",
            "1.",
        )
    if is_modelled(data, "sluice-nginx", "nginx"):
        asgi = broadcast_cost(data, "sluice-nginx", "server")
        nginx = broadcast_cost(data, "sluice-nginx", "nginx")
        yield from item(
            f"""**CPU, with updates to all.** To 5,000 clients, one core lasts for
            {number_of(1000 / asgi.at(5000))} updates a second in asgi, and for
            {number_of(1000 / nginx.at(5000))} in nginx. Beyond that, updates arrive later.""",
            "2.",
        )
    if data.has("requests"):
        alone = data.median("requests", "alone", "sluice-nginx", "p99_ms")
        beside = data.median("requests", "broadcast", "sluice-nginx", "p99_ms")
        yield from item(
            f"""**Pages, beside broadcasts.** Where all services share the cores, the p99 of a page goes from
            {number_of(alone)} to {number_of(beside)} ms while broadcasts follow each other.""",
            "3.",
        )
    yield ""


_SECTIONS: Final = (_head, _broadcast, _storms, _site, _growth, _sizing, _breaks)
_COSTS: Final = (
    ("sluice", "server", "asgi, directly"),
    ("sluice-nginx", "server", "asgi, behind nginx"),
    ("sluice-nginx", "nginx", "nginx"),
    ("nchan", "server", "nchan"),
)
_TIMES: Final = ("back_p50_s", "back_p95_s", "back_last_s", "after_up_s", "not_back")
_COSTS_OF_STORM: Final = (
    "failed",
    "polls",
    "lost",
    "peak_mib",
    "killed",
    "requests_before_p99_ms",
    "requests_p99_ms",
)
_VERSIONS: Final = (
    "channels",
    "channels-rabbitmq",
    "channels_redis",
    "daphne",
    "uvicorn",
    "ws",
    "socket.io",
    "libnginx-mod-nchan",
    "nodejs",
)
_PUBLISHING: Final = (
    "1 thread, 1 stream",
    "8 threads, 1 stream",
    "8 threads, 100 streams",
    "1 thread, 50 updates a commit",
)
_WORKLOADS: Final = (
    "broadcast",
    "storms",
    "message",
    "requests",
    "publishing",
    "streams",
    "replicas",
    "tls",
    "ways",
)


def _modelled(data: Data) -> list[tuple[str, str, str]]:
    return [one for one in _COSTS if is_modelled(data, *one[:2])]


def _measured(data: Data) -> list[str]:
    return [name for name in _WORKLOADS if data.has(name)]


def _middle(values: Sequence[float], factor: float = 1.0) -> str:
    return number_of(factor * statistics.median(values)) if values else "–"


def _missing(workload: str) -> Iterator[str]:
    yield from paragraph(f'Not measured yet: `make bench ARGS="--only {workload}"`, then `make figures`.')


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
            if rows:
                found[name] = bars(title, unit, rows)
        lines = [(text, broadcasts(data, server, who)) for server, who, text in _modelled(data)]
        found["growth.svg"] = curves("CPU of a broadcast", "clients", "ms", lines)
    if data.has("storms"):
        storms: list[tuple[str, list[tuple[float, float]]]] = []
        for case, text in CASES.items():
            runs = [run for run in data.data["storms"]["runs"] if run.get("name", run["case"]) == case]
            if runs and case != "away":  # which takes minutes by itself
                ordered = sorted(runs, key=lambda run: (-run["back"], run["back_s"]["last"]))
                storms.append((text, ordered[(len(ordered) - 1) // 2]["curve"]))
        found["storms.svg"] = curves("Clients that are back (the median run)", "seconds", "clients", storms)
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
