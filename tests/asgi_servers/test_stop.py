"""Each ASGI server delivers updates, and its stop closes every connection in order and ends with status 0.

`make asgi-servers` runs this. It writes results/asgi-servers.md, the table of
docs/how-to/another-asgi-server.md.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from asgi_servers.conftest import REQUIREMENTS
from asgi_servers.servers import SERVERS, Server
from harness.waiting import wait_until
from updates_lab.site import Events, Served, Site, Socket, running

SOCKETS, STREAMS = 20, 3
RESULTS = Path(os.environ.get("SLUICE_RESULTS", "/results"))
HEADING = (
    "| server | version | WebSockets | event streams | seconds to exit | status |\n|---|---|---|---|---|---|"
)


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Server:
    return SERVERS[request.param]


@pytest.fixture(scope="session")
def rows() -> Iterator[dict[str, str]]:
    """The lines of the table, by server."""
    rows: dict[str, str] = {}
    yield rows
    if set(rows) == set(SERVERS) and RESULTS.is_dir():
        (RESULTS / "asgi-servers.md").write_text("\n".join([HEADING, *rows.values()]) + "\n")


@pytest.mark.parametrize("whole_group", [False, True], ids=["to its first process", "to all processes"])
def test_its_stop_closes_everything(
    server: Server,
    site: Site,
    python_path: str,
    tmp_path: Path,
    rows: dict[str, str],
    whole_group: bool,
) -> None:
    people = [site.person() for _ in range(SOCKETS)]
    with _started(server, site, python_path, tmp_path) as served, ExitStack() as stack:
        sockets = [stack.enter_context(served.connect(person)) for person in people]
        old = stack.enter_context(served.connect(people[0], subprotocols=[]))
        consumer = stack.enter_context(served.connect(people[0], path="/channels/echo/"))
        streams = [stack.enter_context(Events(served, person)) for person in people[:STREAMS]]
        _hear(site, sockets, old, consumer, streams)

        began = time.monotonic()
        for process in [served.process.pid, *(_children(served.process.pid) if whole_group else [])]:
            os.kill(process, signal.SIGTERM)
        codes = Counter(socket.close_code() for socket in [*sockets, old, consumer])
        ends = [[stream.next(), stream.next()] for stream in streams]
        status = served.end()
        seconds = time.monotonic() - began
    assert codes == {1012: SOCKETS + 2}
    assert ends == [[{"event": "close", "data": {"code": 1012}}, None]] * STREAMS
    assert status == 0
    assert 1.5 < seconds < 10
    assert "Traceback" not in served.text(), served.text()
    if not whole_group:
        cells = (server.name, _version(server), "1012", "close event", f"{seconds:.1f}", str(status))
        rows[server.name] = f"| {' | '.join(cells)} |"


def test_without_clients_it_stops_soon(server: Server, site: Site, python_path: str, tmp_path: Path) -> None:
    with _started(server, site, python_path, tmp_path) as served:
        began = time.monotonic()
        assert served.stop() == 0
        assert time.monotonic() - began < 8
    assert "Traceback" not in served.text(), served.text()


@contextmanager
def _started(server: Server, site: Site, python_path: str, folder: Path) -> Iterator[Served]:
    """The server, with all of its workers."""
    with running(site, folder / "log", *server.words, PYTHONPATH=python_path) as served:
        if server.started:
            wait_until(lambda: served.text().count(server.started) >= server.workers, 20, "its workers")
        yield served


def _hear(site: Site, sockets: list[Socket], old: Socket, consumer: Socket, streams: list[Events]) -> None:
    """Let an update reach each of them."""
    for socket in sockets:
        socket.hello()
    for stream in streams:
        stream.next()
    consumer.frame()
    site.send("all", 5)
    assert [socket.numbers(1) for socket in [*sockets, old]] == [[5]] * (SOCKETS + 1)
    for stream in streams:
        event = stream.next()
        assert event is not None and event["data"]["payload"]["message_id"] == 5


def _children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def _version(server: Server) -> str:
    found = re.search(rf"^{server.package}==([\w.]+)", REQUIREMENTS.read_text(), re.MULTILINE)
    return found[1] if found else "–"
