"""System checks: what this app needs of a site's settings, said before it goes wrong."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.db import connections, router
from django.utils.module_loading import import_string

from .. import conf
from ..broker.address import Address
from ..models import Update


@register("sluice_updates")
def check_database(**kwargs: Any) -> list[CheckMessage]:
    """Offsets need PostgreSQL's deferred triggers, or SQLite's single writer."""
    connection = connections[router.db_for_write(Update)]
    if connection.vendor not in ("postgresql", "sqlite"):
        return [
            Error(
                f"updates can't be kept in {connection.vendor}; use PostgreSQL or SQLite.",
                id="sluice_updates.E001",
            )
        ]
    if (
        connection.vendor == "sqlite"
        and connection.settings_dict["OPTIONS"].get("transaction_mode") != "IMMEDIATE"
    ):
        return [
            Warning(
                "transactions that read before they publish can fail: 'database is locked'.",
                hint="In OPTIONS of DATABASES, set transaction_mode to IMMEDIATE, and WAL by init_command.",
                id="sluice_updates.W001",
            )
        ]
    return []


@register("sluice_updates")
def check_publisher(**kwargs: Any) -> list[CheckMessage]:
    """Wake-ups need a broker's URL and the packages of requirements-async.txt."""
    url = conf.publisher_url()
    if not url:
        return []
    try:
        Address.parse(url)
    except ValueError as error:
        return [Error(f"SLUICE_UPDATES_PUBLISHER_URL {error}.", id="sluice_updates.E002")]
    missing = [name for name in ("amqp", "msgpack") if importlib.util.find_spec(name) is None]
    if missing:
        return [
            Warning(
                f"SLUICE_UPDATES_PUBLISHER_URL is set, but {' and '.join(missing)} can't be imported:"
                " no wake-ups are sent.",
                hint="Install amqp and msgpack, or leave the setting empty.",
                id="sluice_updates.W002",
            )
        ]
    try:
        conf.publisher_password()
    except (OSError, ValueError) as error:
        return [unreadable("SLUICE_UPDATES_PUBLISHER_PASSWORD_FILE", error)]
    return []


def unreadable(setting: str, error: Exception) -> CheckMessage:
    """That a password's file can't be read, by the user who runs the check."""
    return Warning(
        f"{setting} can't be read by user {os.getuid()}: {error}. The broker isn't used without it.",
        hint="Until it can, updates come up to a second later: the file's name, owner and group.",
        id="sluice_updates.W012",
    )


@register("sluice_updates")
def check_rights(**kwargs: Any) -> list[CheckMessage]:
    """The function that decides who may read what must be there."""
    try:
        rule = import_string(conf.may_read())
    except ImportError as error:
        return [Error(f"SLUICE_UPDATES_MAY_READ: {error}", id="sluice_updates.E003")]
    if not callable(rule):
        return [
            Error(f"SLUICE_UPDATES_MAY_READ: {conf.may_read()} is not a function.", id="sluice_updates.E003")
        ]
    return []


# Names of before the package had a prefix of its own.
_OLD_SETTINGS = {
    "UPDATES_MAY_READ": "SLUICE_UPDATES_MAY_READ",
    "UPDATES_PUBLISHER_URL": "SLUICE_UPDATES_PUBLISHER_URL",
    "UPDATES_PUBLISHER_PASSWORD_FILE": "SLUICE_UPDATES_PUBLISHER_PASSWORD_FILE",
    "UPDATES_MAX_AGE_DAYS": "SLUICE_UPDATES_MAX_AGE_DAYS",
    "UPDATES_MAX_PER_STREAM": "SLUICE_UPDATES_MAX_PER_STREAM",
    "UPDATES_MAX_CONNECTIONS_PER_USER": "SLUICE_UPDATES_MAX_CONNECTIONS_PER_USER",
}


@register("sluice_updates")
def check_names(**kwargs: Any) -> list[CheckMessage]:
    """A setting under its old name has no effect."""
    return [
        Warning(f"The setting {old} has no effect.", hint=f"Rename it to {new}.", id="sluice_updates.W013")
        for old, new in _OLD_SETTINGS.items()
        if hasattr(settings, old)
    ]
