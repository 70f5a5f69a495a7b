"""The database's identity: made by a migration, kept, and renewed for a copy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connections, transaction

from sluice_updates import identity
from sluice_updates.models import Database


def test_it_stays_until_it_is_renewed(database: str) -> None:
    first = identity.read(connections[database])
    call_command("migrate", "sluice_updates", database=database, verbosity=0)
    assert identity.read(connections[database]) == first
    assert identity.renew(database) == identity.read(connections[database]) != first


def test_there_is_one_row_at_most(database: str) -> None:
    with pytest.raises(IntegrityError), transaction.atomic(using=database):
        Database.objects.using(database).create(id=2)
    assert Database.objects.using(database).count() == 1


def test_reset_xids_renews_it(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    first = identity.read(connections[database])
    call_command("reset_xids")
    now = identity.read(connections[database])
    assert now != first and f"identity is now {now}" in capsys.readouterr().out


def test_a_flushed_database_gets_another(database: str) -> None:
    first = identity.read(connections[database])
    with connections[database].cursor() as cursor:
        cursor.execute(f"DELETE FROM {Database._meta.db_table}")
    with pytest.raises(identity.Unknown, match=r"has no row.*migrate"):
        identity.read(connections[database])
    identity.create(database)  # after `flush`, Django sends post_migrate
    assert identity.read(connections[database]) != first


def test_before_the_migration_there_is_none_and_nothing_fails(database: str) -> None:
    call_command("migrate", "sluice_updates", "0002", database=database, verbosity=0)
    try:
        with pytest.raises(identity.Unknown, match="sluice_updates_database"):
            identity.read(connections[database])
    finally:
        call_command("migrate", "sluice_updates", database=database, verbosity=0)
    assert identity.read(connections[database])


@pytest.mark.servers
def test_who_may_read_updates_may_read_it_after_the_migration(database_on: Callable[[str], str]) -> None:
    database = database_on("postgresql")
    roles = ["sluice_test_reads", '"sluice_test_ quotes ""x"""', "sluice_test_writes"]

    def sql(statement: str) -> Any:
        with connections[database].cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else None

    for role in roles:
        sql(f"CREATE ROLE {role}")
    try:
        for role in roles[:2]:
            sql(f"GRANT SELECT ON sluice_updates_update TO {role}")
        sql(f"GRANT INSERT (stream, event, payload, key) ON sluice_updates_update TO {roles[2]}")
        call_command("migrate", "sluice_updates", "0002", database=database, verbosity=0)
        call_command("migrate", "sluice_updates", database=database, verbosity=0)
        granted = sql(
            "SELECT grantee::regrole::text FROM pg_class, aclexplode(relacl)"
            " WHERE oid = 'sluice_updates_database'::regclass AND grantee <> relowner"
        )
        assert sorted(granted) == sorted((role,) for role in roles[:2])
    finally:
        for role in roles:
            sql(f"DROP OWNED BY {role}")
            sql(f"DROP ROLE {role}")
