"""`manage.py reset_xids`: run it in each copy of a database, such as a restored dump."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand
from django.db import connections, router
from django.db.backends.base.base import BaseDatabaseWrapper

from sluice_updates import identity
from sluice_updates.models import Update


class Command(BaseCommand):
    help = (
        "Make a copied database one of its own. Run it after each restore of a dump. It resets the"
        " transaction ids that updates have from another PostgreSQL cluster: they may be ahead of this"
        " cluster's, so every poll would read those updates again. It also gives the database a new identity,"
        " so that servers of the original drop its wake-ups. It is harmless at any other time, and while the"
        " site runs."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        connection = connections[router.db_for_write(Update)]
        if connection.vendor == "postgresql":
            self.stdout.write(f"reset {_reset(connection)} transaction ids")
        self.stdout.write(f"the database's identity is now {identity.renew()}")


def _reset(connection: BaseDatabaseWrapper) -> int:
    """Reset the ids of another cluster. Returns their number."""
    with connection.cursor() as cursor:
        # This cluster has not used ids from xmax on, so they come from another one.
        cursor.execute(
            f"UPDATE {Update._meta.db_table} SET xid = '0'"
            " WHERE xid >= pg_snapshot_xmax(pg_current_snapshot())"
        )
        return int(cursor.rowcount)
