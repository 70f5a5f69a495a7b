"""A client that does not read is disconnected, and does not delay the others."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from harness.waiting import wait_until
from updates_lab.site import SOON, Person, Served, Site

SIZE = 30_000  # bytes per update, close to the maximum
COUNT = 120  # updates: more than any kernel buffers for a client with a small receive window

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
