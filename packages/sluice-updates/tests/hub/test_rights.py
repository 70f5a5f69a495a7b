"""A sign-out closes the connection, and no update reaches a client that may no longer read it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack

from harness.waiting import wait_until
from updates_lab.site import Person, Served, Site

PROMISED = 5.0  # seconds, for changes made through Django


def test_ended_sessions_close_their_connections_and_no_others(served: Served, site: Site) -> None:
    ways = ("sign_out", "change_password", "deactivate", "expire")
    people = {how: site.person() for how in ways}
    other = site.person()
    with ExitStack() as stack:
        sockets = {how: stack.enter_context(served.connect(person)) for how, person in people.items()}
        neighbour = stack.enter_context(served.connect(other))
        for socket in (*sockets.values(), neighbour):
            socket.hello()
        began = time.monotonic()
        for how, person in people.items():
            getattr(site, how)(person.session if how in ("sign_out", "expire") else person.name)
        assert {how: socket.close_code() for how, socket in sockets.items()} == dict.fromkeys(ways, 4009)
        assert time.monotonic() - began < PROMISED
        site.send(other.stream, 1)
        assert neighbour.numbers(1) == [1]


def test_one_session_of_two_ends(served: Served, site: Site, person: Person) -> None:
    again = Person(person.name, *site.sign_in(person.name))
    with served.connect(person) as here, served.connect(again) as there:
        here.hello(), there.hello()
        site.sign_out(person.session)
        assert here.close_code() == 4009
        site.send(person.stream, 1)
        assert there.numbers(1) == [1]


def test_a_user_who_leaves_a_group_gets_no_more_of_its_updates(
    served: Served, site: Site, person: Person
) -> None:
    group = f"g{person.id}"
    site.join(person.name, group)
    with served.connect(person, f"streams=project:{group},{person.stream}") as socket:
        assert "denied" not in socket.hello()[f"project:{group}"]
        site.send(f"project:{group}", 1)
        assert socket.numbers(1) == [1]
        ended = _subscriptions_ended(served)
        site.leave(person.name, group)
        assert socket.frame()["event"] == "streams-changed"
        wait_until(lambda: _subscriptions_ended(served) > ended, PROMISED, "the end of the subscription")
        site.send(f"project:{group}", 2)
        site.send(person.stream, 3)
        assert socket.numbers(1) == [3]


def test_a_user_who_loses_the_last_stream_is_closed_with_4003(
    served: Served, site: Site, person: Person
) -> None:
    group = f"g{person.id}"
    site.join(person.name, group)
    with served.connect(person, f"streams=project:{group}") as socket:
        socket.hello()
        began = time.monotonic()
        site.leave(person.name, group)
        assert socket.close_code() == 4003
        assert time.monotonic() - began < PROMISED


def test_rights_that_changed_unannounced_are_noticed_too(
    serve: Callable[..., Served], site: Site, person: Person
) -> None:
    served = serve(HUBSITE_LIMITS='{"JUDGE_SECONDS": 0.5, "POLL_SECONDS": 0.2}')
    group = f"g{person.id}"
    site.join(person.name, group)
    with served.connect(person, f"streams=project:{group}") as socket:
        socket.hello()
        site.leave(person.name, group, tell=False)
        assert socket.close_code() == 4003


def test_current_rights_decide_who_reads_history(served: Served, site: Site, person: Person) -> None:
    group = f"g{person.id}"
    site.send(f"project:{group}", 1)
    site.join(person.name, group)
    with served.connect(person, f"streams=project:{group}&since=project:{group}/0-0") as socket:
        assert socket.hello()[f"project:{group}"]["recovered"] is True
        assert socket.numbers(1) == [1]


def _subscriptions_ended(served: Served) -> int:
    return served.health()[1]["counters"].get("subscriptions_ended", 0)
