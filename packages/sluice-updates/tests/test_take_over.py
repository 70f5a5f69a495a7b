"""A database from the time of the app label `updates` keeps its streams, updates and sessions."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import OperationalError, connections

from sluice_updates import history, publish
from sluice_updates.positions import ZERO, Position
from sluice_updates.sessions.models import Session
from updates_lab.support import RouteTo

# The result of `./manage.py migrate` at commit 75db6a0, as SQL.
DUMPS = Path(__file__).parent / "old_names"
OLD_LABELS = ["updates", "updates_sessions"]
# The statements of that version for publishing, polling, trimming, sign-in and sign-out, on PostgreSQL.
OLD_PUBLISH = (
    "INSERT INTO updates_update (stream, event, payload, key) VALUES (%s, %s, %s, %s)"
    " ON CONFLICT (key) WHERE key IS NOT NULL DO NOTHING RETURNING id"
)
OLD_HEADS = "SELECT name, head, head_tag, floor, floor_tag FROM updates_stream WHERE name IN (%s)"
OLD_POLL = (
    'SELECT pg_current_snapshot()::text, u.* FROM (SELECT) AS always LEFT JOIN ((SELECT u.stream, u."offset",'
    ' u.tag, u.event, u.payload FROM updates_update AS u WHERE xid >= %s::xid8 AND "offset" IS NOT NULL'
    ' ORDER BY xid LIMIT %s) UNION ALL (SELECT u.stream, u."offset", u.tag, u.event, u.payload FROM'
    ' updates_update AS u WHERE xid = ANY (%s::xid8[]) AND "offset" IS NOT NULL ORDER BY xid LIMIT %s)) AS u'
    " ON true ORDER BY 2, 3"
)
OLD_TRIM = (
    ("SELECT count(*) FROM updates_stream WHERE name = %s", ["all"]),
    ('DELETE FROM updates_update WHERE "offset" <= %s AND stream = %s', [1, "all"]),
    ("SELECT name, head FROM updates_stream WHERE name = %s LIMIT 21 FOR UPDATE", ["all"]),
    ("UPDATE updates_stream SET floor = %s, floor_tag = %s WHERE name = %s", [1, "f", "all"]),
)
OLD_SIGN_IN = (
    "INSERT INTO updates_session (session_key, session_data, expire_date, user_id)"
    " VALUES (%s, %s, now() + interval '1 day', %s)"
)
OLD_SIGNED_IN = "SELECT user_id FROM updates_session WHERE expire_date > now() AND session_key = %s LIMIT 21"
OLD_SIGN_OUT = "DELETE FROM updates_session WHERE session_key IN (%s)"
GRANTS = (
    "SELECT, INSERT (stream, event, payload, key), DELETE ON updates_update",
    "SELECT, UPDATE (floor, floor_tag) ON updates_stream",
    "SELECT, INSERT, DELETE ON updates_session",
)


class Old:
    """A database created by the previous version. `alias` is Django's name for it."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.vendor = connections[alias].vendor

    def migrate(self, *arguments: str) -> None:
        """Migrate with today's code."""
        call_command("migrate", *arguments, database=self.alias, verbosity=0, skip_checks=True)

    def sql(self, statement: str, values: Any = None) -> list[Any]:
        with connections[self.alias].cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def fill(self) -> None:
        """Create the previous version's data: updates in two streams, a session, one trimmed row."""
        if self.vendor == "postgresql":
            for stream, key in (("all", "k"), ("all", None), ("user:7", None), ("all", None)):
                self.sql(OLD_PUBLISH, [stream, "e", "{}", key])
        else:
            self.sql(
                "INSERT INTO updates_stream VALUES ('all', 3, 't3', 0, '0'), ('user:7', 1, 's1', 0, '0')"
            )
            self.sql(
                'INSERT INTO updates_update (stream, "offset", tag, event, payload, key) VALUES'
                " ('all', 1, 't1', 'e', '{}', 'k'), ('all', 2, 't2', 'e', '{}', NULL),"
                " ('user:7', 1, 's1', 'e', '{}', NULL), ('all', 3, 't3', 'e', '{}', NULL)"
            )
        self.sql("INSERT INTO updates_session VALUES ('abc', 'data', '2099-01-01T00:00:00Z', 7)")

    def rows(self, prefix: str) -> list[list[Any]]:
        return [
            self.sql(f"SELECT * FROM {prefix}updates_{table} ORDER BY 1")
            for table in ("stream", "update", "session")
        ]

    def migrations(self) -> set[tuple[str, str]]:
        return {(app, name) for app, name in self.sql("SELECT app, name FROM django_migrations")}

    def tables(self) -> set[str]:
        """The tables, without views."""
        with connections[self.alias].cursor() as cursor:
            return set(connections[self.alias].introspection.table_names(cursor))

    def schema(self) -> list[Any]:
        """All names that contain the app's: tables, columns, indexes, constraints, sequence, trigger,
        function.
        """
        if self.vendor == "sqlite":
            return self.sql(
                "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name LIKE '%updates_%'"
            )
        return [
            self.sql(f"SELECT * FROM ({query}) AS q ORDER BY 1, 2, 3")
            for query in (
                "SELECT relname, relkind, reloptions::text FROM pg_class WHERE relname LIKE '%updates%'"
                " AND relkind <> 'v'",
                "SELECT table_name, ordinal_position, column_name, data_type, column_default, is_nullable,"
                " is_identity FROM information_schema.columns WHERE table_name LIKE 'sluice_updates%'",
                "SELECT indexname, indexdef, '' FROM pg_indexes WHERE tablename LIKE 'sluice_updates%'",
                "SELECT conname, pg_get_constraintdef(oid), '' FROM pg_constraint"
                " WHERE conrelid::regclass::text LIKE 'sluice_updates%'",
                "SELECT tgname, pg_get_triggerdef(oid), '' FROM pg_trigger WHERE NOT tgisinternal",
                "SELECT proname, pg_get_functiondef(oid), proacl::text FROM pg_proc"
                " WHERE proname LIKE '%allot'",
            )
        ]


