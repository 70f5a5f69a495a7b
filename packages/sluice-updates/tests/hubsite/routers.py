"""A router that keeps updates in a database of their own, and everything else in the default one."""

from typing import Any

APP = "sluice_updates"
ALIAS = "updates"


class Apart:
    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return ALIAS if model._meta.app_label == APP else None

    db_for_write = db_for_read

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return (db == ALIAS) == (app_label == APP)
