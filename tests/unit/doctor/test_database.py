"""The doctor finds mistakes in the database's setup, and a database that is down."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator

import psycopg
import pytest
from unit.doctor.house import House
from unit.doctor.mistakes import Making, Mistake, edited, gone, recognised, rewritten, rotated, sql

from harness.servers import Postgres
from harness.waiting import wait_until


@contextlib.contextmanager
def crowded(house: House) -> Iterator[None]:
    """Another client holds 16 of Daphne's 20 connections."""
    url = f"postgresql://asgi@127.0.0.1:{house.postgres.port}/sluice"
    password = house.secret("db_asgi").read_text()
    with (
        sql("ALTER ROLE asgi CONNECTION LIMIT 20", "ALTER ROLE asgi CONNECTION LIMIT -1")(house),
        contextlib.ExitStack() as held,
    ):
        for _ in range(16):
            held.enter_context(psycopg.connect(url, password=password))
        yield


@contextlib.contextmanager
def trigger_gone(house: House) -> Iterator[None]:
    ((name, definition),) = house.sql(
        "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger"
        " WHERE tgrelid = 'sluice_updates_update'::regclass AND tgdeferrable AND NOT tgisinternal"
    )
    with sql(f'DROP TRIGGER "{name}" ON sluice_updates_update', definition)(house):
        yield


def hba(change: Callable[[str], str]) -> Making:
    """pg_hba.conf with other lines."""

    @contextlib.contextmanager
    def make(house: House) -> Iterator[None]:
        file = house.postgres.folder / "data/pg_hba.conf"
        with contextlib.ExitStack() as undo:
            undo.callback(house.sql, "SELECT pg_reload_conf()")
            undo.enter_context(rewritten(file, change(file.read_text())))
            house.sql("SELECT pg_reload_conf()")
            yield

    return make


@contextlib.contextmanager
def nobody_trusted(house: House) -> Iterator[None]:
    """Without a password in pg_hba.conf, PostgreSQL reports that the role does not exist."""
    with (
        house.edited("beat.env", "//beat@", "//nobody@"),
        hba(lambda text: f"host all nobody 127.0.0.1/32 trust\n{text}")(house),
    ):
        yield


