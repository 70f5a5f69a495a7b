"""Server-sent events, as PROTOCOL.md specifies them, over a real Daphne."""

from __future__ import annotations

import pytest

from updates_lab.site import Events, Person, Served, Site

FORGED = "0123456789abcdef"


def test_hello_then_updates_each_with_the_whole_position(served: Served, site: Site, person: Person) -> None:
    with Events(served, person) as events:
        hello = events.next()
        assert hello is not None and hello["data"]["event"] == "hello"
        heads = site.heads("all", person.stream)
        assert hello["id"] == f"{person.stream}/0-0,all/{heads['all']}"
        assert "event" not in hello
        site.send(person.stream, 1)
        update = events.next()
    assert update is not None and update["data"]["payload"]["message_id"] == 1
    assert update["id"] == f"{person.stream}/{update['data']['position']},all/{heads['all']}"


def test_the_response_is_neither_stored_nor_buffered_nor_shared(served: Served, person: Person) -> None:
    with Events(served, person) as events:
        headers = events.response.headers
        assert events.response.status == 200
    assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Accel-Buffering"] == "no"
    assert headers["X-Backend"] == "asgi"
    assert not [name for name in headers if name.lower().startswith("access-control-")]


def test_what_was_missed_is_replayed_and_hellos_id_is_from_before(
    served: Served, site: Site, person: Person
) -> None:
    site.send(person.stream, 1, 2)
    with Events(served, person, f"since={person.stream}/0-0") as events:
        hello = events.next()
        assert hello is not None
        assert hello["id"].startswith(f"{person.stream}/0-0,")
        assert hello["data"]["payload"]["streams"][person.stream]["recovered"] is True
        assert [events.next()["data"]["payload"]["message_id"] for _ in range(2)] == [1, 2]  # type: ignore[index]


def test_last_event_id_overrides_since(served: Served, site: Site, person: Person) -> None:
    site.send(person.stream, 1)
    one = site.heads(person.stream)[person.stream]
    site.send(person.stream, 2)
    query = f"since={person.stream}/0-0"
    with Events(
        served, person, query, **{"Last-Event-ID": f"{person.stream}/{one},all/5-{FORGED}"}
    ) as events:
        hello = events.next()
        assert hello is not None
        assert hello["data"]["payload"]["streams"][person.stream]["recovered"] is True
        assert hello["data"]["payload"]["streams"]["all"]["recovered"] is False
        assert events.next()["data"]["payload"]["message_id"] == 2  # type: ignore[index]


def test_denied_streams_are_not_in_the_id(served: Served, site: Site, person: Person) -> None:
    other = site.person()
    with Events(served, person, f"streams={other.stream},{person.stream}") as events:
        hello = events.next()
        assert hello is not None
        assert hello["id"] == f"{person.stream}/0-0"
        assert hello["data"]["payload"]["streams"][other.stream] == {"denied": True}


@pytest.mark.parametrize(
    ("signed_in", "query", "code"),
    [(False, "", 4001), (True, "streams=BAD", 4000), (True, "streams=user:0", 4003)],
)
def test_a_close_is_an_event_and_the_status_200(
    served: Served, person: Person, signed_in: bool, query: str, code: int
) -> None:
    with Events(served, person if signed_in else None, query) as events:
        assert events.response.status == 200
        assert events.next() == {"event": "close", "data": {"code": code}}
        assert events.next() is None


def test_a_malformed_last_event_id_is_a_malformed_query(served: Served, person: Person) -> None:
    with Events(served, person, **{"Last-Event-ID": "nonsense"}) as events:
        assert events.next() == {"event": "close", "data": {"code": 4000}}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Origin": "https://site.example"}, 200),
    ],
)
def test_only_a_page_of_another_site_is_refused(
    served: Served, person: Person, headers: dict[str, str], status: int
) -> None:
    with Events(served, person, **headers) as events:
        assert events.response.status == status
        assert events.response.headers["X-Backend"] == "asgi"


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT"])
def test_other_methods_are_refused(served: Served, method: str) -> None:
    status, headers, _ = served.get("/channels/updates/sse", method)
    assert (status, headers["allow"]) == (405, "GET")


def test_signing_out_closes_the_connection(served: Served, site: Site, person: Person) -> None:
    with Events(served, person) as events:
        events.next()
        site.sign_out(person.session)
        assert events.next() == {"event": "close", "data": {"code": 4009}}
        assert events.next() is None
