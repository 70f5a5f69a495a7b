"""The process waits for an unresponsive PostgreSQL up to its own limit, and no longer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connections, transaction

from harness.servers import Postgres
from sluice_stack import environment, postgresql
from sluice_stack.postgresql.base import USABLE_SECONDS
from sluice_stack.settings import database

LIMIT = 0.5
# In addition to the limit, for a busy machine.
SLACK = 2.0


@pytest.fixture
def server(postgresql: Postgres) -> Iterator[Postgres]:
    """A server that a test may pause. The end resumes it."""
    yield postgresql
    postgresql.resume()


@pytest.fixture
def connection(server: Postgres, tmp_path: Path, django_db_blocker: Any) -> Iterator[Any]:
    """An open connection with a project's settings. Django calls it `second`."""
    env = environment.parse({"DATABASE_URL": server.url})
    connections.databases["second"] = database(env, sqlite=tmp_path / "unused")
    connections.configure_settings(connections.databases)
    connection = connections["second"]
    with django_db_blocker.unblock():
        connection.ensure_connection()
        yield connection
        connection.close()
    del connections["second"], connections.databases["second"]


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(postgresql, "seconds", LIMIT)
    return LIMIT


def select(connection: Any, what: str = "1") -> Any:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {what}")
        return cursor.fetchone()[0]


def test_an_answer_that_takes_too_long_is_given_up_with_its_connection(
    connection: Any, server: Postgres, limit: float
) -> None:
    server.pause()
    began = time.monotonic()
    with pytest.raises(OperationalError, match=r"did not answer within 0.5 s"):
        select(connection)
    assert limit <= time.monotonic() - began < limit + SLACK
    server.resume()
    connection.close()
    assert select(connection) == 1


def test_a_transaction_that_can_not_be_ended_is_given_up_too(
    connection: Any, server: Postgres, limit: float
) -> None:
    began = time.monotonic()
    with pytest.raises(OperationalError), transaction.atomic("second"):
        select(connection)
        server.pause()
    # After the failed COMMIT, Django opens a new connection, so that it is outside of any transaction.
    assert time.monotonic() - began < limit + connection.settings_dict["OPTIONS"]["connect_timeout"] + SLACK
    server.resume()
    assert select(connection) == 1


def test_an_open_connection_is_tried_for_a_second_whatever_the_limit(
    connection: Any, server: Postgres
) -> None:
    assert connection.is_usable()
    server.pause()
    began = time.monotonic()
    assert not connection.is_usable()
    assert time.monotonic() - began < USABLE_SECONDS + SLACK


def test_without_a_limit_an_answer_takes_as_long_as_it_takes(
    connection: Any, limit: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OperationalError, match="did not answer"):
        select(connection, f"pg_sleep({4 * limit})")
    connection.close()
    monkeypatch.setattr(postgresql, "seconds", None)
    assert select(connection, f"1 FROM pg_sleep({4 * limit})") == 1


def test_the_password_is_read_at_each_connect(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("first\n")
    url = "postgresql://wsgi@192.0.2.1/sluice"
    env = environment.parse({"DATABASE_URL": url, "DATABASE_PASSWORD_FILE": str(file)})
    connections.databases["third"] = database(env, sqlite=tmp_path / "unused")
    connections.configure_settings(connections.databases)
    try:
        wrapper = connections["third"]
        assert wrapper.get_connection_params()["password"] == "first"
        file.write_text("second\n")
        assert wrapper.get_connection_params()["password"] == "second"
        file.unlink()  # as while a secret is rotated
        assert wrapper.get_connection_params()["password"] == "first"
    finally:
        del connections["third"], connections.databases["third"]
