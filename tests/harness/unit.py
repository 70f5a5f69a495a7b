"""What tests in pytest's own process share: Django's set-up, and real servers as fixtures.

tests/conftest.py and packages/*/tests/conftest.py load it (`pytest_plugins = ["harness.unit"]`) and call
`django_setup.set_up`. Each of these folders is tested by a pytest of its own, since a process has one Django.

- **Database.** DATABASE_URL if it is set. Else what `set_up` was given; else, where PostgreSQL is installed
  (the test image), a server of this run's own, started at the first test that needs it; else SQLite. A test
  that needs PostgreSQL itself asks for the fixture `postgresql`.
- **Broker.** `rabbitmq` is a RabbitMQ of this run's own, started at the first test that asks for it.
- A test may stop, pause and start both again (harness.servers); it leaves them running at its end.
- A test that asks for one of them is marked `servers`. `-m "not servers"` runs the others, in seconds.
- Unit tests use no engine and no network but the loopback. Stacks belong to tests/e2e.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from . import django_setup
from .servers import Postgres, RabbitMQ


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """Each process that pytest-xdist starts has a server and folders of its own: it mustn't inherit these."""
    for name in django_setup.from_here:
        del os.environ[name]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if {"postgresql", "rabbitmq"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.servers)


@pytest.fixture(scope="session")
def postgresql(pytestconfig: pytest.Config) -> Iterator[Postgres]:
    """PostgreSQL, running. Its address is DATABASE_URL's unless that was given, by hand or to `set_up`."""
    _assert_wanted(pytestconfig)
    server = Postgres(django_setup.OWN_PORT)
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture(scope="session")
def rabbitmq(pytestconfig: pytest.Config) -> Iterator[RabbitMQ]:
    """RabbitMQ, running."""
    _assert_wanted(pytestconfig)
    server = RabbitMQ()
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture(scope="session")
def django_db_modify_db_settings(request: pytest.FixtureRequest) -> None:
    """pytest-django calls this before it makes the test database."""
    if django_setup.OWN_PORT and os.environ["DATABASE_URL"] == django_setup.OWN_DATABASE:
        request.getfixturevalue("postgresql")


def _assert_wanted(config: pytest.Config) -> None:
    """For a test that asks by request.getfixturevalue, which collection can't see."""
    assert "not servers" not in config.option.markexpr, "mark this test with pytest.mark.servers"
