"""Wake-ups that are late, duplicated, lost, out of order or malformed. The poll is too slow to help here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from updates_lab.site import Person, Served, Site, Socket, running

Updates = list[Any]


@pytest.fixture(scope="module")
def served(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that polls so rarely that only wake-ups matter."""
    log = tmp_path_factory.mktemp("wake_ups") / "server.log"
    with running(site, log, HUBSITE_LIMITS='{"POLL_SECONDS": 60}') as served:
        yield served
        assert served.stop() == 0
        assert "Traceback" not in served.text(), served.text()


@pytest.fixture
def socket(served: Served, person: Person) -> Iterator[Socket]:
    """A client that follows its user's stream."""
    with served.connect(person) as socket:
        socket.hello()
        yield socket


@pytest.fixture
def updates(site: Site, person: Person, socket: Socket) -> Updates:
    """Five updates of that stream, committed after its hello and not announced."""
    site.send(person.stream, 1, 2, 3, 4, 5)
    return site.wake_ups(person.stream)


def test_in_order(served: Served, socket: Socket, updates: Updates) -> None:
    served.wake(updates[:3])
    served.wake(updates[3:])
    assert socket.numbers(5) == [1, 2, 3, 4, 5]


def test_out_of_order(served: Served, socket: Socket, updates: Updates) -> None:
    for update in (updates[1], updates[0], updates[4], updates[3], updates[2]):
        served.wake([update])
    assert socket.numbers(5) == [1, 2, 3, 4, 5]


def test_twice(served: Served, socket: Socket, updates: Updates) -> None:
    served.wake(updates[:2])
    served.wake(updates)
    served.wake(updates)
    assert socket.numbers(5) == [1, 2, 3, 4, 5]
    assert socket.is_quiet(0.2)


def test_some_are_lost(served: Served, socket: Socket, updates: Updates) -> None:
    served.wake([updates[0]])
    served.wake([updates[4]])
    assert socket.numbers(5) == [1, 2, 3, 4, 5]


def test_all_but_the_last_are_lost(served: Served, socket: Socket, updates: Updates) -> None:
    served.wake([updates[4]])
    assert socket.numbers(5) == [1, 2, 3, 4, 5]


def test_an_offset_with_another_tag(served: Served, socket: Socket, updates: Updates) -> None:
    served.wake(updates)
    stream, offset, _, frame = updates[2]
    served.wake([[stream, offset, "f" * 16, frame]])
    assert socket.numbers(5) == [1, 2, 3, 4, 5]
    assert socket.close_code() == 4010


def test_an_offset_from_nowhere(served: Served, socket: Socket, updates: Updates) -> None:
    stream, _, tag, frame = updates[0]
    served.wake([[stream, 10**9, tag, frame]])
    assert socket.numbers(5) == [1, 2, 3, 4, 5]
    assert socket.is_quiet(0.2)


@pytest.mark.parametrize(
    "nonsense", [None, 7, "x", [7], [[]], [["all"]], [["all", "x", "y", "z"]], {"a": 1}], ids=json.dumps
)
def test_malformed_wake_ups(served: Served, socket: Socket, updates: Updates, nonsense: object) -> None:
    served.wake(nonsense)
    served.wake(updates)
    assert socket.numbers(5) == [1, 2, 3, 4, 5]


def test_for_streams_without_a_subscriber(served: Served, site: Site, person: Person) -> None:
    site.send(person.stream, 1, 2)
    served.wake(site.wake_ups(person.stream))
    with served.connect(person, f"since={person.stream}/0-0") as socket:
        assert socket.hello()[person.stream]["recovered"] is True
        assert socket.numbers(2) == [1, 2]
        site.send(person.stream, 3)
        served.wake(site.wake_ups(person.stream)[2:])
        assert socket.numbers(1) == [3]
