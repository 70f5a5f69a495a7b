"""A pytest plugin: Django's settings for tests, and real servers for those that ask.

A conftest.py calls `prepare` before any model is imported, and names this module in `pytest_plugins`.

- **Database.** DATABASE_URL if it is set. Else, where PostgreSQL is installed (the test image), a server of
  this run's own, started at the first test that needs it; else SQLite. A test that needs PostgreSQL itself
  asks for the fixture `postgresql`.
- **Broker.** `rabbitmq` is a RabbitMQ of this run's own, started at the first test that asks for it.
- Both may be stopped, paused and started again by a test (harness.servers), which leaves them running at its
  end.
- No engine and no network but the loopback.

Tests that ask for one of the servers get the marker `servers`: `-m "not servers"` leaves them out.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import django
import pytest

from harness.servers import Postgres, RabbitMQ, free_port, postgres_binaries

# Before pytest-django looks at the settings, which it does in pytest_configure: the address is fixed now, the
# server starts when needed.
_OWN_PORT = free_port() if postgres_binaries() and "DATABASE_URL" not in os.environ else None
_ours: set[str] = set()


def prepare(settings_module: str) -> None:
    """Set what is not set by hand, and set Django up."""
    scratch = Path(tempfile.mkdtemp(prefix="sluice-tests-"))
    key = scratch / "django_secret_key"
    key.write_text(secrets.token_urlsafe(48))
    database = (
        f"postgresql://owner@127.0.0.1:{_OWN_PORT}/sluice"
        if _OWN_PORT
        else f"sqlite:///{scratch}/sluice.sqlite3"
    )
    defaults = {
        "DJANGO_SETTINGS_MODULE": settings_module,
        "SECRET_KEY_FILE": str(key),
        "DATABASE_URL": database,
    }
    defaults |= {name: str(scratch / name.lower()) for name in ("MEDIA_ROOT", "VOLUMES_ROOT", "STATIC_ROOT")}
    _ours.update(defaults.keys() - os.environ.keys())
    os.environ |= {name: defaults[name] for name in _ours}
    django.setup()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "servers: needs PostgreSQL or RabbitMQ (set automatically)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if {"postgresql", "rabbitmq"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("servers")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """Each process that pytest-xdist starts has its own server and folders: it must not inherit these."""
    for name in _ours:
        del os.environ[name]


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Postgres]:
    """PostgreSQL, running. Its address is DATABASE_URL's where that was not set by hand."""
    server = Postgres(_OWN_PORT)
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitMQ]:
    """RabbitMQ, running."""
    server = RabbitMQ()
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture(scope="session")
def django_db_modify_db_settings(request: pytest.FixtureRequest) -> None:
    """pytest-django calls this before it makes the test database."""
    if _OWN_PORT:
        request.getfixturevalue("postgresql")
