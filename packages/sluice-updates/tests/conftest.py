"""Fixtures for all tests of this package. No test imports the sample site.

A test that requests `database` runs once on SQLite and once on PostgreSQL, with empty tables, and Django's
queries go to that database. Tests that need a server are marked `servers`; `-m "not servers"` deselects them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from django.core.management import call_command
from django.db import connections
from django.test import override_settings

from harness.django_setup import SCRATCH, set_up
from harness.servers import Postgres

pytest_plugins = ["harness.unit"]

# pytest imports the tests' models while it collects.
set_up("updates_lab.settings", DATABASE_URL=f"sqlite://{SCRATCH}/default.sqlite3")

from sluice_updates.models import Stream, Update  # noqa: E402
from updates_lab.support import RouteTo  # noqa: E402


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that always use PostgreSQL. The hub's tests have a rule of their own."""
    for item in items:
        if "on_postgresql" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.servers)


@pytest.fixture(scope="session")
def sqlite_alias(tmp_path_factory: pytest.TempPathFactory, django_db_blocker: Any) -> str:
    """The alias of this run's own, migrated SQLite file."""
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
def postgresql_alias(postgresql: Postgres, django_db_blocker: Any) -> Iterator[str]:
    """The alias of this run's own, migrated PostgreSQL database."""
    alias, name = "updates_postgresql", f"updates_{os.getpid()}"
    server = urlsplit(postgresql.url)
    connections.databases[alias] = connections.databases["default"] | {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": name,
        "USER": server.username,
        "HOST": server.hostname,
        "PORT": server.port,
        "OPTIONS": {},
    }
    with psycopg.connect(postgresql.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    with django_db_blocker.unblock():
        call_command("migrate", "sluice_updates", database=alias, verbosity=0)
        yield alias
        connections[alias].close()


@pytest.fixture
def database_on(request: pytest.FixtureRequest, django_db_blocker: Any) -> Iterator[Callable[[str], str]]:
    """A function that takes a vendor's name, makes Django use that vendor's database, and returns the
    alias.
    """
    overrides = []
    with django_db_blocker.unblock():

        def use(vendor: str) -> str:
            alias: str = request.getfixturevalue(f"{vendor}_alias")
            override = override_settings(
                DATABASE_ROUTERS=[RouteTo(alias)],
                SLUICE_UPDATES_PUBLISHER_URL="",
                SLUICE_UPDATES_NOTIFY=False,
            )
            override.enable()
            overrides.append(override)
            empty(alias)
            return alias

        yield use
        for override in reversed(overrides):
            override.disable()
        connections.close_all()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
def database(request: pytest.FixtureRequest, database_on: Callable[[str], str]) -> str:
    """The alias of a database with both tables, empty, once per vendor."""
    return database_on(request.param)


def empty(alias: str) -> None:
    """Delete all updates and streams, which no running site ever does."""
    with connections[alias].cursor() as cursor:
        for model in (Update, Stream):
            cursor.execute(f"DELETE FROM {model._meta.db_table}")
