"""PostgreSQL's notifications: push without a broker. Where it matters, the poll is too slow to help."""

from __future__ import annotations

import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import psycopg
import pytest

from harness.servers import PgBouncer, Postgres, RabbitMQ
from harness.waiting import wait_until
from updates_lab.site import SOON, Person, Served, Site, environment

SLOW_POLL = '{"POLL_SECONDS": 60}'
# Loop-backs every few tenths of a second, and a poll every second.
QUICK = '{"LOOPBACK_SECONDS": 0.3, "LOOPBACK_TIMEOUT_SECONDS": 1}'
AT_ONCE = 0.5  # seconds; it takes some milliseconds on an idle machine


@pytest.fixture(scope="module")
def site(postgresql: Postgres) -> Iterator[Site]:
    """A site on PostgreSQL, whose publishers have no broker."""
    with psycopg.connect(postgresql.url, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS notified WITH (FORCE)")
        connection.execute("CREATE DATABASE notified")
    site = Site(urlsplit(postgresql.url)._replace(path="/notified").geturl())
    try:
        site.migrate()
        yield site
    finally:
        site.close()


def listening(served: Served) -> Served:
    """The server, as soon as notifications arrive."""
    wait_until(
        lambda: served.health()[1]["notify"]["works"], SOON, "the first loop-back", fatal=served._death
    )
    return served


def arrives_at_once(served: Served, site: Site, person: Person) -> None:
    """Updates arrive long before the poll."""
    with served.connect(person) as socket:
        socket.hello()
        for number in range(5):
            site.send(person.stream, number)
            assert socket.numbers(1, timeout=AT_ONCE) == [number]


def test_an_update_arrives_long_before_the_poll(
    serve: Callable[..., Served], site: Site, person: Person
) -> None:
    served = listening(serve(HUBSITE_NOTIFY="", HUBSITE_LAYER="none", HUBSITE_LIMITS=SLOW_POLL))
    arrives_at_once(served, site, person)
    _, report = served.health()
    assert (report["status"], report["way"]) == ("ok", "notify")
    assert 0 < report["latency"] < AT_ONCE and report["age"] < 15
    assert not report["layer"]["configured"] and not report["data_version"]["configured"]
    assert served.stop() == 0
    assert "Traceback" not in served.text()


def test_a_layer_in_memory_is_not_named_as_the_way(serve: Callable[..., Served]) -> None:
    served = listening(serve(HUBSITE_NOTIFY="", HUBSITE_LAYER="memory"))
    wait_until(lambda: served.health()[1]["layer"]["works"], SOON, "the first loop-back")
    assert served.health()[1]["way"] == "notify"


def test_a_burst_of_commits_needs_few_polls(serve: Callable[..., Served], site: Site, person: Person) -> None:
    served = listening(serve(HUBSITE_NOTIFY="", HUBSITE_LAYER="none", HUBSITE_LIMITS=SLOW_POLL))
    with served.connect(person) as socket:
        socket.hello()
        before, began = served.health()[1]["counters"]["polls"], time.monotonic()
        with psycopg.connect(site.database_url, autocommit=True) as connection:
            for _ in range(3000):
                connection.execute("NOTIFY sluice_updates, 'committed'")
        site.send(person.stream, *range(100))
        assert socket.numbers(100) == list(range(100))
        polls = served.health()[1]["counters"]["polls"] - before
        assert 0 < polls < 10 + (time.monotonic() - began) / 0.005


def test_a_forged_notification_delivers_nothing(
    serve: Callable[..., Served], site: Site, person: Person
) -> None:
    """Any role of the database may NOTIFY, so a notification is only a hint."""
    served = listening(serve(HUBSITE_NOTIFY="", HUBSITE_LAYER="none", HUBSITE_LIMITS=SLOW_POLL))
    with psycopg.connect(site.database_url, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS stranger")
        connection.execute("CREATE ROLE stranger LOGIN")
    url = urlsplit(site.database_url)
    stranger = url._replace(netloc=f"stranger@{url.hostname}:{url.port}").geturl()
    with served.connect(person) as socket, psycopg.connect(stranger, autocommit=True) as connection:
        socket.hello()
        frame = '{"event":"new-message","payload":{},"stream":"%s","position":"1-0123456789abcdef"}'
        for payload in (
            "committed",
            "committed " + frame % person.stream,
            f"loop-back {'0' * 16} {'0' * 16}",
            "",
            "loop-back",
            "\x01",
            "x" * 7999,
        ):
            connection.execute("SELECT pg_notify('sluice_updates', %s)", [payload])
        assert socket.is_quiet(AT_ONCE)
        site.send(person.stream, 1)
        assert socket.numbers(1, timeout=AT_ONCE) == [1]
    assert "Traceback" not in served.text()


def test_a_listening_connection_that_ends_is_replaced(
    serve: Callable[..., Served], site: Site, person: Person
) -> None:
    served = listening(serve(HUBSITE_NOTIFY="", HUBSITE_LAYER="none", HUBSITE_LIMITS=QUICK))
    for _ in range(2):
        ended = site.sql(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND query LIKE 'SELECT pg_backend_pid%%'"
        )
        assert ended == [[1]]
        with served.connect(person) as socket:
            socket.hello()
            site.send(person.stream, 1)
            assert socket.numbers(1, timeout=2) == [1]
        wait_until(lambda: "subscribed to PostgreSQL's notifications again" in served.text(), SOON, "again")
        listening(served)
    assert served.text().count("not subscribed to PostgreSQL's notifications") == 2
    assert "Traceback" not in served.text()


@pytest.mark.parametrize("fault", ["pause", "stop"])
def test_an_outage_of_postgresql(
    postgresql: Postgres, serve: Callable[..., Served], site: Site, person: Person, fault: str
) -> None:
    """One line in the log for each outage, and notifications arrive again after it."""
    served = listening(serve(HUBSITE_NOTIFY="", HUBSITE_LAYER="none", HUBSITE_LIMITS=QUICK))
    with served.connect(person) as socket:
        socket.hello()
        getattr(postgresql, fault)()
        try:
            wait_until(lambda: served.health()[1]["notify"]["failures"] > 3, 30, "notice")
            assert served.health()[0] == 200 and served.process.poll() is None
        finally:
            postgresql.resume() if fault == "pause" else postgresql.start()
        listening(served)
        site.send(person.stream, 1)
        assert socket.numbers(1) == [1]
    assert served.text().count("no loop-back arrives through PostgreSQL's notifications") == 1
    assert served.text().count("not subscribed to PostgreSQL's notifications") <= 1
    assert "Traceback" not in served.text()


def test_both_ways_at_once_double_nothing(
    rabbitmq: RabbitMQ, serve: Callable[..., Served], site: Site, person: Person
) -> None:
    both = Site(site.database_url, HUBSITE_PUBLISHER_URL=rabbitmq.url, HUBSITE_NOTIFY="yes")
    try:
        served = serve(
            HUBSITE_NOTIFY="yes",
            HUBSITE_LAYER="rabbitmq",
            HUBSITE_LAYER_URL=rabbitmq.url,
            HUBSITE_LIMITS=SLOW_POLL,
        )
        wait_until(lambda: served.health()[1]["layer"]["works"], SOON, "the first loop-back")
        listening(served)
        assert served.health()[1]["way"] == "layer"
        with served.connect(person) as socket:
            socket.hello()
            for number in range(200):
                both.send(person.stream, number)
            assert socket.numbers(200) == list(range(200))
            assert socket.is_quiet(AT_ONCE)
        assert served.health()[1]["counters"]["updates_taken"] == 200
        both.send(person.stream, 200)
    finally:
        both.close()


def test_a_stuck_broker_does_not_delay_notifications(
    serve: Callable[..., Served], site: Site, person: Person
) -> None:
    class Silent(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1 << 16)
            threading.Event().wait(20)

    served = listening(serve(HUBSITE_NOTIFY="yes", HUBSITE_LAYER="stuck", HUBSITE_LIMITS=SLOW_POLL))
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Silent) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"amqp://x:y@127.0.0.1:{server.server_address[1]}/"
        both = Site(site.database_url, HUBSITE_PUBLISHER_URL=url, HUBSITE_NOTIFY="yes")
        try:
            arrives_at_once(served, both, person)
        finally:
            both.close()
            server.shutdown()
    assert served.health()[1]["status"] == "degraded"


def test_it_can_be_turned_off(serve: Callable[..., Served], site: Site, person: Person) -> None:
    served = serve(HUBSITE_NOTIFY="no", HUBSITE_LAYER="none")
    _, report = served.health()
    assert (report["status"], report["way"]) == ("ok", "database")
    assert not report["notify"]["configured"]
    with served.connect(person) as socket:
        socket.hello()
        site.send(person.stream, 1)
        assert socket.numbers(1, timeout=2) == [1]


@pytest.fixture(params=["transaction", "session"])
def pooled(request: pytest.FixtureRequest, postgresql: Postgres, site: Site) -> Iterator[tuple[str, Site]]:
    """A real PgBouncer's pool mode, and the site with its database behind it."""
    pooler = PgBouncer(postgresql, request.param)
    try:
        pooler.start()
        behind = Site(pooler.url("notified"))
        try:
            yield request.param, behind
        finally:
            behind.close()
    finally:
        pooler.close()


def test_a_pooler_in_transaction_mode_is_named(
    serve: Callable[..., Served], pooled: tuple[str, Site], person: Person
) -> None:
    mode, site = pooled
    served = serve(on=site, HUBSITE_NOTIFY="", HUBSITE_LAYER="none", HUBSITE_LIMITS=QUICK)
    if mode == "session":
        listening(served)
        assert served.health()[1]["status"] == "ok"
    else:
        wait_until(lambda: served.health()[1]["notify"]["failures"] > 3, 2 * SOON, "notice")
        status, report = served.health()
        assert (status, report["status"], report["way"]) == (200, "degraded", "database")
        assert "pooler in transaction mode" in report["notify"]["trouble"]
        assert served.text().count("pooler in transaction mode") == 1
    with served.connect(person) as socket:
        socket.hello()
        site.send(person.stream, 1)
        assert socket.numbers(1, timeout=2) == [1]
    assert "Traceback" not in served.text()


def test_the_check_names_a_pooler_in_transaction_mode(pooled: tuple[str, Site]) -> None:
    mode, site = pooled
    done = subprocess.run(
        [sys.executable, "-m", "django", "check", "--deploy", "--tag", "sluice_updates"],
        env=environment(DATABASE_URL=site.database_url, HUBSITE_LAYER="none"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ("sluice_updates.W020" in done.stderr + done.stdout) is (mode == "transaction"), done