def address(settings: dict[str, Any]) -> dict[str, Any]:
    """psycopg's parameters for one of Django's databases."""
    names = {"HOST": "host", "PORT": "port", "USER": "user", "PASSWORD": "password", "NAME": "dbname"}
    return {ours: settings[theirs] for theirs, ours in names.items() if settings.get(theirs)}


@pytest.fixture
def make(
    django_db_blocker: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Old]]:
    """Creates databases: `make("sqlite", dump="…")`."""
    made: list[str] = []

    def make(vendor: str, dump: str = "") -> Old:
        pattern = connections.databases[request.getfixturevalue(f"{vendor}_alias")]
        name = f"old_{len(made)}"
        if vendor == "sqlite":
            path = str(tmp_path / name)
            with closing(sqlite3.connect(path)) as file:
                file.executescript(dump)
            connections.databases[name] = pattern | {"NAME": path}
        else:
            connections.databases[name] = pattern | {"NAME": name}
            with psycopg.connect(**address(pattern | {"NAME": "postgres"}), autocommit=True) as server:
                server.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
                server.execute(f"CREATE DATABASE {name}")
            with psycopg.connect(**address(pattern | {"NAME": name})) as database:
                database.execute(dump.encode())
        made.append(name)
        return Old(name)

    with django_db_blocker.unblock():
        yield make
        for name in made:
            connections[name].close()
            del connections.databases[name]
            delattr(connections._connections, name)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
