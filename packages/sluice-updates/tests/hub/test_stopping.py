"""Under another ASGI server, clients are told of a stop before the server cuts them, or waits for them.

`make asgi-servers` tries the real ones (tests/asgi_servers).
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from harness.waiting import wait_until
from updates_lab.site import SOON, Events, Person, Served, Site, environment

Serve = Callable[..., Served]
DAPHNE = ("-m", "daphne", "--port", "{port}", "hubsite.asgi:application")
HELLO, CLOSE, END, STOPS = '{"event": "hello"', '{"code": 1012}', "the stream ended", "the server stops"


@contextmanager
def little_server(site: Site, person: Person, how: str, **limits: str) -> Iterator[subprocess.Popen[str]]:
    """The least of a server, with one event stream that has its hello."""
    server = subprocess.Popen(
        [sys.executable, "-m", "hubsite.little_server", how, person.session],
        env=environment(DATABASE_URL=site.database_url, HUBSITE_LAYER="none", **limits),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        while HELLO not in (line := server.stdout.readline()):
            assert line, "it ended"
        yield server
    finally:
        server.kill()
        server.wait()


def rest(server: subprocess.Popen[str]) -> list[str]:
    """What it does until its end, in order."""
    assert server.stdout is not None
    text = server.stdout.read()
    return sorted((part for part in (CLOSE, END, STOPS) if part in text), key=text.index)


@pytest.mark.servers
@pytest.mark.parametrize("how", ["signal", "loop"])
def test_a_server_hears_of_the_signal_when_its_clients_have_been_told(
    site: Site, person: Person, how: str
) -> None:
    with little_server(site, person, how) as server:
        server.send_signal(signal.SIGTERM)
        assert rest(server) == [CLOSE, END, STOPS]
        assert server.wait(10) == 0


@pytest.mark.servers
def test_a_server_that_gets_no_signal_is_watched_for_the_end_of_listening(site: Site, person: Person) -> None:
    with little_server(site, person, "listener") as server:
        assert server.stdin is not None
        server.stdin.write("stop\n")
        server.stdin.flush()
        assert rest(server) == [STOPS, CLOSE, END]
        assert server.wait(10) == 0


def test_stock_daphne_sends_closes_and_runs_every_disconnect(serve: Serve, person: Person) -> None:
    served = serve(*DAPHNE)
    with (
        served.connect(person) as updates,
        served.connect(person, path="/channels/echo/") as echo,
        Events(served, person) as events,
    ):
        updates.hello(), echo.frame(), events.next()
        served.signal()
        assert (updates.close_code(), echo.close_code()) == (1012, 1012)
        assert events.next() == {"event": "close", "data": {"code": 1012}}
    assert served.end() == 0


def test_a_second_signal_ends_the_drain(serve: Serve, site: Site) -> None:
    slow = '{"CLOSES_SECONDS": 60}'  # the drain takes its most, 8 s
    served = serve(*DAPHNE, HUBSITE_LIMITS=slow)
    with ExitStack() as stack:
        sockets = [stack.enter_context(served.connect(site.person())) for _ in range(8)]
        for one in sockets:
            one.hello()
        began = time.monotonic()
        served.signal()
        served.signal()  # the same one, to the process and to its group
        wait_until(lambda: _closed(served) == 3, SOON, "two seconds of the drain")
        served.signal()
        assert served.end() == 0
        assert time.monotonic() - began < 6
        assert 3 <= sum(one.close_code() == 1012 for one in sockets) < 8


def _closed(served: Served) -> int:
    counters = served.health()[1]["counters"]
    return sum(number for name, number in counters.items() if name.startswith("closes"))
