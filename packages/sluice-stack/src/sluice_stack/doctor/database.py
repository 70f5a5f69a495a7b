"""PostgreSQL, as each program connects to it: login, tables, rights, connections."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import psycopg

from sluice_stack import environment, grants
from sluice_stack.postgresql.base import Connection

from .deployment import Check, Deployment, Program
from .finding import Finding, Skipped, failed, one_line, passed, warning

OLDEST: Final = 14  # https://docs.djangoproject.com/en/5.2/ref/databases/#postgresql-notes
MIGRATE: Final = "run python -m sluice_stack.migrate (docker compose up -d migrate)"
_SECONDS: Final = 5.0
_FULL: Final = 0.8  # of the connections that there are
# The beginning of PostgreSQL's message while it starts, recovers or stops.
_NOT_YET: Final = "the database system is "
_PRIVILEGE: Final = re.compile(r"([A-Z]+)(?: \(([^)]*)\))?")


def _connect(deployment: Deployment, program: Program) -> Connection:
    """Connect as the program does, with a limit for each wait. Raises psycopg.Error or Malformed."""
    server = urlsplit(program.env.database_url).netloc.rpartition("@")[2]
    if server in deployment.stalled:
        raise psycopg.errors.ConnectionTimeout("timeout, as before")
    try:
        return _connected(program)
    except psycopg.errors.ConnectionTimeout:
        deployment.stalled.add(server)
        raise


def _connected(program: Program) -> Connection:
    env = program.env
    parts = urlsplit(env.database_url)
    connection = Connection.connect(
        host=parts.hostname,
        port=parts.port or 5432,
        user=unquote(parts.username or ""),
        password=environment.secret(env.database_password_file, "DATABASE_PASSWORD_FILE")
        if env.database_password_file
        else None,
        dbname=unquote(parts.path[1:]),
        connect_timeout=3,
        application_name="doctor",
        autocommit=True,
    )
    connection.patience = _SECONDS
    return connection


@contextlib.contextmanager
def _reached(deployment: Deployment, program: Program) -> Iterator[Connection]:
    """The same connection for the duration of a check.

    Raises Skipped: database-reachable reports the failure.
    """
    try:
        connection = _connect(deployment, program)
    except (psycopg.Error, environment.Malformed):
        raise Skipped("the database can't be reached: see database-reachable") from None
    try:
        yield connection
    finally:
        connection.close()


def _on_postgresql(deployment: Deployment) -> list[Program]:
    programs = [
        program for program in deployment.programs if program.env.database_url.startswith("postgresql:")
    ]
    if not programs:
        raise Skipped("no program uses PostgreSQL")
    return programs


def _reachable(deployment: Deployment) -> Iterator[Finding]:
    for program in deployment.programs:
        if not program.env.database_url.startswith("postgresql:"):
            yield warning(
                "it uses SQLite, which is for development only",
                f"set DATABASE_URL in {program.place}",
                program.name,
            )
            continue
        try:
            connection = _connect(deployment, program)
        except (psycopg.Error, environment.Malformed) as error:
            yield _explained(error, program)
            continue
        version = connection.info.server_version // 10000
        connection.close()
        if version < OLDEST:
            yield failed(f"PostgreSQL {version} is too old", f"upgrade it to {OLDEST} or newer", program.name)
        else:
            yield passed(f"PostgreSQL {version} accepts it", program.name)


def _explained(error: Exception, program: Program) -> Finding:
    text, name = one_line(error), program.name
    if isinstance(error, environment.Malformed):
        return failed(text, "correct the file that DATABASE_PASSWORD_FILE names", name)
    for found, (message, fix) in _words(program).items():
        if found in text:
            return failed(message, fix, name)
    if _NOT_YET in text:
        message = f"PostgreSQL accepts no connections now: {_NOT_YET}{text.partition(_NOT_YET)[2]}"
        return failed(message, "wait, and see its log", name)
    return failed(text, f"check DATABASE_URL in {program.place}, and see PostgreSQL's log", name)


def _words(program: Program) -> dict[str, tuple[str, str]]:
    """Problem and fix by a part of the message of PostgreSQL or libpq. The first match counts."""
    env = program.env
    role, place = unquote(urlsplit(env.database_url).username or ""), _place(env.database_url)
    no_connection = ("PostgreSQL has no connection left", "raise max_connections in postgresql.conf")
    return {
        "password authentication failed": (
            f"the password in {env.database_password_file} is not that of role {role}",
            f"ALTER ROLE {role} PASSWORD '…', or create the role: docs/how-to/bare-metal.md,"
            " The database (in containers: docker compose restart postgres sets them again)",
        ),
        "no password supplied": (
            f"role {role} needs a password",
            f"set DATABASE_PASSWORD_FILE in {program.place}",
        ),
        f'role "{role}" does not exist': (
            f"there is no role {role}",
            "create it: docs/how-to/bare-metal.md, The database (in containers: docker compose restart"
            " postgres)",
        ),
        "does not exist": (
            f"there is no such database: {place}",
            f"run createdb, owned by the role that migrates, or correct DATABASE_URL in {program.place}",
        ),
        "permission denied for database": (
            f"role {role} may not connect to the database",
            f"GRANT CONNECT ON DATABASE … TO {role}",
        ),
        "no pg_hba.conf entry": (
            f"PostgreSQL accepts no connection from here as {role}",
            "add a line to pg_hba.conf, with scram-sha-256, and reload it",
        ),
        "too many connections for role": (
            f"role {role} has no connection left",
            "see database-connections; ALTER ROLE … CONNECTION LIMIT, or lower WSGI_WORKERS or WSGI_THREADS",
        ),
        "remaining connection slots": no_connection,  # those of superusers
        "too many clients": no_connection,
        "Connection refused": (f"nothing listens at {place}", "start PostgreSQL"),
        "failed to resolve host": (f"the host of {place} does not resolve here", "start PostgreSQL"),
        "timeout": (
            f"{place} does not answer",
            "see PostgreSQL's log: it may be stalled, its disk full or slow",
        ),
    }


def _place(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or 5432}{parts.path}"


def _tables(deployment: Deployment) -> Iterator[Finding]:
    """Compare columns: every role may see those, while only the owner may read the table of migrations."""
    from django.apps import apps

    program, *_ = _on_postgresql(deployment)
    with _reached(deployment, program) as connection:
        rows = _all(
            connection,
            "SELECT c.relname, a.attname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " JOIN pg_attribute a ON a.attrelid = c.oid"
            " WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped",
        )
        triggers = _all(connection, "SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgdeferrable")
    found: dict[str, set[str]] = {}
    for table, column in rows:
        found.setdefault(table, set()).add(column)
    lacking = []
    for model in apps.get_models(include_auto_created=True):
        if not model._meta.managed or model._meta.proxy:
            continue
        table = model._meta.db_table
        columns = {field.column for field in model._meta.local_concrete_fields} - found.get(table, set())
        if columns:
            lacking.append(f"{table} ({', '.join(sorted(columns))})" if table in found else table)
    if lacking:
        yield failed(f"tables or columns are missing: {', '.join(lacking[:5])}", MIGRATE)
    elif ("sluice_updates_update",) not in triggers:
        yield failed("sluice_updates_update has no trigger, which assigns the offsets", MIGRATE)
    else:
        yield passed(f"all {len(found)} tables fit this version")


def _rights(deployment: Deployment) -> Iterator[Finding]:
    for program in _on_postgresql(deployment):
        wanted = grants.table().get(program.service)
        if wanted is None:
            continue
        try:
            with _reached(deployment, program) as connection:
                yield _of_role(connection, program, _questions(wanted))
        except Skipped:
            continue


def _of_role(
    connection: Connection, program: Program, questions: list[tuple[str, str, str | None]]
) -> Finding:
    role, is_superuser = _all(
        connection, "SELECT current_user::text, rolsuper FROM pg_roles WHERE rolname = current_user"
    )[0]
    # database-tables reports a missing table.
    lacking = _all(
        connection,
        "SELECT privilege, name, col"
        " FROM unnest(%s::text[], %s::text[], %s::text[]) AS q (name, privilege, col)"
        " WHERE to_regclass(format('public.%%I', name)) IS NOT NULL AND NOT CASE WHEN col IS NULL"
        " THEN has_table_privilege(format('public.%%I', name), privilege)"
        " ELSE has_column_privilege(format('public.%%I', name), col, privilege) END",
        ([q[0] for q in questions], [q[1] for q in questions], [q[2] for q in questions]),
    )
    if lacking:
        first = ", ".join(f"{row[0]} {row[1]}" for row in lacking[:3])
        more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        return failed(
            f"role {role} may not {first}{more}", f"{MIGRATE}, which grants the rights", program.name
        )
    if is_superuser:
        return warning(
            f"role {role} is a superuser",
            f"ALTER ROLE {role} NOSUPERUSER, or correct DATABASE_URL in {program.place}",
            program.name,
        )
    return passed(f"role {role} has what it needs", program.name)


def _questions(wanted: Any) -> list[tuple[str, str, str | None]]:
    """Table, privilege and column (None: the whole table) for each grant of a role in sluice_stack.grants."""
    found: list[tuple[str, str, str | None]] = []
    for table, text in wanted.items():
        for privilege, columns in _PRIVILEGE.findall(text):
            found += (
                [(table, privilege, column.strip()) for column in columns.split(",")]
                if columns
                else [(table, privilege, None)]
            )
    return found


def _connections(deployment: Deployment) -> Iterator[Finding]:
    for program in _on_postgresql(deployment):
        with contextlib.suppress(Skipped), _reached(deployment, program) as connection:
            limit, used, most, all_used = _all(
                connection,
                "SELECT (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user),"
                " (SELECT count(*) FROM pg_stat_activity"
                " WHERE usename = current_user AND pid <> pg_backend_pid()),"
                " current_setting('max_connections')::int,"
                # A role sees little of other roles' connections, but user and database. PostgreSQL's own
                # background processes have neither.
                " (SELECT count(*) FROM pg_stat_activity"
                " WHERE usesysid IS NOT NULL AND datid IS NOT NULL AND pid <> pg_backend_pid())",
            )[0]
            yield _of_connections(program, limit if limit >= 0 else most, used, most, all_used)


def _of_connections(program: Program, limit: int, used: int, most: int, all_used: int) -> Finding:
    env = program.env
    needed = env.wsgi_workers * (env.wsgi_threads + 1) if program.service == "wsgi" else 0
    if needed > limit:
        return failed(
            f"Gunicorn may take {needed} connections, and its role has {limit}",
            "lower WSGI_WORKERS or WSGI_THREADS, or ALTER ROLE … CONNECTION LIMIT"
            " (images/postgres/roles.sql)",
            program.name,
        )
    if used >= _FULL * limit:
        return warning(
            f"{used} of the role's {limit} connections are taken",
            "ALTER ROLE … CONNECTION LIMIT (images/postgres/roles.sql), or find what keeps them:"
            " pg_stat_activity",
            program.name,
        )
    if all_used >= _FULL * most:
        return warning(
            f"{all_used} of all {most} connections are taken",
            "raise max_connections in postgresql.conf",
            program.name,
        )
    return passed(f"{used} of {limit} connections are taken", program.name)


def _limits(deployment: Deployment) -> Iterator[Finding]:
    for program in _on_postgresql(deployment):
        with contextlib.suppress(Skipped), _reached(deployment, program) as connection:
            (seconds,) = _all(
                connection, "SELECT setting::int / 1000 FROM pg_settings WHERE name = 'statement_timeout'"
            )[0]
            if seconds == 0:
                yield warning(
                    "a statement may run for ever, and hold its locks",
                    "run the lines `ALTER ROLE … SET` of images/postgres/roles.sql",
                    program.name,
                )
            else:
                yield passed(f"a statement may run for {seconds} s", program.name)


def _durable(deployment: Deployment) -> Iterator[Finding]:
    program, *_ = _on_postgresql(deployment)
    with _reached(deployment, program) as connection:
        settings = dict(
            _all(
                connection,
                "SELECT name, setting FROM pg_settings WHERE name IN"
                " ('fsync', 'full_page_writes', 'default_transaction_read_only')",
            )
        )
        ((is_standby,),) = _all(connection, "SELECT pg_is_in_recovery()")
    if is_standby or settings["default_transaction_read_only"] == "on":
        yield failed(
            "it accepts no writes: it is a standby" if is_standby else "it accepts no writes",
            "set DATABASE_URL to the primary, and default_transaction_read_only to off",
        )
    elif off := [name for name in ("fsync", "full_page_writes") if settings[name] == "off"]:
        yield warning(
            f"{' and '.join(off)} {'is' if len(off) == 1 else 'are'} off: a crash can damage the data",
            f"switch {'it' if len(off) == 1 else 'them'} on in postgresql.conf",
        )
    else:
        yield passed("it accepts writes and keeps them")


def _all(connection: Connection, query: str, parameters: Any = None) -> list[Any]:
    try:
        return connection.execute(query, parameters).fetchall()
    except psycopg.Error as error:
        raise Skipped(f"the query failed: {one_line(error)}") from None


CHECKS: Final = [
    Check("database-reachable", "PostgreSQL accepts each program", _reachable),
    Check("database-tables", "the tables fit this version", _tables),
    Check("database-rights", "each program's role has its rights, and is no superuser", _rights),
    Check("database-connections", "there are enough connections", _connections),
    Check("database-time-outs", "no statement holds its locks for ever", _limits),
    Check("database-durable", "it accepts writes and keeps them", _durable),
]
