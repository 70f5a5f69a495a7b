"""The database's identity: a random UUID in the only row of a table (PROTOCOL: The wake-up).

Several sites, a site's copy or a test run may use one broker. A wake-up names the database of its updates, so
that hubs of other databases can drop it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from django.db import DatabaseError, router
from django.db.backends.base.base import BaseDatabaseWrapper

from .models import Database

TABLE: Final = Database._meta.db_table
# NULL without a row. As a part of another query it costs microseconds, so nobody needs to keep the identity:
# it may change at any time (`reset_xids`, `flush`).
SELECT: Final = f"(SELECT identity FROM {TABLE})"


class Unknown(Exception):
    """The identity can't be read. The message contains the fix."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"the database's identity can't be read ({reason}); run `manage.py migrate`, and grant SELECT on"
            f" {TABLE} to this database role"
        )


def read(connection: BaseDatabaseWrapper) -> str:
    """Read the identity. It makes one query. Raises Unknown, or Django's database errors."""
    with readable(), connection.cursor() as cursor:
        cursor.execute(f"SELECT {SELECT}")
        return text_of(cursor.fetchone()[0])


def text_of(value: object) -> str:
    """The value of SELECT as the text in a wake-up. Raises Unknown for NULL."""
    if value is None:
        raise Unknown(f"{TABLE} has no row")
    return str(uuid.UUID(str(value)))


@contextmanager
def readable() -> Iterator[None]:
    """Around a query with SELECT: raises Unknown if the table is missing, or the role may not read it."""
    try:
        yield
    except DatabaseError as error:
        reason = str(error).strip().partition("\n")[0]
        if TABLE not in reason:
            raise
        raise Unknown(reason) from error


def renew(using: str | None = None) -> str:
    """Give the database another identity, because it is a copy. Needs the rights of the tables' owner."""
    alias = using or router.db_for_write(Database)
    found, _ = Database.objects.using(alias).update_or_create(pk=1, defaults={"identity": uuid.uuid4()})
    return str(found.identity)


def create(using: str, apps: Any = None, **kwargs: Any) -> None:
    """Give the database an identity unless it has one. It runs after `migrate` and `flush`."""
    try:
        model = apps.get_model("sluice_updates", "Database") if apps is not None else Database
    except LookupError:  # migrated to a state before that table
        return
    if router.allow_migrate_model(using, model):
        model.objects.using(using).get_or_create(pk=1)
