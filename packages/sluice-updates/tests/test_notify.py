"""PostgreSQL's NOTIFY: when it is sent, by which connection, and the settings and checks for it."""

from __future__ import annotations

import asyncio
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from django.db import connections, transaction

from harness.waiting import wait_until
from sluice_updates import conf, publish
from sluice_updates.checks import notifications as checks
from sluice_updates.push.database_thread import DatabaseUnavailable
from sluice_updates.push.notifications import Notifications
from sluice_updates.wakeup import notifications, sender

SOON = 10.0
QUIET = 0.3


@pytest.fixture
def on_postgresql(
    database_on: Callable[[str], str], settings: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The alias of a database whose commits are announced by NOTIFY, as outside of a test run."""
    monkeypatch.setattr(conf, "is_test_run", lambda: False)
    alias = database_on("postgresql")
    settings.SLUICE_UPDATES_NOTIFY = True
    settings.SLUICE_UPDATES_WAKE_UPS = True
    yield alias
    closed = threading.Event()
    running = sender._by_notify()

    def close(items: object) -> None:
        running.way.close()
        closed.set()

    running._handle = close  # only its own thread can close its connection
    running.put([])
    assert closed.wait(SOON)
    sender._by_notify.cache_clear()


@pytest.fixture
def superuser(on_postgresql: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection of the test's own."""
    given = connections[on_postgresql].get_connection_params()
    wanted = {name: given[name] for name in ("dbname", "user", "host", "port")}
    with psycopg.connect(**wanted, autocommit=True) as connection:
        yield connection


@pytest.fixture
def heard(superuser: psycopg.Connection[Any]) -> Callable[[float], list[str]]:
    """What a listening connection has received, after waiting this long for the first."""
    superuser.execute("LISTEN sluice_updates")

    def receive(seconds: float) -> list[str]:
        if not select.select([superuser], [], [], seconds)[0]:
            return []
        return [" ".join(words) for words in notifications.received(superuser)]

    return receive


def _standbys(connection: psycopg.Connection[Any]) -> object:
    return connection.execute("SHOW synchronous_standby_names").fetchone()[0]  # type: ignore[index]


def test_it_is_sent_after_the_commit(on_postgresql: str, heard: Callable[[float], list[str]]) -> None:
    """One for each commit, of another connection than the publisher's."""
    with transaction.atomic(using=on_postgresql):
        publish("all", "e", {})
        publish("user:7", "e", {})
        assert heard(QUIET) == []
    assert heard(SOON) == ["committed"]
    assert heard(QUIET) == []
    with connections[on_postgresql].cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'NOTIFY%%' AND pid <> pg_backend_pid()"
        )
        assert cursor.fetchone() == (1,)
    assert sender.flush(SOON)
    found = sender.status()
    assert (found["state"], found["ways"], found["announced"]) == ("up", {"notify": "up"}, 2)


def test_a_rollback_is_not_announced(on_postgresql: str, heard: Callable[[float], list[str]]) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic(using=on_postgresql):
        publish("all", "e", {})
        raise ZeroDivisionError
    assert heard(QUIET) == []


def test_commits_that_wait_share_a_notification(
    on_postgresql: str, heard: Callable[[float], list[str]]
) -> None:
    way = sender._by_notify().way
    way.send([[1, 2], [3]])
    assert heard(SOON) == ["committed"]
    assert way.announced == 3
    way.close()


def test_a_connection_that_was_cut_while_idle_is_replaced(
    on_postgresql: str, heard: Callable[[float], list[str]]
) -> None:
    publish("all", "e", {})
    assert heard(SOON) == ["committed"] and sender.flush(SOON)
    with connections[on_postgresql].cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'NOTIFY%%'"
        )
        assert cursor.fetchone() == (1,)
    publish("all", "e", {})
    assert heard(SOON) == ["committed"]
    assert sender.flush(SOON) and sender.status()["state"] == "up"


