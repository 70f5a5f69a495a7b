"""Readers who are not signed in, with SLUICE_UPDATES_ANONYMOUS and without, on all three transports."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count

import pytest
from websockets.exceptions import InvalidStatus

from harness.client.http import Place
from harness.client.page import TRANSPORTS, Page
from harness.client.positions import Position
from harness.judge import Row, Truth, judge
from harness.waiting import wait_until
from updates_lab.site import SOON, Events, Person, Served, Site, running

Serve = Callable[..., Served]

PUBLIC = {"HUBSITE_ANONYMOUS": "yes", "HUBSITE_URLCONF": "hubsite.polling"}
PROMISED = 5.0  # seconds, for changes made through Django
OWN: tuple[str, ...] = ()
STOCK = (
    "-c",
    "import sys, daphne.cli; daphne.cli.CommandLineInterface().run(sys.argv[1:])",
    "--fd",
    "0",
    "hubsite.asgi:application",
)
_numbers = count(1)


@pytest.fixture(scope="module", params=[OWN, STOCK], ids=["own", "stock"])
def public(
    request: pytest.FixtureRequest, site: Site, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """A server for anonymous readers too: ours, and stock Daphne."""
    log = tmp_path_factory.mktemp("public") / "server.log"
    limits = '{"POLL_SECONDS": 0.2, "COMPARE_SECONDS": 1}'
    with running(site, log, *request.param, **PUBLIC, HUBSITE_LIMITS=limits) as served:
        yield served
        assert served.stop() == 0
        assert "Traceback" not in served.text(), served.text()


@pytest.fixture
def page() -> str:
    """The stream of a page that everybody may read."""
    return f"page:{next(_numbers)}"


def poll(served: Served, query: str, path: str = "/updates/") -> tuple[int, dict[str, object]]:
    status, found, body = served.get(f"{path}?{query}")
    assert "no-store" in found["cache-control"]
    return status, json.loads(body)


def test_by_default_they_get_nothing_whatever_the_rule_says(served: Served, site: Site, page: str) -> None:
    site.send(page, 1)
    with served.connect(None, f"streams={page}&since={page}/0-0") as socket:
        assert socket.close_code() == 4001
    with Events(served, None, f"streams={page}") as events:
        assert events.next() == {"event": "close", "data": {"code": 4001}}
    refused = (401, {"error": {"detail": "sign in to receive updates"}})
    assert poll(served, f"streams={page}", "/push/news/") == refused


def test_they_get_what_is_public_by_every_transport(public: Served, site: Site, page: str) -> None:
    site.send(page, 1)
    query = f"streams={page},all&since={page}/0-0"
    with public.connect(None, query) as socket, Events(public, None, query) as events:
        hello = socket.hello()
        assert hello[page]["recovered"] is True and hello["all"] == {"denied": True}
        first = events.next()
        assert first is not None and first["id"] == f"{page}/0-0"
        assert first["data"]["payload"]["streams"] == hello
        site.send(page, 2)
        assert socket.numbers(2) == [1, 2]
        assert [events.next()["data"]["payload"]["message_id"] for _ in range(2)] == [1, 2]  # type: ignore[index]
    status, answer = poll(public, query)
    assert (status, answer["more"]) == (200, False)
    assert answer["streams"] == {
        page: {"head": site.heads(page)[page], "recovered": True},
        "all": {"denied": True},
    }
    assert [update["payload"]["message_id"] for update in answer["updates"]] == [1, 2]  # type: ignore[attr-defined]


@pytest.mark.parametrize("session", [None, "nobody", "anonymous"])
def test_a_cookie_without_a_user_is_no_obstacle(
    public: Served, site: Site, page: str, session: str | None
) -> None:
    key = site.anonymous_session() if session == "anonymous" else session
    with public.connect(None, f"streams={page}", session=key) as socket:
        assert socket.hello() == {page: {"head": "0-0"}}


@pytest.mark.parametrize("streams", ["", "streams=all", "streams=project:1,all"])
def test_without_a_public_stream_they_are_asked_to_sign_in(public: Served, streams: str) -> None:
    with public.connect(None, streams) as socket:
        assert socket.close_code() == 4001
    with Events(public, None, streams) as events:
        assert events.next() == {"event": "close", "data": {"code": 4001}}
    assert poll(public, streams)[0] == 401


@pytest.mark.parametrize("stream", ["user:1", "user:None", "user:0"])
def test_a_page_that_names_a_person_is_asked_to_sign_in_though_the_rest_is_public(
    public: Served, page: str, stream: str
) -> None:
    query = f"streams={page},{stream}"
    with public.connect(None, query) as socket:
        assert socket.close_code() == 4001
    with Events(public, None, query) as events:
        assert events.next() == {"event": "close", "data": {"code": 4001}}
    assert poll(public, query)[0] == 401


def test_so_is_a_page_whose_positions_name_a_person(public: Served, page: str) -> None:
    """A page of a user may name no streams: then only its positions show whose it was."""
    query = f"streams={page}&since={page}/0-0,user:1/0-0"
    with public.connect(None, query) as socket:
        assert socket.close_code() == 4001
    with Events(public, None, query) as events:
        assert events.next() == {"event": "close", "data": {"code": 4001}}
    assert poll(public, query)[0] == 401


def test_a_persons_page_learns_that_the_session_ended(public: Served, site: Site, page: str) -> None:
    person = site.person()
    query = f"streams={person.stream},{page}"
    with public.connect(person, query) as socket:
        socket.hello()
        site.sign_out(person.session)
        assert socket.close_code() == 4009
    with public.connect(person, query) as socket:
        assert socket.close_code() == 4001


def test_malformed_queries_come_before_everything_else(public: Served) -> None:
    with public.connect(None, "streams=BAD") as socket:
        assert socket.close_code() == 4000
    assert poll(public, "streams=BAD")[0] == 400


@pytest.mark.parametrize("origin", ["https://evil.example", None])
def test_a_foreign_page_is_refused_all_the_same(public: Served, page: str, origin: str | None) -> None:
    with pytest.raises(InvalidStatus) as refused, public.connect(None, f"streams={page}", origin=origin):
        pass
    assert refused.value.response.status_code == 403
    with Events(public, None, f"streams={page}", Origin="https://evil.example") as events:
        assert events.response.status == 403


def test_consumers_of_channels_get_users_only(public: Served) -> None:
    with public.connect(None, path="/channels/echo/") as socket:
        assert socket.close_code() == 4001


def test_a_page_that_is_closed_to_them_ends_within_the_promise(public: Served, site: Site, page: str) -> None:
    kept = f"{page}-kept"
    person = site.person()
    with (
        public.connect(None, f"streams={page}") as only,
        public.connect(None, f"streams={page},{kept}") as both,
        Events(public, None, f"streams={page}") as events,
        public.connect(person, f"streams={person.stream}") as neighbour,
    ):
        only.hello(), both.hello(), events.next(), neighbour.hello()
        began = time.monotonic()
        site.close_page(page)
        assert only.close_code() == 4003
        assert events.next() == {"event": "close", "data": {"code": 4003}}
        assert time.monotonic() - began < PROMISED
        site.send(page, 1)
        site.send(kept, 2)
        assert both.numbers(1) == [2]
        site.send(person.stream, 3)
        assert neighbour.numbers(1) == [3]
    with public.connect(None, f"streams={page},{kept}") as again:
        assert again.hello()[page] == {"denied": True}
    assert poll(public, f"streams={page},{kept}")[1]["streams"] == {
        page: {"denied": True},
        kept: {"head": site.heads(kept)[kept]},
    }


def test_a_change_of_rights_that_nobody_announced_is_noticed_too(serve: Serve, site: Site, page: str) -> None:
    served = serve(**PUBLIC, HUBSITE_LIMITS='{"JUDGE_SECONDS": 0.5, "POLL_SECONDS": 0.2}')
    with served.connect(None, f"streams={page}") as socket:
        socket.hello()
        site.close_page(page, tell=False)
        assert socket.close_code() == 4003


def test_a_rule_that_fails_for_them_fails_only_those_who_asked(serve: Serve, site: Site, page: str) -> None:
    served = serve(**PUBLIC)
    with (
        served.connect(None, f"streams={page}") as good,
        served.connect(None, f"streams={page},broken") as bad,
    ):
        good.hello()
        assert bad.close_code() == 1011
        site.send(page, 1)
        assert good.numbers(1) == [1]
    assert "told to fail" in served.text()


def test_an_address_may_have_so_many_connections(serve: Serve, site: Site, page: str) -> None:
    served = serve(**PUBLIC, HUBSITE_CONNECTIONS_PER_ADDRESS="2")
    query, here, there = f"streams={page}", {"X-Real-IP": "192.0.2.1"}, {"X-Real-IP": "192.0.2.2"}
    with served.connect(None, query, headers=here) as one, Events(served, None, query, **here) as two:
        one.hello(), two.next()
        with served.connect(None, query, headers=here) as three:
            assert three.close_code() == 4013
        with Events(served, None, query, **here) as three_again:
            assert three_again.next() == {"event": "close", "data": {"code": 4013}}
        with served.connect(None, query, headers=there) as other:
            other.hello()
        with served.connect(site.person(), headers=here) as signed_in:  # limited as a user, not by address
            signed_in.hello()
    wait_until(lambda: served.health()[1]["anonymous"] == 0, SOON, "the end of these connections")
    with served.connect(None, query, headers=here) as again:
        again.hello()
    assert served.health()[1]["counters"]["anonymous_refused{limit=connections}"] == 2


def test_without_a_proxy_the_peer_is_the_address_for_each_transport(serve: Serve, page: str) -> None:
    served = serve(**PUBLIC, HUBSITE_CONNECTIONS_PER_ADDRESS="1")
    query, elsewhere = f"streams={page}", {"X-Real-IP": "192.0.2.1"}
    with served.connect(None, query) as socket:
        socket.hello()
        with Events(served, None, query) as events:
            assert events.next() == {"event": "close", "data": {"code": 4013}}
        with Events(served, None, query, **elsewhere) as events:
            assert events.next()["data"]["event"] == "hello"  # type: ignore[index]


def test_a_network_of_ipv6_is_one_address(serve: Serve, page: str) -> None:
    served = serve(**PUBLIC, HUBSITE_CONNECTIONS_PER_ADDRESS="1")
    query = f"streams={page}"
    with served.connect(None, query, headers={"X-Real-IP": "2001:db8:1:2::1"}) as one:
        one.hello()
        with served.connect(None, query, headers={"X-Real-IP": "2001:db8:1:2:ffff::"}) as two:
            assert two.close_code() == 4013
        with served.connect(None, query, headers={"X-Real-IP": "2001:db8:1:3::1"}) as other:
            other.hello()


def test_an_address_may_follow_so_many_streams(serve: Serve, page: str) -> None:
    served = serve(**PUBLIC, HUBSITE_SUBSCRIPTIONS_PER_ADDRESS="5")
    three = f"streams={page},{page}-a,{page}-b"
    with served.connect(None, three) as one:
        one.hello()
        with served.connect(None, three) as two:
            assert two.close_code() == 4013
        with served.connect(None, f"streams={page},{page}-c") as small:
            assert len(small.hello()) == 2
    assert served.health()[1]["counters"]["anonymous_refused{limit=subscriptions}"] == 1


def test_streams_that_a_reader_has_left_take_little_memory(serve: Serve, site: Site, page: str) -> None:
    served = serve(**PUBLIC, HUBSITE_LIMITS='{"IDLE_STREAMS": 100}')
    for turn in range(4):
        names = ",".join(f"{page}-{turn}-{number}" for number in range(60))
        with served.connect(None, f"streams={names}") as socket:
            assert len(socket.hello()) == 60
        wait_until(lambda: served.health()[1]["connections"] == 0, SOON, "its end")
    assert served.health()[1]["streams"] == 100
    for name in (f"{page}-0-0", f"{page}-3-59"):  # forgotten, and still followed
        with served.connect(None, f"streams={name}") as socket:
            socket.hello()
            site.send(name, 1)
            assert socket.numbers(1) == [1]


def test_a_process_may_have_so_many_of_all_addresses_and_users_have_room_beside_them(
    serve: Serve, site: Site, page: str
) -> None:
    served = serve(**PUBLIC, HUBSITE_ANONYMOUS_CONNECTIONS="3")
    with ExitStack() as stack:
        for number in range(3):
            address = {"X-Real-IP": f"192.0.2.{number}"}
            stack.enter_context(served.connect(None, f"streams={page}", headers=address)).hello()
        with served.connect(None, f"streams={page}", headers={"X-Real-IP": "192.0.2.99"}) as socket:
            assert socket.close_code() == 4013
        with served.connect(site.person()) as signed_in:
            signed_in.hello()
    wait_until(lambda: served.health()[1]["anonymous"] == 0, SOON, "the end of these connections")
    many = ",".join(f"{page}-{number}" for number in range(13))  # 4 × 3, and one
    with served.connect(None, f"streams={many}") as socket:
        assert socket.close_code() == 4013
    assert served.health()[1]["counters"]["anonymous_refused{limit=process}"] == 2


def test_an_address_may_poll_so_often(serve: Serve, site: Site, page: str) -> None:
    served = serve(**PUBLIC, HUBSITE_POLLS_PER_ADDRESS="3")
    here, there, query = {"X-Real-IP": "192.0.2.1"}, {"X-Real-IP": "192.0.2.2"}, f"/updates/?streams={page}"
    assert [served.get(query, "GET", None, **here)[0] for _ in range(4)] == [200, 200, 200, 429]
    status, headers, body = served.get(query, "GET", None, **here)
    assert status == 429 and 0 < int(headers["retry-after"]) <= 60 and "no-store" in headers["cache-control"]
    assert json.loads(body) == {"error": {"detail": "this address polls too often", "limit": 3}}
    assert served.get(query, "GET", None, **there)[0] == 200
    person = site.person()
    assert served.get(query, "GET", None, Cookie=f"sessionid={person.session}", **here)[0] == 200


def test_the_checker_finds_nothing_wrong_with_pages_that_switch_transports(
    public: Served, site: Site, page: str
) -> None:
    """Three anonymous pages, each by the protocol alone, change their transport after every few updates."""
    pages = asyncio.run(_switching(public, site, page))
    rows, head, streams = _table(site, page)
    report = judge(Truth(rows, head), [one.ledger for one in pages], published=head[page].offset)
    report.check()
    assert report.counts["updates owed"] == 3 * head[page].offset and streams == {page}
    assert all(report.counts[f"connections by {transport}"] >= 3 for transport in TRANSPORTS)


async def _switching(served: Served, site: Site, page: str) -> list[Page]:
    place = Place.of(served.origin)
    pages = [
        Page(f"anonymous {transport}", place, "", transport=transport, streams=[page], poll_every=0.1)
        for transport in TRANSPORTS
    ]
    tasks = [asyncio.create_task(one.run()) for one in pages]
    number = 0

    async def until(reached: Callable[[], bool], what: str) -> None:
        async with asyncio.timeout(3 * SOON):
            while not reached():
                assert not any(task.done() for task in tasks), (what, [one.stopped_by for one in pages])
                await asyncio.sleep(0.02)

    await until(lambda: all(one.positions for one in pages), "hello")
    everything = lambda: all(one.positions[page].offset == number for one in pages)  # noqa: E731
    for turn in range(2 * len(TRANSPORTS)):
        for _ in range(5):
            number += 1
            await asyncio.to_thread(site.send, page, number)
        if turn % 2:
            await until(everything, "all of them")
        for index, one in enumerate(pages):
            one.switch(TRANSPORTS[(TRANSPORTS.index(one.transport) + 1 + index % 2) % len(TRANSPORTS)])
    await until(everything, "the end")
    for one in pages:
        one.leave()
    await asyncio.gather(*tasks)
    return pages


def _table(site: Site, page: str) -> tuple[dict[str, dict[int, Row]], dict[str, Position], set[str]]:
    """The stream's rows and head, as the judge wants them."""
    rows: dict[str, dict[int, Row]] = {}
    found = site.sql(
        'SELECT stream, "offset", tag, event, payload FROM sluice_updates_update WHERE stream = %s', page
    )
    for stream, offset, tag, event, payload in found:
        rows.setdefault(stream, {})[offset] = Row(tag, event, json.loads(payload))
    offset, tag = site.heads(page)[page].split("-")
    return rows, {page: Position(int(offset), tag)}, set(rows)


def test_signed_in_readers_of_the_same_page_get_the_same(public: Served, site: Site, page: str) -> None:
    person: Person = site.person()
    with (
        public.connect(person, f"streams={page}") as known,
        public.connect(None, f"streams={page}") as unknown,
    ):
        assert known.hello() == unknown.hello()
        site.send(page, 1, 2)
        assert known.numbers(2) == unknown.numbers(2) == [1, 2]