DATABASE = {
    "a role's password": Mistake(
        lambda house: rotated(house, "db_beat"),
        "database-reachable",
        "beat",
        "is not that of role beat",
        "ALTER ROLE beat PASSWORD",
    ),
    "a role that is missing": Mistake(
        edited("beat.env", "//beat@", "//nobody@"),
        "database-reachable",
        "beat",
        "role nobody",
        "or create the role",
    ),
    "a role that is missing, and no password is asked for": Mistake(
        nobody_trusted, "database-reachable", "beat", "there is no role nobody", "create it"
    ),
    "a database that is missing": Mistake(
        edited("celery.env", "/sluice\n", "/elsewhere\n"),
        "database-reachable",
        "celery",
        "no such database",
        "createdb",
    ),
    "nobody listens": Mistake(
        lambda house: edited("celery.env", f":{house.postgres.port}/", ":1/")(house),
        "database-reachable",
        "celery",
        "nothing listens at 127.0.0.1:1",
        "start PostgreSQL",
    ),
    "a name that doesn't resolve": Mistake(
        lambda house: edited("celery.env", f"@127.0.0.1:{house.postgres.port}", "@nowhere.invalid:1")(house),
        "database-reachable",
        "celery",
        "does not resolve here",
        "start PostgreSQL",
    ),
    "pg_hba.conf": Mistake(
        hba(lambda text: text.replace("all all", "all beat")),
        "database-reachable",
        "daphne",
        "accepts no connection from here as asgi",
        "pg_hba.conf",
    ),
    "no password": Mistake(
        edited("beat.env", "DATABASE_PASSWORD_FILE", "# DATABASE_PASSWORD_FILE"),
        "database-reachable",
        "beat",
        "role beat needs a password",
        "DATABASE_PASSWORD_FILE in /etc/sluice/beat.env",
    ),
    "its file is missing": Mistake(
        lambda house: gone(house, "secrets/db_beat"),
        "database-reachable",
        "beat",
        "db_beat does not exist",
        "DATABASE_PASSWORD_FILE",
    ),
    "another server": Mistake(
        lambda house: edited("beat.env", f":{house.postgres.port}/", f":{house.rabbitmq.port}/")(house),
        "database-reachable",
        "beat",
        "received invalid response",
        "DATABASE_URL in /etc/sluice/beat.env",
    ),
    "no right to enter": Mistake(
        sql("REVOKE CONNECT ON DATABASE sluice FROM public", "GRANT CONNECT ON DATABASE sluice TO public"),
        "database-reachable",
        "daphne",
        "may not connect to the database",
        "GRANT CONNECT",
    ),
    "no connection left for a role": Mistake(
        sql("ALTER ROLE worker CONNECTION LIMIT 0", "ALTER ROLE worker CONNECTION LIMIT -1"),
        "database-reachable",
        "channels-worker",
        "has no connection left",
        "CONNECTION LIMIT",
    ),
    "a table that is missing": Mistake(
        sql("ALTER TABLE inbox_message RENAME TO gone", "ALTER TABLE gone RENAME TO inbox_message"),
        "database-tables",
        "",
        "inbox_message",
        "sluice_stack.migrate",
    ),
    "a column that is missing": Mistake(
        sql(
            "ALTER TABLE inbox_message RENAME title TO gone", "ALTER TABLE inbox_message RENAME gone TO title"
        ),
        "database-tables",
        "",
        "inbox_message (title)",
        "sluice_stack.migrate",
    ),
    "the trigger is missing": Mistake(
        trigger_gone, "database-tables", "", "has no trigger", "sluice_stack.migrate"
    ),
    "a right is missing": Mistake(
        sql(
            "REVOKE SELECT ON sluice_updates_update FROM asgi",
            "GRANT SELECT ON sluice_updates_update TO asgi",
        ),
        "database-rights",
        "daphne",
        "role asgi may not SELECT sluice_updates_update",
        "sluice_stack.migrate",
    ),
    "a right to a column is missing": Mistake(
        sql(
            "REVOKE INSERT (payload) ON sluice_updates_update FROM celery",
            "GRANT INSERT (payload) ON sluice_updates_update TO celery",
        ),
        "database-rights",
        "celery",
        "role celery may not INSERT sluice_updates_update",
        "sluice_stack.migrate",
    ),
    "a superuser": Mistake(
        sql("ALTER ROLE beat SUPERUSER", "ALTER ROLE beat NOSUPERUSER"),
        "database-rights",
        "beat",
        "is a superuser",
        "NOSUPERUSER",
        "warning",
    ),
    "too few connections for Gunicorn": Mistake(
        edited("gunicorn.env", "WSGI_WORKERS=1", "WSGI_WORKERS=64"),
        "database-connections",
        "gunicorn",
        "Gunicorn may take 320 connections, and its role has 100",
        "WSGI_WORKERS",
    ),
    "connections nearly used up": Mistake(
        crowded,
        "database-connections",
        "daphne",
        "of the role's 20 connections are taken",
        "CONNECTION LIMIT",
        "warning",
    ),
    "no time-out": Mistake(
        sql("ALTER ROLE wsgi RESET statement_timeout", "ALTER ROLE wsgi SET statement_timeout = '8s'"),
        "database-time-outs",
        "gunicorn",
        "for ever",
        "ALTER ROLE",
        "warning",
    ),
    "it accepts no writes": Mistake(
        sql(
            "ALTER DATABASE sluice SET default_transaction_read_only = on",
            "ALTER DATABASE sluice RESET default_transaction_read_only",
        ),
        "database-durable",
        "",
        "accepts no writes",
        "default_transaction_read_only",
    ),
    "SQLite": Mistake(
        lambda house: edited(
            "celery.env", f"postgresql://celery@127.0.0.1:{house.postgres.port}/sluice", "sqlite:///x"
        )(house),
        "database-reachable",
        "celery",
        "SQLite",
        "DATABASE_URL",
        "warning",
    ),
}


@pytest.mark.parametrize("mistake", DATABASE)
def test_it_recognises_in_the_database(house: House, front: str, mistake: str) -> None:
    recognised(house, front, DATABASE[mistake])


