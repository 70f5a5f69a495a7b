"""Takes over the tables of the time when this app's label was `updates`, and `updates_sessions` that of
`sluice_updates.sessions`.

They are the tables of today, without `sluice_` in front of each name: of table, index, constraint, sequence,
trigger and function. The migrations rename them in place. Other apps are labelled `updates` too, so a name
alone never makes a table ours.

On PostgreSQL, views have the old names until the next release drops them: during a rolling upgrade, processes
of the version before still work, and after an upgrade that version can be started again, with its own
`migrate`. For that, its records in django_migrations stay as long as the views do. On SQLite nothing stays.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db import OperationalError, migrations, transaction
from django.db.migrations.recorder import MigrationRecorder

from . import _trigger

PREFIX: Final = "sluice_"
# All who use a table wait behind a migration that waits for its lock. So it waits briefly, and for less than
# PostgreSQL's deadlock_timeout (1 s): in a deadlock, the migration gives way and retries.
_LOCK_TIMEOUT: Final = "400ms"
_LOCK_ATTEMPTS: Final = 60
_RETRY_SECONDS: Final = 0.6


@dataclass(frozen=True)
class OldApp:
    """An app under its old label."""

    label: str
    migrations: tuple[str, ...]
    columns: dict[str, frozenset[str]]  # of each table
    is_ours: Callable[[Any, Any], bool]  # (connection, cursor): whether tables of this shape are the app's
    function: str | None = None  # of the trigger

    @property
    def tables(self) -> list[str]:
        return sorted(self.columns)


def _allots_offsets(connection: Any, cursor: Any) -> bool:
    """Whether the table has the trigger; on SQLite, which needs none, the constraint on positions."""
    if connection.vendor == "postgresql":
        return "updates_allot" in _column(
            cursor, "SELECT tgname FROM pg_trigger WHERE tgrelid = 'updates_update'::regclass"
        )
    return "updates_update_position" in connection.introspection.get_constraints(cursor, "updates_update")


def _was_migrated(connection: Any, cursor: Any) -> bool:
    """Whether the app's migration ran. Sessions have no trigger."""
    return ("updates_sessions", "0001_initial") in MigrationRecorder(connection).applied_migrations()


UPDATES: Final = OldApp(
    label="updates",
    migrations=("0001_initial", "0002_offsets_at_commit", "0003_offsets_row_by_row"),
    columns={
        "updates_stream": frozenset({"name", "head", "head_tag", "floor", "floor_tag"}),
        "updates_update": frozenset({"id", "stream", "offset", "tag", "event", "payload", "key", "created"}),
    },
    is_ours=_allots_offsets,
    function="updates_allot",
)
SESSIONS: Final = OldApp(
    label="updates_sessions",
    migrations=("0001_initial",),
    columns={"updates_session": frozenset({"session_key", "session_data", "expire_date", "user_id"})},
    is_ours=_was_migrated,
)


class UnlessOld(migrations.SeparateDatabaseAndState):
    """Operations that a database needs unless it has the app's tables under their old names."""

    def __init__(self, old: OldApp, operations: Sequence[Any]) -> None:
        super().__init__(database_operations=operations, state_operations=operations)
        self.old = old

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if not _is_there(self.old, schema_editor.connection):
            super().database_forwards(app_label, schema_editor, from_state, to_state)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if _is_there(self.old, schema_editor.connection):  # `give_back` has run
            _rename(self.old, schema_editor, _add_prefix)
            _forget(self.old, schema_editor.connection)
        super().database_backwards(app_label, schema_editor, from_state, to_state)


class TakeOver(migrations.RunPython):
    """Rename what has the old names. Backwards, the tables get the old names again, for the version before."""

    def __init__(self, old: OldApp) -> None:
        super().__init__(
            lambda apps, schema_editor: take_over(old, schema_editor),
            lambda apps, schema_editor: give_back(old, schema_editor),
        )


def take_over(old: OldApp, schema_editor: Any) -> None:
    """Rename the tables, if this database has them, and what belongs to them."""
    connection = schema_editor.connection
    if not _is_there(old, connection):
        return
    _rename(old, schema_editor, _add_prefix)
    _label_content_types(old, schema_editor, old.label, PREFIX + old.label)
    if connection.vendor == "postgresql":
        for table in old.tables:
            _create_view(schema_editor, table)
    else:
        _forget(old, connection)


