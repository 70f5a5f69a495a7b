"""Many clients at once: those who wait get their turn, and everybody else is served meanwhile."""

from __future__ import annotations

import re
import socket
import struct
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from harness.waiting import wait_until
from updates_lab.site import SOON, Events, Person, Served, Site

Serve = Callable[..., Served]

TWO_AT_ONCE = '{"HANDSHAKES_AT_ONCE": 2}'
SLOW = "streams=all,slow"  # the site's own rule of rights takes 50 ms for it


@pytest.mark.parametrize("application", ["application", "wrapped"])
def test_all_get_their_turn_and_health_is_answered(serve: Serve, person: Person, application: str) -> None:
    served = serve(
        "-m",
        "sluice_updates.server",
        f"hubsite.asgi:{application}",
        HUBSITE_LIMITS=TWO_AT_ONCE,
    )
    with ExitStack() as stack:
        clients = [stack.enter_context(served.raw()) for _ in range(30)]
        for client in clients:
            client.sendall(served.handshake(person, SLOW))
        began = time.monotonic()
        assert served.health()[0] == 200
        assert time.monotonic() - began < 1, "health waits for no handshake"
        for client in clients:
            assert b"hello" in _received(client, b"hello")


def test_who_gives_up_takes_nobodys_turn(serve: Serve, person: Person) -> None:
    served = serve(HUBSITE_LIMITS=TWO_AT_ONCE)
    with ExitStack() as stack:
        for _ in range(100):
            client = stack.enter_context(served.raw())
            client.sendall(served.handshake(person, SLOW))
        stack.close()  # 100 × 50 ms of work, if all of it were done
        began = time.monotonic()
        with served.connect(person) as one:
            one.hello()
        assert time.monotonic() - began < 3


def test_who_waits_for_too_long_is_told_when_to_come_back(serve: Serve, site: Site) -> None:
    served = serve(HUBSITE_LIMITS='{"HANDSHAKES_AT_ONCE": 1, "ADMISSION_SECONDS": 0.5}')
    people = [site.person() for _ in range(2)]
    with ExitStack() as stack:
        clients = [stack.enter_context(served.raw()) for _ in range(60)]
        for client in clients:
            client.sendall(served.handshake(people[0], SLOW))
        events = Events(served, people[1])
        stack.enter_context(events)
        outcomes = [_received(client, b"hello", b"retry=") for client in clients]
        refused = [int(found[1]) for text in outcomes if (found := re.search(rb"retry=(\d+)", text))]
        assert any(b"hello" in text for text in outcomes)
        assert len(refused) > 20
        assert len(set(refused)) > len(refused) / 2, "they don't come back at the same moment"
        for text in outcomes:
            if b"retry=" in text:
                assert text.startswith(b"HTTP/1.1 101 ")
                assert struct.pack("!H", 1013) + b"retry=" in text
        first = events.next()
        assert first is not None
        if first.get("event") == "close":
            assert (first["data"]["code"], first["data"]["retry"] > 0) == (1013, True)


def test_a_foreign_page_hears_nothing_while_others_wait(serve: Serve, person: Person) -> None:
    served = serve(HUBSITE_LIMITS='{"HANDSHAKES_AT_ONCE": 1, "ADMISSION_SECONDS": 0.5}')
    with ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(served.raw()).sendall(served.handshake(person, SLOW))
        client = stack.enter_context(served.raw())
        client.sendall(re.sub(rb"Origin: [^\r]*", b"Origin: https://evil.example", served.handshake(person)))
        status = _received(client, b"\r\n\r\n").split(b" ", 2)[1]
        assert status in (b"403", b"503")


