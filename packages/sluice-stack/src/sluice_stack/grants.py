"""The rights of each service's database role. `sluice_stack.migrate` grants them.

This module has the stack's part. A project adds its own tables in a mapping by role; its setting
SLUICE_STACK_GRANTS has the mapping's dotted path. A role has no other rights. The tables belong to the role
`owner`, and only `owner` may change them.

A project without that setting gets OPEN: each role may read and write the rows of all tables, those of later
migrations too, except the stack's own tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.module_loading import import_string

from . import environment

READ: Final = "SELECT"
WRITE: Final = "SELECT, INSERT, UPDATE, DELETE"

# To publish. Only these columns: a trigger, which runs as the owner, assigns offsets and tags, so no
# publisher can forge them. SELECT: the sender reads the updates that it announces, and the identity of their
# database.
PUBLISH: Final = {
    "sluice_updates_database": READ,
    "sluice_updates_update": "SELECT, INSERT (stream, event, payload, key)",
}
# To read streams: for polling, for the hub, and for the positions in pages.
FOLLOW: Final = {
    "sluice_updates_database": READ,
    "sluice_updates_stream": READ,
    "sluice_updates_update": READ,
}
# To know who is signed in, and their permissions.
IDENTITY: Final = {
    "auth_user": READ,
    "auth_group": READ,
    "auth_permission": READ,
    "auth_user_groups": READ,
    "auth_user_user_permissions": READ,
    "auth_group_permissions": READ,
    "django_content_type": READ,
}

Grants = Mapping[str, Mapping[str, str]]  # role → table → privileges

# For a project without a mapping of its own, by role. `asgi` may write if the project has consumers.
OPEN: Final = {"wsgi": WRITE, "asgi": READ, "worker": WRITE, "celery": WRITE, "beat": WRITE}
# Apps whose tables are not open, and the table of migrations, which only the owner needs.
_CLOSED_APPS: Final = ("sluice_updates", "sluice_updates_sessions")
_MIGRATIONS: Final = "django_migrations"

STACK: Final[Grants] = {
    "wsgi": {
        **FOLLOW,
        **PUBLISH,
        # The admin site changes all of these.
        **dict.fromkeys(IDENTITY, WRITE),
        "django_admin_log": WRITE,
        "sluice_updates_session": WRITE,
    },
    "asgi": {**FOLLOW, **IDENTITY, "sluice_updates_session": READ},
    "worker": {**PUBLISH, **IDENTITY, "sluice_updates_session": READ},
    "celery": {**PUBLISH},
    "beat": {
        **PUBLISH,
        # Trimming as well. UPDATE of the floor is also enough to lock a stream's row.
        "sluice_updates_update": PUBLISH["sluice_updates_update"] + ", DELETE",
        "sluice_updates_stream": "SELECT, UPDATE (floor, floor_tag)",
        "sluice_updates_session": "SELECT, DELETE",
    },
}


def table() -> Grants:
    """The stack's grants and the project's. If both name a table, the project's apply.

    Raises ImproperlyConfigured if the project names a role that no service has.
    """
    path = getattr(settings, "SLUICE_STACK_GRANTS", "")
    own: Grants = import_string(path) if path else _open_tables()
    if unknown := sorted(own.keys() - STACK.keys()):
        raise ImproperlyConfigured(
            f"{path} has the role {unknown[0]}, which no service uses; there are {', '.join(STACK)}"
        )
    stack = dict(STACK)
    if not environment.load().beat_containers:
        stack["wsgi"] = _merged(stack["wsgi"], stack["beat"])
    return {role: {**grants, **own.get(role, {})} for role, grants in stack.items()}


def apply(connection: BaseDatabaseWrapper) -> list[str]:
    """Grant the rights to the existing roles, in one transaction. Returns their names. PostgreSQL only."""
    from django.db import transaction

    wanted = table()
    is_open = not getattr(settings, "SLUICE_STACK_GRANTS", "")
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        cursor.execute("SELECT rolname FROM pg_roles WHERE rolname = ANY (%s)", [list(wanted)])
        roles = sorted(row[0] for row in cursor.fetchall())
        # Old names of sluice_updates' tables. They are views, until the next release drops them.
        cursor.execute("SELECT viewname FROM pg_views WHERE schemaname = 'public'")
        views = {row[0] for row in cursor.fetchall()}
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        tables = {row[0] for row in cursor.fetchall()}
        quote = connection.ops.quote_name
        for role in roles:
            statements = list(_revokes(quote(role)))
            if is_open:
                statements += _opens(role, tables | views, quote)
            statements += _grants(role, _present(role, wanted[role], tables, is_open), views, quote)
            for statement in statements:
                cursor.execute(statement)
    return roles


def _present(role: str, grants: Mapping[str, str], tables: set[str], is_open: bool) -> dict[str, str]:
    """The grants to tables that exist, and to all that the project names: a misspelt one must fail.

    A project need not have all apps that the stack knows, and may keep the tables of models elsewhere.
    """
    return {
        name: text for name, text in grants.items() if name in tables or not (is_open or name in STACK[role])
    }


def _open_tables() -> Grants:
    """The tables of the project's models, for each role."""
    from django.apps import apps

    names = [
        model._meta.db_table
        for model in apps.get_models(include_auto_created=True)
        if model._meta.managed and not model._meta.proxy and model._meta.app_label not in _CLOSED_APPS
    ]
    return {role: dict.fromkeys(names, privileges) for role, privileges in _open_privileges().items()}


