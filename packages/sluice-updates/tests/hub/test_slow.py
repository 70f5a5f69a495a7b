"""A client that does not read is disconnected, and does not delay the others."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.waiting import wait_until
from sluice_updates.asgi.transport import CLOSE_SECONDS
from updates_lab.site import SOON, Person, Served, Site

SIZE = 30_000  # bytes per update, close to the maximum
COUNT = 120  # updates: more than any kernel buffers for a client with a small receive window

STOCK = (
    "-c",
    "import sys, daphne.cli; daphne.cli.CommandLineInterface().run(sys.argv[1:])",
    "--fd",
    "0",
    "hubsite.asgi:application",
)

pytestmark = pytest.mark.servers  # these tests wait for seconds


def test_a_client_that_reads_nothing_is_cut_with_4008(served: Served, site: Site, person: Person) -> None:
    with _silent(served, person) as silent, served.connect(person) as neighbour:
        neighbour.hello()
        memory = _resident_bytes(served)
        for number in range(COUNT):
            site.send(person.stream, number, size=SIZE)
            if number % 10 == 9:
                neighbour.numbers(10)  # it keeps up in spite of the silent client
        wait_until(lambda: served.health()[1]["counters"].get("closes{code=4008}"), SOON, "the cut")
        assert _resident_bytes(served) - memory < 8 * 1024 * 1024
        assert _last_close(silent) == 4008


@pytest.mark.parametrize("command", [(), STOCK], ids=["own", "stock"])
def test_an_event_stream_that_is_never_read_does_not_stay(
    serve: Callable[..., Served], site: Site, person: Person, command: tuple[str, ...]
) -> None:
    served = serve(*command, HUBSITE_LIMITS='{"STUCK_SECONDS": 1}')
    with socket.socket() as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        silent.connect(("127.0.0.1", served.port))
        # Our server leaves a request with Expect to Daphne.
        silent.sendall(
            b"GET /channels/updates/sse HTTP/1.1\r\nHost: localhost\r\nExpect: nothing\r\n"
            b"Cookie: sessionid=%b\r\n\r\n" % person.session.encode()
        )
        wait_until(lambda: served.health()[1]["people"], SOON, "the stream")
        for number in range(COUNT):
            site.send(person.stream, number, size=SIZE)
        wait_until(lambda: served.health()[1]["counters"].get("closes{code=4008}"), SOON, "the close")
        cut = select.poll()
        cut.register(silent, 0)  # errors only
        assert cut.poll(1000 * 6 * CLOSE_SECONDS)


def test_a_long_replay_follows_the_clients_pace(served: Served, site: Site, person: Person) -> None:
    for number in range(COUNT):
        site.send(person.stream, number, size=SIZE)
    with served.connect(person, f"since={person.stream}/0-0", max_size=None, max_queue=1) as slow:
        slow.hello()
        assert slow.numbers(COUNT) == list(range(COUNT))


def _silent(served: Served, person: Person) -> socket.socket:
    """A client that sends its handshake and then does not read, with the smallest possible buffer."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(8)
    client.connect(("127.0.0.1", served.port))
    client.sendall(served.handshake(person))
    received = b""
    while b'"hello"' not in received:
        received += client.recv(1024)
    return client


def _last_close(client: socket.socket) -> int:
    """The code of the close frame at the end of the remaining data."""
    received = b""
    while data := client.recv(65536):
        received = (received + data)[-4:]
        if received[:2] == b"\x88\x02":
            break
    assert received[:2] == b"\x88\x02", received
    return int.from_bytes(received[2:])


def _resident_bytes(served: Served) -> int:
    for line in Path(f"/proc/{served.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")