def test_it_waits_for_no_standby(on_postgresql: str, superuser: psycopg.Connection[Any]) -> None:
    """Nor for the disk: PostgreSQL waits for neither at the commit of a transaction that wrote nothing.

    A commit that waits for this standby, which does not exist, would never end.
    """
    superuser.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    try:
        superuser.execute("SELECT pg_reload_conf()")
        sending = threading.Thread(target=sender._by_notify().way.send, args=([[1]],), daemon=True)
        wait_until(lambda: _standbys(superuser) == "nobody", SOON, "the configuration", every=0.05)
        sending.start()
        sending.join(SOON)
        assert not sending.is_alive(), "the notification waits"
    finally:
        superuser.execute("ALTER SYSTEM RESET synchronous_standby_names")
        superuser.execute("SELECT pg_reload_conf()")


def test_it_is_never_sent_inside_a_transaction(on_postgresql: str) -> None:
    with transaction.atomic(using=on_postgresql), pytest.raises(AssertionError):
        notifications.notify(connections[on_postgresql], notifications.COMMITTED)


def test_the_payload_is_a_literal(on_postgresql: str) -> None:
    with pytest.raises(AssertionError):
        notifications.notify(connections[on_postgresql], "'; DROP TABLE users; --")


@pytest.mark.parametrize(
    ("notify", "url", "vendor", "expected"),
    [
        (None, "", "postgresql", True),
        (None, "amqp://p@rabbitmq/asgi", "postgresql", False),
        (True, "amqp://p@rabbitmq/asgi", "postgresql", True),
        (False, "", "postgresql", False),
        ("yes", "", "postgresql", False),
        (None, "", "sqlite", False),
        (True, "", "sqlite", False),
    ],
)
def test_when_it_is_wanted(
    settings: Any, monkeypatch: pytest.MonkeyPatch, notify: object, url: str, vendor: str, expected: bool
) -> None:
    monkeypatch.setattr(notifications, "_database", lambda: SimpleNamespace(vendor=vendor))
    settings.SLUICE_UPDATES_NOTIFY = notify
    settings.SLUICE_UPDATES_PUBLISHER_URL = url
    assert notifications.is_wanted() is expected


@pytest.mark.parametrize(
    ("notify", "expected"),
    [
        (None, []),
        (False, []),
        (True, ["sluice_updates.E021"]),
        ("yes", ["sluice_updates.E020"]),
        (1, ["sluice_updates.E020"]),
    ],
)
def test_the_check_on_sqlite(
    database_on: Callable[[str], str], settings: Any, notify: object, expected: list[str]
) -> None:
    database_on("sqlite")
    settings.SLUICE_UPDATES_NOTIFY = notify
    assert [found.id for found in checks.check_notify()] == expected


def test_the_check_on_postgresql(on_postgresql: str) -> None:
    assert checks.check_notify() + checks.check_pooler() == []


def test_the_end_of_the_listening_connection_leaves_the_next_user_of_its_descriptor_alone(
    on_postgresql: str, superuser: psycopg.Connection[Any]
) -> None:
    """The driver closes its socket as soon as it has failed, and the next accepted client gets the number."""

    class Reused(Notifications):
        heard: asyncio.Event

        def _read(self, raw: Any, descriptor: int, lost: asyncio.Future[Any]) -> None:
            super()._read(raw, descriptor, lost)
            if lost.done():
                with pytest.raises(OSError):
                    os.fstat(descriptor)
                os.dup2(client.fileno(), descriptor)
                asyncio.get_running_loop().add_reader(descriptor, self.heard.set)

    async def run() -> None:
        way = Reused("0" * 16, poll_soon=lambda: None, send=nothing)
        way.heard = asyncio.Event()
        subscribed = asyncio.create_task(way.subscribe())
        try:
            async with asyncio.timeout(SOON):
                await way.subscribed.wait()
                superuser.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND query LIKE 'SELECT pg_backend_pid%'"
                )
                with pytest.raises(DatabaseUnavailable):
                    await subscribed
                other.send(b"GET / HTTP/1.1")
                await way.heard.wait()
        finally:
            way.stop()

    async def nothing(*words: str) -> None:
        pass

    client, other = socket.socketpair()
    with client, other:
        asyncio.run(run())