def give_back(old: OldApp, schema_editor: Any) -> None:
    """Undo `take_over`, also in a database that never had the old names.

    Where another app has a table of such a name, nothing changes: the version before can't run there.
    """
    connection = schema_editor.connection
    with connection.cursor() as cursor:
        found = {each.name: each.type for each in connection.introspection.get_table_list(cursor)}
    if any(found.get(table, "v") != "v" or PREFIX + table not in found for table in old.tables):
        return
    for table in old.tables:
        if table in found:
            schema_editor.execute(f"DROP VIEW {schema_editor.quote_name(table)}")
    _rename(old, schema_editor, _remove_prefix)
    _label_content_types(old, schema_editor, PREFIX + old.label, old.label)
    recorder = MigrationRecorder(connection)
    recorded = recorder.applied_migrations()
    for name in old.migrations:
        if (old.label, name) not in recorded:
            recorder.record_applied(old.label, name)


def _is_there(old: OldApp, connection: Any) -> bool:
    """Whether the app's tables are there under their old names."""
    with connection.cursor() as cursor:
        found = {each.name for each in connection.introspection.get_table_list(cursor) if each.type == "t"}
        return all(
            table in found and _columns(connection, cursor, table) == columns
            for table, columns in old.columns.items()
        ) and old.is_ours(connection, cursor)


def _columns(connection: Any, cursor: Any, table: str) -> set[str]:
    """The columns that models know."""
    description = connection.introspection.get_table_description(cursor, table)
    return {column.name for column in description} - {"xid"}


def _forget(old: OldApp, connection: Any) -> None:
    recorder = MigrationRecorder(connection)
    for name in old.migrations:
        recorder.record_unapplied(old.label, name)


def _label_content_types(old: OldApp, schema_editor: Any, before: str, after: str) -> None:
    """Permissions and the admin site's log refer to content types. Where there is one of the new label
    already, the old one stays, for `remove_stale_contenttypes`, as when Django renames a model."""
    connection = schema_editor.connection
    with connection.cursor() as cursor:
        if "django_content_type" not in connection.introspection.table_names(cursor):
            return
        for table in old.tables:
            model = table.removeprefix("updates_")
            cursor.execute(
                "UPDATE django_content_type SET app_label = %s WHERE app_label = %s AND model = %s"
                " AND NOT EXISTS (SELECT 1 FROM django_content_type WHERE app_label = %s AND model = %s)",
                [after, before, model, after, model],
            )


# Renaming

Rename = Callable[[str], str]


def _add_prefix(name: str) -> str:
    return PREFIX + name if name.startswith("updates_") else name


def _remove_prefix(name: str) -> str:
    return name.removeprefix(PREFIX)


def _rename(old: OldApp, schema_editor: Any, rename: Rename) -> None:
    tables = [table if rename is _add_prefix else _add_prefix(table) for table in old.tables]
    if schema_editor.connection.vendor == "postgresql":
        _lock(schema_editor, tables)
        for table in tables:
            for statement in list(_renaming(schema_editor, table, rename)):
                schema_editor.execute(statement)
        if old.function:
            # Its text names the tables.
            function = old.function if rename is _add_prefix else _add_prefix(old.function)
            schema_editor.execute(f"ALTER FUNCTION {function}() RENAME TO {rename(function)}")
            prefix = PREFIX if rename is _add_prefix else ""
            _trigger.execute(schema_editor, _trigger.FUNCTION, prefix)
    else:
        for table in tables:
            _rename_on_sqlite(schema_editor, table, rename)


