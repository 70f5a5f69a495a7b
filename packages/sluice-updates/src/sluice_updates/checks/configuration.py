"""System checks: the database, the settings of this package, and their old names."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.core.checks import CheckMessage, Error, Warning, register
from django.db import Error as DatabaseError
from django.db import connections, router
from django.urls import NoReverseMatch, Resolver404, get_script_prefix, resolve, reverse
from django.utils.module_loading import import_string

from .. import conf, streams
from ..broker.address import Address
from ..models import Update
from ..rights import may_read


@register("sluice_updates")
def check_database(**kwargs: Any) -> list[CheckMessage]:
    """E001, W001: offsets need PostgreSQL's deferred triggers, or SQLite's single writer."""
    connection = connections[router.db_for_write(Update)]
    if connection.vendor not in ("postgresql", "sqlite"):
        return [
            Error(
                f"updates can't be stored in {connection.vendor}.",
                hint="Use PostgreSQL or SQLite.",
                id="sluice_updates.E001",
            )
        ]
    if (
        connection.vendor == "sqlite"
        and connection.settings_dict["OPTIONS"].get("transaction_mode") != "IMMEDIATE"
    ):
        return [
            Warning(
                "transactions that read before they publish can fail with 'database is locked'.",
                hint="In DATABASES, OPTIONS, set transaction_mode to IMMEDIATE and init_command to"
                " PRAGMA journal_mode = WAL.",
                id="sluice_updates.W001",
            )
        ]
    return []


@register("sluice_updates")
def check_publisher(**kwargs: Any) -> list[CheckMessage]:
    """E002, W002, W012: wake-ups need the broker's URL and password, and the extra `rabbitmq`."""
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
                hint="Run `pip install sluice-updates[rabbitmq]`, or leave the setting empty.",
                id="sluice_updates.W002",
            )
        ]
    try:
        conf.publisher_password()
    except (OSError, ValueError) as error:
        return [unreadable("SLUICE_UPDATES_PUBLISHER_PASSWORD_FILE", error)]
    return []


@register("sluice_updates")
def check_tracing(**kwargs: Any) -> list[CheckMessage]:
    """W017: tracing needs the extra `opentelemetry`."""
    if not conf.tracing() or importlib.util.find_spec("opentelemetry") is not None:
        return []
    return [
        Warning(
            "SLUICE_UPDATES_TRACING is set, but opentelemetry can't be imported: updates have no spans.",
            hint="Run `pip install sluice-updates[opentelemetry]`, or remove the setting.",
            id="sluice_updates.W017",
        )
    ]


def unreadable(setting: str, error: Exception) -> CheckMessage:
    """W012: the user who runs the check can't read a password file."""
    return Warning(
        f"{setting} can't be read by user {os.getuid()}: {error}. The broker isn't used without it.",
        hint="Check the file's name, owner and group. Until it can be read, updates take up to a second.",
        id="sluice_updates.W012",
    )


@register("sluice_updates")
def check_rights(**kwargs: Any) -> list[CheckMessage]:
    """E003: the function that decides who may read a stream must exist."""
    try:
        rule = import_string(conf.may_read())
    except ImportError as error:
        return [Error(f"SLUICE_UPDATES_MAY_READ: {error}", id="sluice_updates.E003")]
    if not callable(rule):
        return [
            Error(f"SLUICE_UPDATES_MAY_READ: {conf.may_read()} is not a function.", id="sluice_updates.E003")
        ]
    return []


@register("sluice_updates")
def check_anonymous(**kwargs: Any) -> list[CheckMessage]:
    """E041, W041: anonymous readers need a rule of the project's own."""
    value = conf.anonymous_setting()
    if not isinstance(value, bool):
        return [
            Error(
                f"SLUICE_UPDATES_ANONYMOUS is {value!r}: anonymous readers get nothing.",
                hint="Set it to True or False. A value from the environment is text, and must be compared.",
                id="sluice_updates.E041",
            )
        ]
    if value and conf.may_read() == conf.DEFAULT_MAY_READ:
        return [
            Warning(
                "SLUICE_UPDATES_ANONYMOUS is on, but the default rule of rights gives anonymous readers"
                " nothing.",
                hint="Set SLUICE_UPDATES_MAY_READ to a function that returns True for your public streams.",
                id="sluice_updates.W041",
            )
        ]
    return []


