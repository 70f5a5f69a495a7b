"""What each service's database role may do: one table. `sluice_stack.migrate` applies all of it.

Everything that isn't here is forbidden. The owner of the tables, who alone may change them, is the role
`owner`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from django.db.backends.base.base import BaseDatabaseWrapper

READ: Final = "SELECT"
WRITE: Final = "SELECT, INSERT, UPDATE, DELETE"

# To publish: these columns of a new update, and no others, since a trigger of the owner's allots offsets and
# tags. The sender reads what it announces.
PUBLISH: Final = {
    "sluice_updates_update": "SELECT, INSERT (stream, event, payload, key)",
}
# To read streams: polling, the hub, and the position that a page carries.
FOLLOW: Final = {"sluice_updates_stream": READ, "sluice_updates_update": READ}
# What Django asks to know who is signed in and what he may do.
IDENTITY: Final = {
    "auth_user": READ,
    "auth_group": READ,
    "auth_permission": READ,
    "auth_user_groups": READ,
    "auth_user_user_permissions": READ,
    "auth_group_permissions": READ,
    "django_content_type": READ,
}

# Role → table → privileges.
GRANTS: Final[Mapping[str, Mapping[str, str]]] = {
    "wsgi": {
        **FOLLOW,
        **PUBLISH,
        # The admin site changes all of these.
        **dict.fromkeys(IDENTITY, WRITE),
        "django_admin_log": WRITE,
        "sluice_updates_session": WRITE,
        "inbox_message": WRITE,
        "volumes_crop": WRITE,
        "volumes_volume": WRITE,
    },
    "asgi": {**FOLLOW, **IDENTITY, "sluice_updates_session": READ, "volumes_volume": READ},
    "worker": {**PUBLISH, **IDENTITY, "sluice_updates_session": READ, "volumes_volume": READ},
    "celery": {
        **PUBLISH,
        "auth_user": READ,
        "inbox_message": "SELECT, INSERT",
        # `manage.py run_crops`, which does without beat, removes what was deleted.
        "volumes_crop": "SELECT, UPDATE, DELETE",
        "volumes_volume": READ,
    },
    "beat": {
        # Trimming, besides publishing. UPDATE of a stream's floor only; to lock its row needs no more.
        "sluice_updates_update": PUBLISH["sluice_updates_update"] + ", DELETE",
        "sluice_updates_stream": "SELECT, UPDATE (floor, floor_tag)",
        "sluice_updates_session": "SELECT, DELETE",
        "volumes_crop": "SELECT, UPDATE (handed_over_at, hand_overs), DELETE",
        "volumes_volume": READ,
    },
}


def apply(connection: BaseDatabaseWrapper) -> list[str]:
    """Put the table into force for the roles that exist, in one transaction; return their names. PostgreSQL
    only."""
    from django.db import transaction

    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        cursor.execute("SELECT rolname FROM pg_roles WHERE rolname = ANY (%s)", [list(GRANTS)])
        roles = sorted(row[0] for row in cursor.fetchall())
        # The old names of tables of sluice_updates, which are views until the next release drops them.
        cursor.execute("SELECT viewname FROM pg_views WHERE schemaname = 'public'")
        views = {row[0] for row in cursor.fetchall()}
        for role in roles:
            for statement in _statements(role, views, connection.ops.quote_name):
                cursor.execute(statement)
    return roles


def _statements(role: str, views: set[str], quote: Any) -> Iterator[str]:
    name = quote(role)
    yield f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {name}"
    yield f"REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM {name}"
    yield f"REVOKE CREATE ON SCHEMA public FROM {name}"
    yield f"GRANT USAGE ON SCHEMA public TO {name}"
    for table, privileges in GRANTS[role].items():
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
