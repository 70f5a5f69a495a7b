"""Ordinary Channels consumers, mounted beside the updates and protected by the hub."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from websockets.exceptions import InvalidStatus

from updates_lab.site import Person, Served, Site

PATH = "/channels/echo/"


def test_a_consumer_is_served_and_knows_the_user(served: Served, person: Person) -> None:
    with served.connect(person, path=PATH) as socket:
        assert socket.frame() == {"user": person.name}
        socket.send({"a": 1})
        assert socket.frame() == {"a": 1}


def test_a_page_of_another_site_does_not_reach_it(served: Served, person: Person) -> None:
    with pytest.raises(InvalidStatus) as refused:
        served.connect(person, path=PATH, origin="https://evil.example")
    assert refused.value.response.status_code == 403


def test_an_anonymous_client_does_not_reach_it(served: Served) -> None:
    with served.connect(session="x" * 32, path=PATH) as socket:
        assert socket.close_code() == 4001


def test_signing_out_closes_the_connection(served: Served, site: Site, person: Person) -> None:
    with served.connect(person, path=PATH) as socket:
        socket.frame()
        site.sign_out(person.session)
        assert socket.close_code() == 4009


def test_a_consumer_that_fails_is_closed_with_1011_and_affects_no_other(
    serve: Callable[..., Served], site: Site, person: Person
) -> None:
    served = serve(HUBSITE_LIMITS='{"POLL_SECONDS": 0.2}')
    with served.connect(person, path=PATH) as socket, served.connect(person) as neighbour:
        neighbour.hello()
        socket.frame()
        socket.send({"fail": True})
        assert socket.close_code() == 1011
        site.send(person.stream, 1)
        assert neighbour.numbers(1) == [1]


def test_a_worker_runs_inside_a_development_server(serve: Callable[..., Served], person: Person) -> None:
    served = serve(HUBSITE_DEBUG="yes")
    for _ in range(2):
        with served.connect(person, path="/channels/asker/") as socket:
            for number in range(3):
                socket.send({"number": number})
                assert socket.frame() == {"number": 2 * number}
    assert served.text().count("the channel layer is in memory") <= 1


def test_no_worker_runs_inside_a_server_in_production(served: Served, person: Person) -> None:
    with served.connect(person, path="/channels/asker/") as socket:
        socket.send({"number": 1})
        assert socket.is_quiet(0.5)