@register("sluice_updates", deploy=True)
def check_anonymous_rule(**kwargs: Any) -> list[CheckMessage]:
    """E042: the rule must be able to decide for AnonymousUser. It may query the database: only --deploy."""
    if not conf.anonymous():
        return []
    try:
        for stream in (streams.ALL, streams.project_stream(1)):
            may_read(AnonymousUser(), stream)
    except (ImportError, DatabaseError):  # check_rights reports it; the database may be down
        return []
    except Exception as error:
        return [
            Error(
                f"SLUICE_UPDATES_MAY_READ fails for a reader who is not signed in: {error!r}.",
                hint="Look at user.is_authenticated first: AnonymousUser has no id.",
                id="sluice_updates.E042",
            )
        ]
    return []


@register("sluice_updates")
def check_polling(**kwargs: Any) -> list[CheckMessage]:
    """W014, W015: a page without a connection polls the URL of sluice_updates.urls."""
    if not getattr(settings, "ROOT_URLCONF", None):
        return []
    try:
        url = reverse("sluice_updates:poll")
    except NoReverseMatch:
        return [
            Warning(
                "the project's urls.py does not include sluice_updates.urls, so pages can't poll, and"
                " {% sluice_updates %} is an error.",
                hint='Add path("updates/", include("sluice_updates.urls")) to urlpatterns. The path is yours'
                " to choose.",
                id="sluice_updates.W014",
            )
        ]
    try:
        match = resolve("/" + url.removeprefix(get_script_prefix()))
    except Resolver404:
        return []  # by design, such as for another host name
    if "sluice_updates" in match.app_names:
        return []
    return [
        Warning(
            f"{url} reaches the view {match._func_path} of another pattern, {match.route!r}, so pages can't"
            " poll.",
            hint="In urlpatterns, put the pattern that includes sluice_updates.urls before that one.",
            id="sluice_updates.W015",
        )
    ]


# Settings by their names in earlier versions, which had no prefix or another one.
_OLD_SETTINGS = {
    "ASGI_BIND": "SLUICE_UPDATES_BIND",
    "EXPOSE_BACKEND": "SLUICE_UPDATES_EXPOSE_BACKEND",
    "HEALTH_ALLOW": "SLUICE_UPDATES_HEALTH_ALLOW",
    "SITE_URL": "SLUICE_UPDATES_SITE_URL",
    "UPDATES_MAY_READ": "SLUICE_UPDATES_MAY_READ",
    "UPDATES_PUBLISHER_URL": "SLUICE_UPDATES_PUBLISHER_URL",
    "UPDATES_PUBLISHER_PASSWORD_FILE": "SLUICE_UPDATES_PUBLISHER_PASSWORD_FILE",
    "UPDATES_MAX_AGE_DAYS": "SLUICE_UPDATES_MAX_AGE_DAYS",
    "UPDATES_MAX_PER_STREAM": "SLUICE_UPDATES_MAX_PER_STREAM",
    "UPDATES_MAX_CONNECTIONS_PER_USER": "SLUICE_UPDATES_MAX_CONNECTIONS_PER_USER",
}


@register("sluice_updates")
def check_names(**kwargs: Any) -> list[CheckMessage]:
    """W013: a setting with its old name has no effect. (A project may use the name for something else.)"""
    return [
        Warning(
            f"{old} has no effect on updates: the setting's name is {new}.",
            hint=f"Rename {old} to {new}. If your project uses {old} for something else, set {new} as well.",
            id="sluice_updates.W013",
        )
        for old, new in _OLD_SETTINGS.items()
        if hasattr(settings, old) and not hasattr(settings, new)
    ]