def test_requests_that_daphne_refuses_take_nobodys_place(serve: Serve, person: Person) -> None:
    served = serve(HUBSITE_LIMITS=TWO_AT_ONCE)
    wrong = served.handshake(person).replace(b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Version: 12")
    began = time.monotonic()
    for _ in range(20):
        with served.raw() as client:
            client.sendall(wrong)
            assert _received(client, b"\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    with served.connect(person) as one:
        one.hello()
    assert time.monotonic() - began < 4


@pytest.mark.parametrize(
    "request_line",
    [
        "GET /channels/updates/sse HTTP/1.1\r\nOrigin: https://evil.example",
        "GET /channels/updates/sse HTTP/1.1\r\nContent-Length: 9",
        "GET /channels/healthz HTTP/1.1\r\nUpgrade: h2c",
        "GET /channels/healthz HTTP/1.1\r\nUpgrade: websocket",
        "HEAD /channels/healthz HTTP/1.1",
    ],
)
def test_no_other_request_holds_a_place(serve: Serve, person: Person, request_line: str) -> None:
    served = serve(HUBSITE_LIMITS=TWO_AT_ONCE)
    with ExitStack() as stack:
        for _ in range(4):
            client = stack.enter_context(served.raw())
            client.sendall(f"{request_line}\r\nHost: 127.0.0.1:{served.port}\r\n\r\n".encode())
        began = time.monotonic()
        with served.connect(person) as one:
            one.hello()
        assert time.monotonic() - began < 3


def test_slow_handshakes_of_one_person_do_not_fail_those_of_others(serve: Serve, site: Site) -> None:
    served = serve()
    slow, others = site.person(), [site.person() for _ in range(5)]
    with ExitStack() as stack:
        for _ in range(55):  # × 50 ms: longer than a handshake may take
            stack.enter_context(served.raw()).sendall(served.handshake(slow, SLOW))
        clients = [stack.enter_context(served.raw()) for _ in others]
        for client, person in zip(clients, others, strict=True):
            client.sendall(served.handshake(person))
        for client in clients:
            assert b"hello" in _received(client, b"hello", struct.pack("!H", 1013))


def test_many_slow_handshakes_do_not_fail_each_other(serve: Serve, site: Site) -> None:
    """Without a budget, a large batch would exceed the time after which the database counts as frozen."""
    served = serve()
    for _ in range(4):  # quick ones, after which batches are large
        with served.connect(site.person()) as one:
            one.hello()
    people = [site.person() for _ in range(60)]  # 60 × 50 ms of rights
    with ExitStack() as stack:
        clients = [stack.enter_context(served.raw()) for _ in people]
        for client, person in zip(clients, people, strict=True):
            client.sendall(served.handshake(person, SLOW))
        answers = [_received(client, b"hello", struct.pack("!H", 1013)) for client in clients]
    assert sum(b"hello" in answer for answer in answers) > 25
    assert "database_stalls" not in served.health()[1]["counters"]


def test_pings_that_arrive_together_are_answered_by_one_pong(serve: Serve, person: Person) -> None:
    served = serve()
    with served.raw() as client:
        client.sendall(served.handshake(person))
        _received(client, b"hello")
        client.sendall(b"\x89\x81\0\0\0\0a" * 500 + b"\x89\x81\0\0\0\0z")
        received = _received(client, b"\x8a\x01z")
        assert received.count(b"\x8a\x01") < 100


def test_those_who_wait_while_it_stops_are_told(serve: Serve, person: Person) -> None:
    served = serve(HUBSITE_LIMITS=TWO_AT_ONCE)
    with ExitStack() as stack:
        clients = [stack.enter_context(served.raw()) for _ in range(30)]
        for client in clients:
            client.sendall(served.handshake(person, SLOW))
        assert b"hello" in _received(clients[0], b"hello")
        restart = struct.pack("!H", 1012)
        began = time.monotonic()
        served.signal()
        for client in clients[10:]:  # the others may have been greeted before
            assert restart in _received(client, restart)
        assert time.monotonic() - began > 1, "they don't all come to the other process at once"
        assert served.end() == 0


def test_an_error_of_the_sites_own_rule_concerns_one_client_only(serve: Serve, site: Site) -> None:
    served = serve()
    people = [site.person() for _ in range(20)]
    with ExitStack() as stack:
        clients = [stack.enter_context(served.raw()) for _ in people]
        for number, (client, person) in enumerate(zip(clients, people, strict=True)):
            client.sendall(served.handshake(person, "streams=broken" if number == 7 else ""))
        for number, client in enumerate(clients):
            wanted = struct.pack("!H", 1011) if number == 7 else b"hello"
            assert wanted in _received(client, wanted)


def test_a_burst_arrives_whole_and_in_order_by_each_transport(
    serve: Serve, site: Site, person: Person
) -> None:
    served = serve()
    with (
        served.connect(person) as one,
        served.connect(person, subprotocols=[]) as old,
        Events(served, person) as events,
    ):
        one.hello()
        events.next()
        wait_until(lambda: served.health()[1]["connections"] == 3, SOON, "all three")
        site.send(person.stream, *range(300))
        served.wake(site.wake_ups(person.stream))
        assert one.numbers(300) == list(range(300))
        assert old.numbers(300) == list(range(300))
        received = [events.next() for _ in range(300)]
        assert [event["data"]["payload"]["message_id"] for event in received if event] == list(range(300))
        offsets = [event["id"].split("/")[1].split("-")[0] for event in received if event]
        assert offsets == [str(number) for number in range(1, 301)], "each has the position after it"
        assert served.health()[1]["counters"]["coalesced_writes"] >= 3


def test_after_a_close_nothing_more_is_read(serve: Serve, site: Site, person: Person) -> None:
    served = serve()
    with served.raw() as client:
        client.sendall(served.handshake(None))
        assert struct.pack("!H", 4001) in _received(client, struct.pack("!H", 4001))
        frame = b"\x81\x81\0\0\0\0x" * 10_000
        with pytest.raises(OSError):
            for _ in range(1000):
                client.sendall(frame)


def _received(client: socket.socket, *wanted: bytes) -> bytes:
    """What arrives up to one of these, or to the end."""
    received = b""
    while not any(part in received for part in wanted):
        data = client.recv(65536)
        if not data:
            break
        received += data
    return received
