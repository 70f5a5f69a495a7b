"""The rights of each service's database role. `sluice_stack.migrate` grants them.

This module has the stack's part. A project adds its own tables in a mapping by role; its setting
SLUICE_STACK_GRANTS has the mapping's dotted path. A role has no other rights. The tables belong to the role
`owner`, and only `owner` may change them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.module_loading import import_string

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
    own: Grants = import_string(path) if path else {}
    if unknown := sorted(own.keys() - STACK.keys()):
        raise ImproperlyConfigured(
            f"{path} has the role {unknown[0]}, which no service uses; there are {', '.join(STACK)}"
        )
    return {role: {**grants, **own.get(role, {})} for role, grants in STACK.items()}


def apply(connection: BaseDatabaseWrapper) -> list[str]:
    """Grant the rights to the existing roles, in one transaction. Returns their names. PostgreSQL only."""
    from django.db import transaction

    wanted = table()
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        cursor.execute("SELECT rolname FROM pg_roles WHERE rolname = ANY (%s)", [list(wanted)])
        roles = sorted(row[0] for row in cursor.fetchall())
        # Old names of sluice_updates' tables. They are views, until the next release drops them.
        cursor.execute("SELECT viewname FROM pg_views WHERE schemaname = 'public'")
        views = {row[0] for row in cursor.fetchall()}
        for role in roles:
            for statement in _statements(role, wanted[role], views, connection.ops.quote_name):
                cursor.execute(statement)
    return roles


def _statements(role: str, tables: Mapping[str, str], views: set[str], quote: Any) -> Iterator[str]:
    name = quote(role)
    yield f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {name}"
    yield f"REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM {name}"
    yield f"REVOKE CREATE ON SCHEMA public FROM {name}"
    yield f"GRANT USAGE ON SCHEMA public TO {name}"
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
