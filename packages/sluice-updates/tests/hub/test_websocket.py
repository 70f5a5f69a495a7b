"""The WebSocket, as PROTOCOL.md specifies it, over a real Daphne."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from websockets.exceptions import InvalidStatus

from updates_lab.site import Person, Served, Site

FORGED = "0123456789abcdef"


def test_hello_has_the_heads_of_the_users_own_stream_and_of_all(
    served: Served, site: Site, person: Person
) -> None:
    site.send(person.stream, 1)
    with served.connect(person) as socket:
        frame = socket.frame()
    assert frame["payload"]["ping"] == 25
    assert frame["payload"]["retry"] >= 2000
    assert frame["payload"]["streams"] == {
        name: {"head": head} for name, head in site.heads(person.stream, "all").items()
    }


def test_an_update_arrives_once_committed(served: Served, site: Site, person: Person) -> None:
    with served.connect(person) as socket:
        socket.hello()
        site.send(person.stream, 7)
        frame = socket.frame()
    assert frame == {
        "event": "new-message",
        "payload": {"message_id": 7, "message_title": ""},
        "stream": person.stream,
        "position": site.heads(person.stream)[person.stream],
    }


def test_what_was_missed_is_replayed_and_live_updates_follow(
    served: Served, site: Site, person: Person
) -> None:
    site.send(person.stream, *range(250))
    with served.connect(person, f"since={person.stream}/0-0") as socket:
        assert socket.hello()[person.stream]["recovered"] is True
        site.send(person.stream, *range(250, 260))
        assert socket.numbers(260) == list(range(260))


def test_a_second_client_is_replayed_from_memory_what_the_first_saw_live(
    served: Served, site: Site, person: Person
) -> None:
    with served.connect(person) as first:
        start = first.hello()[person.stream]["head"]
        site.send(person.stream, 1, 2, 3)
        assert first.numbers(3) == [1, 2, 3]
        with served.connect(person, f"since={person.stream}/{start}") as second:
            assert second.hello()[person.stream] == {
                "head": site.heads(person.stream)[person.stream],
                "recovered": True,
            }
            assert second.numbers(3) == [1, 2, 3]
            site.send(person.stream, 4)
            assert first.numbers(1) == second.numbers(1) == [4]


@pytest.mark.parametrize("since", [f"2-{FORGED}", f"1-{FORGED}", f"3-{FORGED}", f"9007199254740991-{FORGED}"])
def test_a_position_that_is_not_the_streams_own_is_not_recovered(
    served: Served, site: Site, person: Person, since: str
) -> None:
    site.send(person.stream, 1, 2)
    with served.connect(person) as knower:  # a follower, so that the hub's memory is tested too
        knower.hello()
        site.send(person.stream, 3)
        knower.numbers(1)
        with served.connect(person, f"since={person.stream}/{since}") as socket:
            assert socket.hello()[person.stream] == {
                "head": site.heads(person.stream)[person.stream],
                "recovered": False,
            }
            site.send(person.stream, 4)
            assert socket.numbers(1) == [4]


def test_positions_in_streams_that_were_not_asked_for_are_ignored(served: Served, person: Person) -> None:
    with served.connect(person, f"streams=all&since={person.stream}/5-{FORGED}") as socket:
        assert list(socket.hello()) == ["all"]


def test_streams_of_others_are_denied_and_the_rest_is_served(
    served: Served, site: Site, person: Person
) -> None:
    other = site.person()
    with served.connect(person, f"streams={other.stream},project:none,{person.stream}") as socket:
        streams = socket.hello()
        assert streams.pop(person.stream) == {"head": "0-0"}
        assert streams == {other.stream: {"denied": True}, "project:none": {"denied": True}}
        site.send(other.stream, 1)
        site.send(person.stream, 2)
        assert socket.numbers(1) == [2]


def test_a_client_without_any_allowed_stream_is_closed_with_4003(
    served: Served, site: Site, person: Person
) -> None:
    other = site.person()
    with served.connect(person, f"streams={other.stream}&since={other.stream}/0-0") as socket:
        assert socket.close_code() == 4003


@pytest.mark.parametrize("session", ["", "unknown" * 4, "anonymous"])
def test_a_client_that_is_not_signed_in_is_closed_with_4001(served: Served, site: Site, session: str) -> None:
    with served.connect(session=site.anonymous_session() if session == "anonymous" else session) as socket:
        assert socket.close_code() == 4001


def test_an_expired_session_is_none(served: Served, site: Site, person: Person) -> None:
    site.expire(person.session)
    with served.connect(person) as socket:
        assert socket.close_code() == 4001


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "null",
        "https://evil.example",
        "http://127.0.0.1:1",
        "https://127.0.0.1",
        "127.0.0.1",
        "https://site.example/",
        "http://a.trusted.example",
        "https://eviltrusted.example",
        "https://a.trusted.example:444",
        "http://other.example",
        "http://a.other.example:8000",
    ],
)
def test_a_page_of_another_site_is_refused_before_the_upgrade(
    served: Served, person: Person, origin: str | None
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        served.connect(person, origin=origin)
    assert refused.value.response.status_code in (400, 403)
    assert refused.value.response.headers["X-Backend"] == "asgi"


def test_the_origin_of_site_url_is_the_sites_own(served: Served, person: Person) -> None:
    with served.connect(person, origin="https://site.example:443") as socket:
        assert socket.wire.response is not None
        assert socket.wire.response.headers["X-Backend"] == "asgi"
        socket.hello()


@pytest.mark.parametrize(
    "origin", ["https://trusted.example", "https://a.b.trusted.example", "http://other.example:8000"]
)
def test_origins_that_django_trusts_may_connect(served: Served, person: Person, origin: str) -> None:
    with served.connect(person, origin=origin) as socket:
        socket.hello()


def test_a_client_of_the_first_generation_gets_updates_and_nothing_else(
    served: Served, site: Site, person: Person
) -> None:
    site.send(person.stream, 1)
    with served.connect(person, f"since={person.stream}/0-0", subprotocols=[]) as socket:
        for _ in range(7):
            socket.send("nonsense")
        socket.send({"type": "ping"})
        assert socket.wire.subprotocol is None
        site.send(person.stream, 2)
        assert socket.numbers(2) == [1, 2]


def test_a_first_generation_client_receives_its_close_code(served: Served) -> None:
    with served.connect(subprotocols=[]) as socket:
        assert socket.close_code() == 4001


def test_a_subprotocol_among_others_is_chosen(served: Served, person: Person) -> None:
    with served.connect(person, subprotocols=["other", "sluice.v1"]) as socket:
        assert socket.wire.subprotocol == "sluice.v1"
        socket.hello()


def test_ping_is_answered(served: Served, person: Person) -> None:
    with served.connect(person) as socket:
        socket.hello()
        socket.send({"type": "ping", "more": "is ignored"})
        assert socket.frame() == {"event": "pong"}


def test_too_many_connections_of_one_person(serve: Callable[..., Served], site: Site, person: Person) -> None:
    served = serve(HUBSITE_CONNECTIONS_PER_USER="2")
    with served.connect(person) as one, served.connect(person) as two:
        one.hello(), two.hello()
        with served.connect(person) as three:
            assert three.close_code() == 4013
        with served.connect(site.person()) as other:
            other.hello()
        one.wire.close()
        with served.connect(person) as three:
            three.hello()


def test_with_other_sessions_than_ours(serve: Callable[..., Served], site: Site) -> None:
    engine = "django.contrib.sessions.backends.signed_cookies"
    own = Site(site.database_url, HUBSITE_SESSION_ENGINE=engine)
    try:
        served = serve(HUBSITE_SESSION_ENGINE=engine)
        person = own.person()
        with served.connect(person) as socket:
            socket.hello()
            site.send(person.stream, 1)
            assert socket.numbers(1) == [1]
    finally:
        own.close()


@pytest.mark.parametrize("path", ["/", "/channels/", "/channels/updates", "/admin/", "/channels/updates/x"])
def test_there_is_no_other_socket(served: Served, person: Person, path: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        served.connect(person, path=path)
    assert refused.value.response.status_code == 404