def test_postgresql_is_down_or_frozen(house: House, front: str) -> None:
    every = ["--only", *(f"database-{name}" for name in ("reachable", "tables", "rights", "durable"))]
    house.postgres.stop()
    try:
        said = house.doctor("--at", front, *every, "push-hello", "front-ready")
    finally:
        house.postgres.start()
    assert "nothing listens at" in said.of("database-reachable", "daphne")["message"]
    assert said.of("front-ready")["message"] == "Gunicorn can't reach its database"
    assert said.of("database-tables")["verdict"] == said.of("push-hello")["verdict"] == "skipped"
    house.postgres.pause()
    try:
        said = house.doctor("--inside", *every)
    finally:
        house.postgres.resume()
    assert "does not answer" in said.of("database-reachable", "daphne")["message"]


def test_postgresql_loses_commits_in_a_crash_of_the_machine(house: House) -> None:
    house.postgres.stop()
    house.postgres.start(fsync="off")
    try:
        found = house.doctor("--inside", "--only", "database-durable").of("database-durable")
    finally:
        house.postgres.stop()
        house.postgres.start()
    assert (found["verdict"], found["message"]) == (
        "warning",
        "fsync is off: a crash can damage the data",
    )


def test_postgresql_is_a_standby(house: House) -> None:
    house.postgres.stop()
    signal_file = house.postgres.folder / "data/standby.signal"
    signal_file.touch()
    os.chmod(signal_file, 0o666)
    house.postgres.start()
    try:
        found = house.doctor("--inside", "--only", "database-durable").of("database-durable")
    finally:
        house.postgres.stop()
        signal_file.unlink()
        house.postgres.start()
    assert "it is a standby" in found["message"] and "primary" in found["fix"]


# ---- another server, which only beat uses


@pytest.fixture(scope="module")
def spare(house: House) -> Iterator[Postgres]:
    server = Postgres()
    try:
        server.start(max_connections=20, superuser_reserved_connections=3)
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("CREATE ROLE beat LOGIN")
        with house.edited("beat.env", f":{house.postgres.port}/", f":{server.port}/"):
            yield server
    finally:
        server.close()


def said_of(house: House, check: str) -> dict[str, str]:
    return house.doctor("--inside", "--only", check).of(check, "beat")


def test_postgresql_has_hardly_a_connection_left_and_then_none(house: House, spare: Postgres) -> None:
    with contextlib.ExitStack() as held:

        def take(count: int) -> None:
            for _ in range(count):
                held.enter_context(psycopg.connect(spare.url))

        take(16)
        found = said_of(house, "database-connections")
        assert (found["verdict"], found["message"]) == ("warning", "16 of all 20 connections are taken")
        for more, words in ((1, "remaining connection slots"), (3, "too many clients")):
            take(more)
            with pytest.raises(psycopg.OperationalError, match=words):
                psycopg.connect(spare.url.replace("owner", "beat"))
            found = said_of(house, "database-reachable")
            assert (
                found["message"] == "PostgreSQL has no connection left" and "max_connections" in found["fix"]
            )


def test_postgresql_is_about_to_stop(house: House, spare: Postgres) -> None:
    """It was told to wait for its clients."""
    with psycopg.connect(spare.url):
        spare.signal(signal.SIGTERM)
        wait_until(lambda: spare.ready() == 1, 10, "PostgreSQL to refuse connections")
        found = said_of(house, "database-reachable")
    assert found["message"] == "PostgreSQL accepts no connections now: the database system is shutting down"
    spare.stop()
    spare.start()


def test_postgresql_is_being_restored(house: House, spare: Postgres) -> None:
    """Its archive does not have the first file yet."""
    spare.stop()
    signal_file, come = spare.folder / "data/recovery.signal", spare.folder / "come"
    signal_file.touch()
    os.chmod(signal_file, 0o666)
    spare.launch(restore_command=f"until test -e {come}; do sleep 0.1; done; false")
    wait_until(lambda: spare.ready() == 1, 10, "its first answer")
    found = said_of(house, "database-reachable")
    assert found["message"] == "PostgreSQL accepts no connections now: the database system is starting up"
    assert found["fix"].startswith("wait")
    come.touch()
    wait_until(lambda: spare.ready() == 0, 30, "the end of it")
