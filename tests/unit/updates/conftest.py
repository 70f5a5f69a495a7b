"""Each of these tests runs on SQLite and, where DATABASE_URL is PostgreSQL's (as in the test image), on
PostgreSQL.

`database` is what a test asks for: empty tables in one of them, and Django's connections routed to it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import django
import pytest
from django.core.management import call_command
from django.db import connections
from django.test import override_settings

# The models of the tests are imported while they are collected, so before pytest-django sets Django up.
django.setup()

from sluice_updates.models import Stream, Update  # noqa: E402

VENDORS = ["sqlite", "postgresql"] if os.environ["DATABASE_URL"].startswith("postgres") else ["sqlite"]
# What only PostgreSQL has: transactions that overlap, roles, transaction ids.
collect_ignore_glob = [] if "postgresql" in VENDORS else ["test_postgresql_*.py"]


class RouteTo:
    """A database router that sends everything one way."""

    def __init__(self, alias: str) -> None:
        self.alias = alias

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return self.alias

    db_for_write = db_for_read


@pytest.fixture(scope="session")
def sqlite_alias(tmp_path_factory: pytest.TempPathFactory, django_db_blocker: Any) -> str:
    """The alias of a SQLite file of this run's own, migrated."""
    alias = "updates_sqlite"
    connections.databases[alias] = connections.databases["default"] | {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(tmp_path_factory.mktemp("updates") / "updates.sqlite3"),
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL",
            "timeout": 20,
        },
    }
    with django_db_blocker.unblock():
        call_command("migrate", "sluice_updates", database=alias, verbosity=0)
    return alias


@pytest.fixture(scope="session")
def postgresql_alias(django_db_modify_db_settings: None, django_db_blocker: Any) -> Iterator[str]:
    """The alias of a database of this run's own on the server of DATABASE_URL, migrated."""
    alias, name = "updates_postgresql", f"updates_{os.getpid()}"
    connections.databases[alias] = connections.databases["default"] | {"NAME": name}
    with django_db_blocker.unblock():
        with connections["default"].cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name}")
        call_command("migrate", "sluice_updates", database=alias, verbosity=0)
        yield alias
        with connections["default"].cursor() as cursor:
            cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")
        connections["default"].close()


@pytest.fixture
def database_on(request: pytest.FixtureRequest, django_db_blocker: Any) -> Iterator[Callable[[str], str]]:
    """Call it with a vendor's name to have Django use that vendor's database; it returns the alias."""
    overrides = []
    with django_db_blocker.unblock():

        def use(vendor: str) -> str:
            alias: str = request.getfixturevalue(f"{vendor}_alias")
            override = override_settings(DATABASE_ROUTERS=[RouteTo(alias)], SLUICE_UPDATES_PUBLISHER_URL="")
            override.enable()
            overrides.append(override)
            empty(alias)
            return alias

        yield use
        for override in reversed(overrides):
            override.disable()
        connections.close_all()


@pytest.fixture(params=VENDORS)
def database(request: pytest.FixtureRequest, database_on: Callable[[str], str]) -> str:
    """Both tables, empty, on each vendor; the alias."""
    return database_on(request.param)


def empty(alias: str) -> None:
    """Remove all updates and streams, as no running site ever does."""
    with connections[alias].cursor() as cursor:
        for model in (Update, Stream):
            cursor.execute(f"DELETE FROM {model._meta.db_table}")
