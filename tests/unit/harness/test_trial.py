"""The fault suite's measurements: when a client had everything, and how long an update took."""

from __future__ import annotations

from faults.trial import reached

from harness.client.http import Place
from harness.client.ledger import Arrived, Connected, Hello
from harness.client.page import Page
from harness.client.positions import START, Position

STREAM = "user:7"


def at(offset: int) -> Position:
    return Position(offset, f"{offset:016x}") if offset else START


def page(since: int | None = None) -> Page:
    return Page("client", Place("localhost", 1), "", since=None if since is None else {STREAM: at(since)})


def hello(head: int, when: float) -> Hello:
    return Hello({STREAM: at(head), "all": START}, {STREAM: True, "all": None}, frozenset(), when)


def update(offset: int, when: float) -> Arrived:
    return Arrived(STREAM, at(offset), "new-message", {}, when)


def test_a_client_has_everything_when_the_last_update_of_it_arrived() -> None:
    client = page(since=3)
    client.ledger.entries += [Connected("sse", {}), hello(5, 1.0), update(4, 2.0)]
    assert reached(client, {STREAM: at(5)}) is None
    client.ledger.entries += [update(5, 3.0), update(6, 4.0)]
    assert reached(client, {STREAM: at(5), "user:8": at(9)}) == 3.0


def test_a_client_that_misses_nothing_has_everything_at_hello() -> None:
    client = page(since=5)
    assert reached(client, {STREAM: at(5)}) is None
    client.ledger.entries.append(hello(5, 1.5))
    assert reached(client, {STREAM: at(5), "all": START}) == 1.5


def test_one_without_a_position_begins_at_hellos_head() -> None:
    client = page()
    client.ledger.entries += [hello(5, 1.0), update(6, 2.0)]
    assert reached(client, {STREAM: at(5)}) == 1.0
    assert reached(client, {STREAM: at(6)}) == 2.0
