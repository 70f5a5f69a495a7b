"""System checks of PostgreSQL's notifications."""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.db import DatabaseError, connections, router

from ..models import Update
from ..wakeup import notifications

_NAME: Final = "SLUICE_UPDATES_NOTIFY"


@register("sluice_updates")
def check_notify(**kwargs: Any) -> list[CheckMessage]:
    """E020, E021: the setting is True, False or None, and NOTIFY needs PostgreSQL."""
    wanted = getattr(settings, _NAME, None)
    if wanted is not None and not isinstance(wanted, bool):
        return [
            Error(
                f"{_NAME} must be True, False or None, not {wanted!r}.",
                hint="Leave it unset: then the database wakes the servers unless RabbitMQ does.",
                id="sluice_updates.E020",
            )
        ]
    vendor = connections[router.db_for_write(Update)].vendor
    if wanted and vendor != "postgresql":
        return [
            Error(
                f"{_NAME} is True, but updates are stored in {vendor}, which has no NOTIFY.",
                hint=f"Remove {_NAME}: a server on SQLite watches the file instead."
                if vendor == "sqlite"
                else "Use PostgreSQL.",
                id="sluice_updates.E021",
            )
        ]
    return []


@register("sluice_updates", deploy=True)
def check_pooler(**kwargs: Any) -> list[CheckMessage]:
    """W020: a pooler in transaction mode drops notifications.

    Only `manage.py check --deploy` runs it, since it connects, and waits.
    """
    if not notifications.is_wanted():
        return []
    try:
        if notifications.check():
            return []
    except DatabaseError:  # another check reports it
        return []
    return [
        Warning(
            "LISTEN succeeds in PostgreSQL, but no notification arrives: a connection pooler in transaction"
            " mode is in between. Updates take up to a second.",
            hint="Let the ASGI server connect directly, or through a pool in session mode; or set"
            " SLUICE_UPDATES_NOTIFY to False.",
            id="sluice_updates.W020",
        )
    ]
