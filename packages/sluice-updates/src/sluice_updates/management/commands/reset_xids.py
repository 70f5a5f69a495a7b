"""`manage.py reset_xids`: run it after each restore of a dump into another PostgreSQL cluster."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand
from django.db import connections, router

from sluice_updates.models import Update


class Command(BaseCommand):
    help = (
        "Reset the transaction ids that updates have from another PostgreSQL cluster. Run it after each"
        " restore into a new cluster: the old ids may be ahead of the new cluster's, so every poll would read"
        " those updates again. It is harmless at any other time, and while the site runs."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        connection = connections[router.db_for_write(Update)]
        if connection.vendor != "postgresql":
            self.stdout.write("nothing to do: this database has no transaction ids")
            return
        with connection.cursor() as cursor:
            # This cluster has not used ids from xmax on, so they come from another one.
            cursor.execute(
                f"UPDATE {Update._meta.db_table} SET xid = '0'"
                " WHERE xid >= pg_snapshot_xmax(pg_current_snapshot())"
            )
            self.stdout.write(f"reset {cursor.rowcount} transaction ids")