def _lock(schema_editor: Any, tables: Iterable[str]) -> None:
    """Lock the tables until the migration commits."""
    connection = schema_editor.connection
    names = ", ".join(map(schema_editor.quote_name, tables))
    for attempt in range(1, _LOCK_ATTEMPTS + 1):
        try:
            with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
                cursor.execute(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE")
                cursor.execute("SET LOCAL lock_timeout TO DEFAULT")
            return
        except OperationalError as error:
            if getattr(error.__cause__, "sqlstate", None) != "55P03":  # lock_not_available
                raise
            if attempt == _LOCK_ATTEMPTS:
                raise OperationalError(
                    f"{names} can't be renamed: other transactions use them without a pause of"
                    f" {_LOCK_TIMEOUT}; nothing has changed. Find them in pg_stat_activity, then migrate again"
                ) from error
            time.sleep(_RETRY_SECONDS)


_INDEXES: Final = (
    "SELECT relname FROM pg_index JOIN pg_class ON oid = indexrelid WHERE indrelid = %s::regclass"
)
# Not those of indexes, which are renamed with them. "t": the trigger's; "n": not null, since PostgreSQL 18.
_CONSTRAINTS: Final = """
    SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass AND contype IN ('c', 'n', 't')
"""
_SEQUENCES: Final = """
    SELECT relname FROM pg_depend JOIN pg_class ON oid = objid
    WHERE refobjid = %s::regclass AND classid = 'pg_class'::regclass AND relkind = 'S'
"""
_TRIGGERS: Final = "SELECT tgname FROM pg_trigger WHERE tgrelid = %s::regclass AND NOT tgisinternal"


def _renaming(schema_editor: Any, table: str, rename: Rename) -> Iterator[str]:
    """PostgreSQL: the statements that rename a table and all that is named for it."""
    connection, quote = schema_editor.connection, schema_editor.quote_name
    with connection.cursor() as cursor:
        hashed = _hashed_names(schema_editor, cursor, table, rename(table))
        for query, statement in (
            (_INDEXES, "ALTER INDEX {name} RENAME TO {new}"),
            (_CONSTRAINTS, "ALTER TABLE {table} RENAME CONSTRAINT {name} TO {new}"),
            (_SEQUENCES, "ALTER SEQUENCE {name} RENAME TO {new}"),
            (_TRIGGERS, "ALTER TRIGGER {name} ON {table} RENAME TO {new}"),
        ):
            for name in _column(cursor, query, table):
                new = hashed.get(name) or rename(name)
                if new != name:
                    yield statement.format(table=quote(table), name=quote(name), new=quote(new))
    yield f"ALTER TABLE {quote(table)} RENAME TO {quote(rename(table))}"


def _hashed_names(schema_editor: Any, cursor: Any, table: str, new_table: str) -> dict[str, str]:
    """The names that Django gives to the indexes of single fields: they contain a hash of the table's name."""
    constraints = schema_editor.connection.introspection.get_constraints(cursor, table).values()
    columns = {tuple(each["columns"]) for each in constraints if len(each["columns"] or ()) == 1}
    return {
        schema_editor._create_index_name(table, each, suffix): schema_editor._create_index_name(
            new_table, each, suffix
        )
        for each in columns
        for suffix in ("", "_like")
    }


def _rename_on_sqlite(schema_editor: Any, table: str, rename: Rename) -> None:
    """SQLite can't rename an index: each is dropped and made again."""
    quote = schema_editor.quote_name
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = %s AND sql IS NOT NULL",
            [table],
        )
        indexes = cursor.fetchall()
        hashed = _hashed_names(schema_editor, cursor, table, rename(table))
    schema_editor.execute(f"ALTER TABLE {quote(table)} RENAME TO {quote(rename(table))}")
    for name, definition in indexes:
        new = hashed.get(name) or rename(name)
        schema_editor.execute(f"DROP INDEX {quote(name)}")
        definition = definition.replace(quote(name), quote(new), 1)
        schema_editor.execute(definition.replace(quote(table), quote(rename(table)), 1))


# Views

_PRIVILEGES: Final = """
    SELECT privilege_type, NULL, grantee::regrole::text, grantee
    FROM pg_class, aclexplode(relacl) WHERE oid = %s::regclass AND grantee <> relowner
    UNION ALL
    SELECT privilege_type, attname, grantee::regrole::text, grantee
    FROM pg_class, pg_attribute, aclexplode(attacl)
    WHERE pg_class.oid = %s::regclass AND attrelid = pg_class.oid AND grantee <> relowner
"""


def _create_view(schema_editor: Any, old_table: str) -> None:
    """A view with a table's old name, which can do what its table can. Roles have the same privileges."""
    view, table = schema_editor.quote_name(old_table), schema_editor.quote_name(PREFIX + old_table)
    schema_editor.execute(f"CREATE VIEW {view} AS SELECT * FROM {table}")
    schema_editor.execute(
        f"COMMENT ON VIEW {view} IS 'The old name of {PREFIX}{old_table}, for processes of the version before."
        " The next release drops it'"
    )
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(_PRIVILEGES, [table, table])
        granted = cursor.fetchall()
    for privilege, column, role, role_id in granted:
        if privilege in ("SELECT", "INSERT", "UPDATE", "DELETE"):
            columns = f" ({schema_editor.quote_name(column)})" if column else ""
            schema_editor.execute(f"GRANT {privilege}{columns} ON {view} TO {role if role_id else 'PUBLIC'}")


def _column(cursor: Any, query: str, *values: Any) -> list[str]:
    cursor.execute(query, values)
    return [row[0] for row in cursor.fetchall()]
