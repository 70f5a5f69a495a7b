"""Clients that misbehave in large numbers: they are refused as documented, and affect no other.

These tests come last: Daphne keeps some of the memory that 10,000 waiting handshakes take.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench.client import LoadClient, Person
from bench.deployed import Deployed
from bench.storm import Watch
from harness.client.http import BadAnswer, Place
from harness.client.websocket import Closed, Refused, WebSocket
from harness.faults import PAUSE
from harness.stack import Stack

from .conftest import OTHERS, Live
from .crowd import Crowd

pytestmark = pytest.mark.timeout(300, func_only=True)

UNFINISHED = 5000
HEAD_SECONDS = 20.0  # after which Daphne cuts an unfinished head, and a second
LOOPS = 24
LOOPING = 15.0  # seconds
WAITING = 10_000  # handshakes that wait in one process, at most
TOO_MANY = 12_000
HEAD_BYTES = 8000  # about the most that nginx passes on
PEAK = 384.0  # MiB, the memory of asgi's container
LATE = 2000.0  # ms, in which PROTOCOL delivers an update
TRY_LATER = 1013


@pytest.mark.parametrize("way", ["nginx", "asgi"])
def test_handshakes_that_nobody_finishes(deployed: Deployed, others: Live, way: str) -> None:
    place = deployed.place(way)
    begin = f"GET {place.path} HTTP/1.1\r\nHost: {place.host}\r\nUpgrade: webso".encode()
    with (
        others() as live,
        unharmed(deployed, live),
        Crowd(place.address, place.port, UNFINISHED, begin) as crowd,
    ):
        crowd.run(5)
        assert not crowd.ended
        newcomers(deployed, others)
        if way == "asgi":
            crowd.run(HEAD_SECONDS)
            assert len(crowd.ended) == UNFINISHED, "Daphne cuts them"


def test_clients_that_reconnect_in_a_tight_loop(deployed: Deployed, others: Live) -> None:
    to = deployed.place()
    host, _, port = to.host.partition(":")
    place = Place(host, int(port or 80), through=(to.address, to.port))
    people = deployed.people(OTHERS + LOOPS)[OTHERS:]
    with others() as live, unharmed(deployed, live):
        ends = asyncio.run(_loops(place, people))
        assert ends["hello"] > LOOPS, ends
    print(ends)


def test_more_handshakes_than_may_wait(deployed: Deployed, others: Live, target: Stack) -> None:
    """PostgreSQL does not answer, so no handshake can be finished. Those above the limit are told when to
    return.
    """
    place = deployed.place("asgi")
    (person,) = deployed.people(1)
    head = (
        f"GET {place.path} HTTP/1.1\r\nHost: {place.host}\r\nOrigin: {place.origin}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nCookie: {person.cookie}; pad="
    ).encode()
    head += b"x" * (HEAD_BYTES - len(head)) + b"\r\n\r\n"
    with (
        others() as live,
        unharmed(deployed, live),
        PAUSE(target.service("postgres")),
        Crowd(place.address, place.port, TOO_MANY, head) as crowd,
    ):
        crowd.run(6)
        at_once = sum(_is_told(text) for text in crowd.received.values())
        assert at_once >= TOO_MANY - WAITING - 500, at_once
        crowd.run(12)
        told = sum(_is_told(text) for text in crowd.received.values())
        assert told >= TOO_MANY * 0.9, f"{told} were told when to come back"
    newcomers(deployed, others)


@contextmanager
def unharmed(deployed: Deployed, live: LoadClient) -> Iterator[None]:
    """Assert that these clients keep their connections and get an update in time, and that no program is
    killed or restarted, or stops answering to its health check.
    """
    publisher = deployed.publisher()
    live.ask("mark")
    live.ask("report")
    with Watch(deployed) as watch:
        yield
        assert not publisher.publish(["all"], number=1)["failed"]
        live.ask(f"await {OTHERS} 20000")
        report = live.ask("report")
    publisher.close()
    status, seen = live.ask("status"), watch.summary()
    print(seen, report["delay"])
    assert status["dropped"] == 0, status
    assert report["delivered"] == OTHERS and report["delay"]["last"] <= LATE, report
    for name, used in seen["services"].items():
        assert used["restarts"] == used["killed_for_memory"] == 0, (name, used)
    assert seen["services"]["asgi"]["peak_mib"] < PEAK
    assert seen["health"]["longest_silence_s"] <= 5


def newcomers(deployed: Deployed, others: Live) -> None:
    """As many clients again connect as usual."""
    began = time.monotonic()
    with others():
        pass
    assert time.monotonic() - began < 20


async def _loops(place: Place, people: list[Person]) -> dict[str, int]:
    ends = {"hello": 0, "failed": 0}
    end = time.monotonic() + LOOPING

    async def loop(cookies: str) -> None:
        while time.monotonic() < end:
            try:
                async with asyncio.timeout(10):
                    socket = await WebSocket.connect(place, "/channels/updates/", cookies=cookies)
                    await socket.receive()
                    socket.abort()
                ends["hello"] += 1
            except (OSError, asyncio.IncompleteReadError, BadAnswer, Closed, Refused, TimeoutError):
                ends["failed"] += 1

    await asyncio.gather(*(loop(person.cookie) for person in people))
    return ends


def _is_told(text: bytes) -> bool:
    """Whether this is an upgrade and a close with 1013 and a time."""
    return text.startswith(b"HTTP/1.1 101 ") and struct.pack("!H", TRY_LATER) + b"retry=" in text
