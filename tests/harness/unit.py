"""What all tests in pytest's own process share: Django's setup, and real servers as fixtures.

tests/conftest.py and packages/*/tests/conftest.py load it (`pytest_plugins = ["harness.unit"]`) and call
`django_setup.set_up`. Each of these folders has its own pytest process, because a process has one Django.

- **Database.** The first that applies: DATABASE_URL; the argument of `set_up`; this run's own PostgreSQL if
  it is installed (the test image), started at the first test that needs it; SQLite. A test that needs
  PostgreSQL itself requests the fixture `postgresql`.
- **Broker.** `rabbitmq` is this run's own RabbitMQ, started at the first test that requests it.
- A test may stop, pause and start both (harness.servers). At its end both must run.
- A test that requests one of them is marked `servers`. `-m "not servers"` runs the others, in seconds.
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
    """Remove our variables: each pytest-xdist process has its own server and folders, and must not inherit
    these.
    """
    for name in django_setup.from_here:
        del os.environ[name]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if {"postgresql", "rabbitmq"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.servers)


@pytest.fixture(scope="session")
def postgresql(pytestconfig: pytest.Config) -> Iterator[Postgres]:
    """A running PostgreSQL. DATABASE_URL names it, unless another database was set by hand or by `set_up`."""
    _assert_wanted(pytestconfig)
    server = Postgres(django_setup.OWN_PORT)
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture(scope="session")
def rabbitmq(pytestconfig: pytest.Config) -> Iterator[RabbitMQ]:
    """A running RabbitMQ."""
    _assert_wanted(pytestconfig)
    server = RabbitMQ()
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture(scope="session")
def django_db_modify_db_settings(request: pytest.FixtureRequest) -> None:
    """Start PostgreSQL if needed. pytest-django calls this before it creates the test database."""
    if django_setup.OWN_PORT and os.environ["DATABASE_URL"] == django_setup.OWN_DATABASE:
        request.getfixturevalue("postgresql")


def _assert_wanted(config: pytest.Config) -> None:
    """Check the mark at run time: collection doesn't see a test that calls request.getfixturevalue."""
    assert "not servers" not in config.option.markexpr, "mark this test with pytest.mark.servers"
