"""PostgreSQL is stopped, paused and started again, and no update is lost or doubled."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import psycopg
import pytest

from harness.servers import Postgres
from harness.waiting import wait_until
from sluice_updates import limits
from updates_lab.site import SOON, Person, Served, Site, running


@pytest.fixture(scope="module")
def site(postgresql: Postgres) -> Iterator[Site]:
    """A site on PostgreSQL."""
    url = postgresql.url
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS hub WITH (FORCE)")
        connection.execute("CREATE DATABASE hub")
    site = Site(urlsplit(url)._replace(path="/hub").geturl())
    try:
        site.migrate()
        yield site
    finally:
        site.close()


@pytest.fixture(scope="module", params=["no", "yes"], ids=["poll", "notify"])
def served(
    request: pytest.FixtureRequest, site: Site, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """A server of that site: one that only polls, and one that PostgreSQL notifies."""
    log = tmp_path_factory.mktemp("postgresql") / "server.log"
    with running(site, log, HUBSITE_NOTIFY=request.param) as served:
        yield served
        assert served.stop() == 0
        assert "Traceback" not in served.text(), served.text()


def test_replay_then_live(served: Served, site: Site, person: Person) -> None:
    site.send(person.stream, *range(250))
    with served.connect(person, f"since={person.stream}/0-0") as socket:
        assert socket.hello()[person.stream]["recovered"] is True
        site.send(person.stream, *range(250, 260))
        assert socket.numbers(260) == list(range(260))


def test_an_update_of_a_long_transaction_is_not_missed(served: Served, site: Site, person: Person) -> None:
    with served.connect(person) as socket:
        socket.hello()
        site.begin(person.stream, 1)  # in a separate connection's open transaction
        site.send(person.stream, 2, 3)
        assert socket.numbers(2) == [2, 3]
        site.commit()
        assert socket.numbers(1) == [1]


def test_several_writers_and_readers(served: Served, site: Site, person: Person) -> None:
    writers = [Site(site.database_url) for _ in range(3)]
    try:
        with served.connect(person) as one, served.connect(person) as two:
            one.hello(), two.hello()
            threads = [
                threading.Thread(
                    target=writer.send, args=(person.stream, *range(number * 100, number * 100 + 50))
                )
                for number, writer in enumerate(writers)
            ]
            for thread in threads:
                thread.start()
            frames = [one.frame() for _ in range(150)]
            for thread in threads:
                thread.join(SOON)
            assert [int(frame["position"].split("-")[0]) for frame in frames] == list(range(1, 151))
            assert [two.frame() for _ in range(150)] == frames
    finally:
        for writer in writers:
            writer.close()


def test_an_audit_notices_changes_of_rows_that_it_verified_before(served: Served, site: Site) -> None:
    """Here the audit reads only those users whose row has another version than in the last audit."""
    ways: dict[str, Callable[[Person], object]] = {
        "signed out": lambda person: site.sign_out(person.session),
        "expired": lambda person: site.expire(person.session),
        "password changed": lambda person: site.change_password(person.name),
        "deactivated": lambda person: site.deactivate(person.name),
    }
    with ExitStack() as stack:
        people = {how: site.person() for how in ways}
        sockets = {how: stack.enter_context(served.connect(person)) for how, person in people.items()}
        neighbour = stack.enter_context(served.connect(site.person()))
        for socket in (*sockets.values(), neighbour):
            socket.hello()
        assert neighbour.is_quiet(2.5 * limits.AUDIT_SECONDS), "several audits have passed"
        for how, end in ways.items():
            end(people[how])
        assert {how: socket.close_code() for how, socket in sockets.items()} == dict.fromkeys(ways, 4009)
        neighbour.send({"type": "ping"})
        assert neighbour.frame() == {"event": "pong"}


def test_many_clients_with_different_positions_share_queries(
    served: Served, site: Site, person: Person
) -> None:
    site.send(person.stream, *range(6))
    positions = [str(wake[1]) + "-" + str(wake[2]) for wake in site.wake_ups(person.stream)]
    forged = "3-0123456789abcdef"
    queries = [f"since={person.stream}/{position}" for position in ("0-0", *positions, forged)] + [""]
    with ExitStack() as stack:
        clients = [stack.enter_context(served.raw()) for _ in queries]
        for client, query in zip(clients, queries, strict=True):
            client.sendall(served.handshake(person, query))
        for number, client in enumerate(clients):
            received = b""
            wanted = 6 - number if number <= 6 else 0
            while received.count(b'"message_id"') < wanted or b"hello" not in received:
                received += client.recv(65536)
            ids = [int(text) for text in re.findall(rb'"message_id": ?(\d+)', received)]
            assert ids == list(range(number, 6)) if number <= 6 else not ids
            said = re.search(rb'"recovered": (true|false)', received)
            assert (said[1] if said else None) == (
                b"true" if number <= 6 else b"false" if number == 7 else None
            )


def test_a_change_of_rights_during_an_outage_is_not_missed(
    served: Served, site: Site, person: Person
) -> None:
    """The poll may miss the update that announces the change, and no client follows its stream here."""
    group = f"g{person.id}"
    site.join(person.name, group)
    with served.connect(person, f"streams=project:{group}") as socket:
        socket.hello()
        site.leave(person.name, group, tell=False)
        site.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        assert socket.close_code(2 * SOON) == 4003  # not only after JUDGE_SECONDS


def test_a_paused_server(postgresql: Postgres, served: Served, site: Site, person: Person) -> None:
    site.send(person.stream, 1)
    with served.connect(person) as socket:
        position = socket.hello()[person.stream]["head"]
        postgresql.pause()
        try:
            began = time.monotonic()
            with served.connect(person) as refused:
                assert refused.close_code() == 1013
            assert time.monotonic() - began < 3
            wait_until(lambda: not served.health()[1]["database"]["works"], 20, "notice")
            assert served.health()[1]["status"] == "degraded"
            assert served.health()[0] == 200
            assert socket.is_quiet(0.1)
        finally:
            postgresql.resume()
        site.send(person.stream, 2)
        assert socket.numbers(1) == [2]
        with served.connect(person, f"since={person.stream}/{position}") as again:
            assert again.hello()[person.stream]["recovered"] is True
            assert again.numbers(1) == [2]


def test_a_restarted_server(postgresql: Postgres, served: Served, site: Site, person: Person) -> None:
    with served.connect(person) as socket:
        socket.hello()
        site.send(person.stream, 1)
        assert socket.numbers(1) == [1]
        postgresql.stop()
        with served.connect(person) as refused:
            assert refused.close_code(3) == 1013
        postgresql.start()
        site.send(person.stream, 2, 3)
        assert socket.numbers(2) == [2, 3]


def test_a_connection_that_died_while_idle_is_replaced(served: Served, site: Site, person: Person) -> None:
    """After PostgreSQL's restart in an idle period, the first client is accepted, not closed with 1013."""
    with served.connect(person) as socket:
        socket.hello()
    site.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    with served.connect(person) as socket:
        assert person.stream in socket.hello()


def test_history_that_was_rewritten_during_an_outage(
    postgresql: Postgres, served: Served, site: Site, person: Person
) -> None:
    other = site.person()
    site.send(person.stream, 1)
    before = site.heads(person.stream)[person.stream]
    site.send(person.stream, 2)
    with served.connect(person) as socket, served.connect(other) as neighbour:
        socket.hello(), neighbour.hello()
        polls = served.health()[1]["counters"].get("polls_failed", 0)
        postgresql.stop()
        wait_until(lambda: served.health()[1]["counters"].get("polls_failed", 0) > polls, SOON, "notice")
        postgresql.start()
        site.restore(person.stream, before)
        site.send(person.stream, 9)
        site.send(other.stream, 1)
        assert socket.close_code() == 4010
        assert neighbour.numbers(1) == [1]
