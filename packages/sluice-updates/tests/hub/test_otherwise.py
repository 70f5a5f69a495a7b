"""What is outside /channels/ is the project's own application's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from updates_lab.site import Person, Served, Site, running

pytestmark = pytest.mark.servers
FOREIGN = "https://evil.example"


@pytest.fixture(scope="module")
def own(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A project with WebSockets of its own below /ws/."""
    log = tmp_path_factory.mktemp("own") / "server.log"
    with running(site, log, "-m", "sluice_updates.server", "hubsite.asgi:with_sockets") as served:
        yield served
        assert "Traceback" not in served.text()


def test_its_websockets_are_served_and_nothing_is_checked_before(own: Served, person: Person) -> None:
    for socket in (own.connect(path="/ws/open/", origin=FOREIGN), own.connect(person, path="/ws/open/")):
        with socket:
            assert socket.frame() == {"user": None}
            socket.send({"a": 1})
            assert socket.frame() == {"a": 1}


def test_guarded_ones_are_for_the_sites_pages_and_users_only(own: Served, person: Person) -> None:
    with own.connect(person, path="/ws/guarded/echo/") as socket:
        assert socket.frame() == {"user": person.name}
    with own.connect(path="/ws/guarded/echo/") as socket:
        assert socket.close_code() == 4001
    with pytest.raises(InvalidStatus) as refused:
        own.connect(person, path="/ws/guarded/echo/", origin=FOREIGN)
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize("path", ["/channels/own/", "/channels/ws/open/", "/channels/"])
def test_it_gets_nothing_below_channels(own: Served, person: Person, path: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        own.connect(person, path=path)
    assert refused.value.response.status_code == 404


def test_updates_are_where_they_always_are(own: Served, site: Site, person: Person) -> None:
    with own.connect(person) as socket:
        socket.hello()
        site.send(person.stream, 7)
        assert socket.numbers(1) == [7]


def test_its_other_requests_are_its_own(own: Served) -> None:
    assert own.get("/ws/open/")[::2] == (404, b"Not found.\n")


@pytest.mark.parametrize("path", ["/ws/open/", "/"])
def test_a_websocket_is_not_found_where_django_serves_the_rest(
    serve: Callable[..., Served], person: Person, tmp_path: Path, path: str
) -> None:
    served = serve("-m", "sluice_updates.server", "hubsite.asgi:with_site")
    with pytest.raises(InvalidStatus) as refused:
        served.connect(person, path=path)
    assert refused.value.response.status_code == 404
    assert "Traceback" not in served.text()


def test_guarded_ones_are_closed_with_1012_at_a_restart(serve: Callable[..., Served], person: Person) -> None:
    served = serve("-m", "sluice_updates.server", "hubsite.asgi:with_sockets")
    with (
        served.connect(person, path="/ws/guarded/echo/") as guarded,
        served.connect(path="/ws/open/") as unguarded,
    ):
        guarded.frame(), unguarded.frame()
        served.signal()
        assert (guarded.close_code(), unguarded.close_code()) == (1012, 1012)
    assert served.end() == 0
