"""Silent clients are pinged, and vanished clients are forgotten."""

from __future__ import annotations

import time
from collections.abc import Callable

from harness.waiting import wait_until
from updates_lab.site import SOON, Events, Person, Served, Site

Serve = Callable[..., Served]


def test_after_a_silence_the_server_pings(serve: Serve, site: Site, person: Person) -> None:
    served = serve(HUBSITE_LIMITS='{"PING_SECONDS": 1, "POLL_SECONDS": 0.2}')
    with (
        served.connect(person) as socket,
        served.connect(person, subprotocols=[]) as old,
        Events(served, person) as events,
    ):
        hello = socket.frame()
        assert hello["payload"]["ping"] == 1
        events.next()
        began = time.monotonic()
        assert socket.frame() == {"event": "ping"}
        assert 0.5 < time.monotonic() - began < 3
        assert events.next() == {"data": {"event": "ping"}}
        assert socket.frame() == {"event": "ping"}
        site.send(person.stream, 1)
        assert old.numbers(1) == [1]  # and received no ping before it


def test_a_client_that_answers_no_ping_is_gone(serve: Serve, person: Person) -> None:
    served = serve(HUBSITE_LIMITS='{"PROTOCOL_PING_SECONDS": 1, "PONG_SECONDS": 1}')
    with served.raw() as vanished, served.connect(person) as neighbour:
        vanished.sendall(served.handshake(person))
        neighbour.hello()
        wait_until(lambda: served.health()[1]["connections"] == 2, SOON, "both")
        wait_until(lambda: served.health()[1]["connections"] == 1, 12, "the end of one")
        neighbour.send({"type": "ping"})
        assert neighbour.frame() == {"event": "pong"}


def test_each_ping_is_answered_though_some_are_delayed(serve: Serve, person: Person) -> None:
    served = serve(HUBSITE_LIMITS='{"PONGS_PER_SECOND": 40}')
    with served.connect(person) as socket:
        socket.hello()
        began = time.monotonic()
        for _ in range(100):
            socket.send({"type": "ping"})
        assert [socket.frame() for _ in range(100)] == [{"event": "pong"}] * 100
        assert time.monotonic() - began > 1  # the third forty belong to the third second


def test_too_many_pings_count_as_bad_frames(serve: Serve, person: Person) -> None:
    served = serve(HUBSITE_LIMITS='{"PONGS_OWED": 10}')
    with served.connect(person) as socket:
        socket.hello()
        for _ in range(100):
            socket.send({"type": "ping"})
        assert socket.close_code() == 4000