def _open_privileges() -> Mapping[str, str]:
    has_consumers = bool(getattr(settings, "SLUICE_STACK_ASGI_APPLICATION", ""))
    return {**OPEN, "asgi": WRITE} if has_consumers else OPEN


def _closed_tables() -> list[str]:
    from django.apps import apps

    closed = [model._meta.db_table for model in apps.get_models() if model._meta.app_label in _CLOSED_APPS]
    return [_MIGRATIONS, *closed]


def _merged(one: Mapping[str, str], other: Mapping[str, str]) -> dict[str, str]:
    found = dict(one)
    for name, text in other.items():
        found[name] = f"{found[name]}, {text}" if name in found else text
    return found


def _revokes(role: str) -> Iterator[str]:
    """Take all rights away, also those to tables of the future. `role` is quoted."""
    yield f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role}"
    yield f"REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM {role}"
    yield f"REVOKE CREATE ON SCHEMA public FROM {role}"
    yield f"ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE ALL ON TABLES FROM {role}"
    yield f"ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE ALL ON SEQUENCES FROM {role}"
    yield f"GRANT USAGE ON SCHEMA public TO {role}"


def _opens(role: str, relations: set[str], quote: Any) -> Iterator[str]:
    name, privileges = quote(role), _open_privileges()[role]
    yield f"GRANT {privileges} ON ALL TABLES IN SCHEMA public TO {name}"
    yield f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {name}"
    yield f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT {privileges} ON TABLES TO {name}"
    yield f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE ON SEQUENCES TO {name}"
    for table in _closed_tables():
        for relation in {table, table.removeprefix("sluice_")} & relations:
            yield f"REVOKE ALL ON {quote(relation)} FROM {name}"


def _grants(role: str, tables: Mapping[str, str], views: set[str], quote: Any) -> Iterator[str]:
    name = quote(role)
    for table, privileges in tables.items():
        for relation in (table, *({table.removeprefix("sluice_")} & views)):
            yield f"GRANT {_quoted_columns(privileges, quote)} ON {quote(relation)} TO {name}"


def _quoted_columns(privileges: str, quote: Any) -> str:
    """`INSERT (stream, key)` → `INSERT ("stream", "key")`."""
    before, bracket, columns = privileges.partition("(")
    if not bracket:
        return privileges
    inside, _, after = columns.partition(")")
    quoted = ", ".join(quote(column.strip()) for column in inside.split(","))
    return f"{before}({quoted}){_quoted_columns(after, quote)}"