def vendor(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def old(make: Callable[..., Old], vendor: str, settings: Any) -> Old:
    """A filled database of the previous version, which Django's queries go to."""
    old = make(vendor, dump=(DUMPS / f"{vendor}.sql").read_text())
    settings.DATABASE_ROUTERS = [RouteTo(old.alias)]
    old.fill()
    return old


def test_nothing_is_lost(old: Old) -> None:
    before = old.rows("")
    old.migrate()
    assert old.rows("sluice_") == before
    reading = history.read({"all": ZERO, "user:7": ZERO})
    assert [(each.stream, each.position.offset) for each in reading.updates] == [
        ("all", 1),
        ("all", 2),
        ("all", 3),
        ("user:7", 1),
    ]
    assert not old.tables() & {"updates_stream", "updates_update", "updates_session"}
    assert Session.objects.get().user_id == 7


def test_streams_go_on_where_they_were(old: Old) -> None:
    _, all_updates, _ = old.rows("")
    position = Position(3, old.sql("SELECT head_tag FROM updates_stream WHERE name = 'all'")[0][0])
    old.migrate()
    publish("all", "e", {}, key="k")  # the key is taken
    publish("all", "e", {})
    reading = history.read({"all": position})
    assert reading.recovered == {"all": True}
    assert [each.position.offset for each in reading.updates] == [4]
    assert old.sql("SELECT max(id) FROM sluice_updates_update")[0][0] > max(row[0] for row in all_updates)


def test_the_schema_is_that_of_a_new_database(old: Old, make: Callable[..., Old]) -> None:
    old.migrate()
    new = make(old.vendor)
    new.migrate()
    assert sorted(old.schema(), key=str) == sorted(new.schema(), key=str)
    assert len(str(new.schema())) > 1500


def test_content_types_keep_their_ids_and_permissions(old: Old) -> None:
    query = "SELECT id, model FROM django_content_type WHERE app_label IN ('{}', '{}') ORDER BY id"
    before = old.sql(query.format(*OLD_LABELS))
    permissions = old.sql("SELECT * FROM auth_permission ORDER BY id")
    old.migrate()
    assert len(before) == 3
    *kept, (_, new) = old.sql(query.format("sluice_updates", "sluice_updates_sessions"))
    assert kept == before and new == "database"
    assert old.sql(query.format(*OLD_LABELS)) == []
    assert set(permissions) <= set(old.sql("SELECT * FROM auth_permission"))


def test_records_of_the_old_label_stay_as_long_as_its_views(old: Old) -> None:
    before = {record for record in old.migrations() if record[0] in OLD_LABELS}
    assert len(before) == 4
    old.migrate()
    kept = {record for record in old.migrations() if record[0] in OLD_LABELS}
    assert kept == (before if old.vendor == "postgresql" else set())


def test_there_and_back(old: Old) -> None:
    rows, records = old.rows(""), old.migrations()
    old.migrate()
    for label in ("sluice_updates", "sluice_updates_sessions"):
        old.migrate(label, "0001")
    assert old.rows("") == rows
    assert {record for record in old.migrations() if record[0] in OLD_LABELS} <= records
    assert {"updates_stream", "updates_update", "updates_session"} <= old.tables()
    old.migrate()
    assert old.rows("sluice_") == rows
    publish("all", "e", {})
    for label in ("sluice_updates", "sluice_updates_sessions"):
        old.migrate(label, "zero")
    assert not {table for table in old.tables() if "updates_" in table}
    assert not {record for record in old.migrations() if "updates" in record[0]}
    old.migrate()
    assert history.read({"all": ZERO}).updates == []


def test_a_new_database(make: Callable[..., Old], vendor: str, settings: Any) -> None:
    new = make(vendor)
    settings.DATABASE_ROUTERS = [RouteTo(new.alias)]
    new.migrate()
    publish("all", "e", {})
    for label in ("sluice_updates", "sluice_updates_sessions"):
        new.migrate(label, "zero")
    assert not {table for table in new.tables() if "updates_" in table}
    new.migrate()
    publish("all", "e", {})
    assert [each.position.offset for each in history.read({"all": ZERO}).updates] == [1]
    assert not {record for record in new.migrations() if record[0] in OLD_LABELS}


OTHER_APP = """
    CREATE TABLE updates_update (id integer PRIMARY KEY, title varchar(50));
    CREATE TABLE updates_stream ({stream});
    CREATE TABLE updates_session (id integer PRIMARY KEY, speaker varchar(50));
    INSERT INTO updates_update VALUES (1, 'Version 2 is out');
"""
SAME_SHAPE = """
    CREATE TABLE updates_update (id integer PRIMARY KEY, stream text, "offset" integer, tag text, event text,
        payload text, key text, created text);
    CREATE TABLE updates_stream (name text, head integer, head_tag text, floor integer, floor_tag text);
    CREATE TABLE updates_session (session_key text, session_data text, expire_date text, user_id integer);
"""


@pytest.mark.parametrize(
    "other",
    [
        OTHER_APP.format(stream="id integer PRIMARY KEY"),
        OTHER_APP.format(stream="name text, head integer, head_tag text, floor integer, floor_tag text"),
        SAME_SHAPE,
    ],
    ids=["other columns", "one table the same", "same columns, no trigger"],
)
def test_tables_of_another_app_are_left_alone(make: Callable[..., Old], vendor: str, other: str) -> None:
    site = make(vendor, dump=other)
    rows, columns = site.rows(""), site.sql("SELECT * FROM updates_update")
    site.migrate()
    assert (site.rows(""), site.sql("SELECT * FROM updates_update")) == (rows, columns)
    assert {"sluice_updates_update", "sluice_updates_stream", "sluice_updates_session"} <= site.tables()
    for label in ("sluice_updates", "sluice_updates_sessions"):
        site.migrate(label, "zero")
    assert site.rows("") == rows
    assert not {table for table in site.tables() if table.startswith("sluice_updates_")}


# While the previous version still runs (PostgreSQL)


@pytest.fixture
def migrated(make: Callable[..., Old]) -> Iterator[Callable[[str], list[Any]]]:
    """Executes statements on a migrated database, as a role with the previous version's rights."""
    old = make("postgresql", dump=(DUMPS / "postgresql.sql").read_text())
    old.fill()
    old.sql("CREATE ROLE sluice_test_before")
    for grant in GRANTS:
        old.sql(f"GRANT {grant} TO sluice_test_before")
    old.migrate()
    old.sql("SET ROLE sluice_test_before")
    yield old.sql
    old.sql("RESET ROLE")
    old.sql("DROP OWNED BY sluice_test_before")
    old.sql("DROP ROLE sluice_test_before")


@pytest.mark.servers
class TestTheVersionBefore:
    def test_publishes_and_polls(self, migrated: Callable[..., list[Any]]) -> None:
        snapshot = migrated("SELECT pg_current_snapshot()::text")[0][0].split(":")[1]
        assert len(migrated(OLD_PUBLISH, ["all", "e", "{}", "new key"])) == 1
        assert migrated(OLD_PUBLISH, ["all", "e", "{}", "new key"]) == []
        polled = migrated(OLD_POLL, [snapshot, 10, "{}", 10])
        assert [(row[1], row[2]) for row in polled] == [("all", 4)]
        assert migrated(OLD_HEADS, ["all"])[0][:2] == ("all", 4)

    def test_trims(self, migrated: Callable[..., list[Any]]) -> None:
        for statement, values in OLD_TRIM:
            migrated(statement, values)
        assert [row[3:] for row in migrated(OLD_HEADS, ["all"])] == [(1, "f")]
        assert migrated("SELECT min(\"offset\") FROM updates_update WHERE stream = 'all'") == [(2,)]

    def test_signs_in_and_out(self, migrated: Callable[..., list[Any]]) -> None:
        assert migrated(OLD_SIGNED_IN, ["abc"]) == [(7,)]
        migrated(OLD_SIGN_IN, ["def", "", 8])
        assert migrated(OLD_SIGNED_IN, ["def"]) == [(8,)]
        migrated(OLD_SIGN_OUT, ["def"])
        assert migrated(OLD_SIGNED_IN, ["def"]) == []

    @pytest.mark.parametrize(
        "forgery",
        [
            "INSERT INTO updates_update (stream, event, payload, \"offset\") VALUES ('all', 'e', '{}', 9)",
            "UPDATE updates_update SET payload = '[]'",
            "UPDATE updates_stream SET head = 9",
            "UPDATE updates_session SET user_id = 1",
        ],
    )
    def test_may_do_no_more_than_before(self, migrated: Callable[..., list[Any]], forgery: str) -> None:
        with pytest.raises(Exception, match="permission denied"):
            migrated(forgery)


@pytest.mark.servers
def test_a_migration_that_finds_the_tables_in_use_gives_way(make: Callable[..., Old]) -> None:
    """An open transaction that published holds the table. Other transactions must not wait behind the
    migration.
    """
    old = make("postgresql", dump=(DUMPS / "postgresql.sql").read_text())
    url = address(connections.databases[old.alias])

    def migrate() -> None:
        old.migrate()
        connections[old.alias].close()

    migration = threading.Thread(target=migrate)
    with psycopg.connect(**url) as slow, psycopg.connect(**url, autocommit=True) as other:
        slow.execute(OLD_PUBLISH, ["all", "e", "{}", None])
        migration.start()
        other.execute("SET statement_timeout = '900ms'")  # the migration waits for 400 ms, then pauses
        waited = 0
        while waited < 2:
            waited += bool(
                other.execute(
                    "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'LOCK TABLE%'"
                ).rowcount
            )
            other.execute(OLD_PUBLISH, ["all", "e", "{}", None])
        assert migration.is_alive()
        slow.commit()
        migration.join(60)
        assert not migration.is_alive()
        published = other.execute('SELECT count(*), max("offset") FROM sluice_updates_update').fetchone()
        assert published and published[0] == published[1] > 2


@pytest.mark.servers
def test_a_migration_that_never_gets_the_tables_changes_nothing(
    make: Callable[..., Old], monkeypatch: pytest.MonkeyPatch
) -> None:
    old_names = import_module("sluice_updates.migrations._old_names")
    monkeypatch.setattr(old_names, "_LOCK_ATTEMPTS", 2)
    old = make("postgresql", dump=(DUMPS / "postgresql.sql").read_text())
    url = address(connections.databases[old.alias])
    with psycopg.connect(**url) as slow:
        slow.execute(OLD_PUBLISH, ["all", "e", "{}", None])
        with pytest.raises(OperationalError, match="nothing has changed"):
            old.migrate()
        slow.commit()
        assert len(slow.execute(OLD_HEADS, ["all"]).fetchall()) == 1
    assert "updates_update" in old.tables()
