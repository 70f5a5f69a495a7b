"""For all tests: Django's settings, and real servers for those that ask.

- **Database.** DATABASE_URL if it is set. Else, where PostgreSQL is installed (the test image), a server of
  this run's own, started at the first test that needs it; else SQLite. A test that needs PostgreSQL itself
  asks for the fixture `postgresql`.
- **Broker.** `rabbitmq` is a RabbitMQ of this run's own, started at the first test that asks for it.
- Both may be stopped, paused and started again by a test (harness.servers), which leaves them running at its
  end.
- Unit tests use no engine and no network but the loopback. Stacks belong to tests/e2e
  (tests/e2e/conftest.py).
"""

import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import django
import pytest

from harness.servers import Postgres, RabbitMQ, free_port, postgres_binaries

pytest_plugins = ["harness.fixtures"]

# Before pytest-django looks at the settings, which it does in pytest_configure: the address is fixed now, the
# server starts when needed.
_OWN_PORT = free_port() if postgres_binaries() and "DATABASE_URL" not in os.environ else None
_SCRATCH = Path(tempfile.mkdtemp(prefix="sluice-tests-"))


def _set_environment() -> set[str]:
    """Set what isn't set by hand; the names of what was."""
    key = _SCRATCH / "django_secret_key"
    key.write_text(secrets.token_urlsafe(48))
    database = (
        f"postgresql://owner@127.0.0.1:{_OWN_PORT}/sluice"
        if _OWN_PORT
        else f"sqlite:///{_SCRATCH}/sluice.sqlite3"
    )
    defaults = {
        "DJANGO_SETTINGS_MODULE": "mysite.settings",
        "SECRET_KEY_FILE": str(key),
        "DATABASE_URL": database,
    }
    defaults |= {name: str(_SCRATCH / name.lower()) for name in ("MEDIA_ROOT", "VOLUMES_ROOT", "STATIC_ROOT")}
    ours = defaults.keys() - os.environ.keys()
    os.environ |= {name: defaults[name] for name in ours}
    return ours


_ours = _set_environment()
# Before any test module, or conftest.py further down, imports a model.
django.setup()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """Each process that pytest-xdist starts has a server and folders of its own: it mustn't inherit these."""
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
