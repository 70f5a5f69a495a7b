"""System checks that ask the broker: only by `manage.py check --deploy`, since no start may wait for it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Warning, register

from . import conf
from .checks import unreadable
from .checks_site import layer_url, vhost

_SECONDS: Final = 3.0  # for each step of connecting


@register("updates", deploy=True)
def check_broker(**kwargs: Any) -> list[CheckMessage]:
    """Each account can enter its vhost, now. A broker may be away for a while: these are warnings."""
    if importlib.util.find_spec("amqp") is None:
        return []
    return list(_found())


def _found() -> Iterator[CheckMessage]:
    for setting, url, read in _accounts():
        try:
            password = read()
        except (OSError, ValueError) as error:
            if setting != "UPDATES_PUBLISHER_URL":  # of which check_publisher says it
                yield unreadable(f"{setting}: password_file", error)
            continue
        yield from _enter(setting, url, password)


def _accounts() -> Iterator[tuple[str, str, Callable[[], str | None]]]:
    """Settings' names, URLs, and what reads a password that doesn't stand in the URL."""
    if url := layer_url():
        config = settings.CHANNEL_LAYERS["default"]["CONFIG"]
        file = config.get("password_file")
        yield "CHANNEL_LAYERS", url, lambda: Path(file).read_text(encoding="utf-8").strip() if file else None
    if url := conf.publisher_url():
        yield "UPDATES_PUBLISHER_URL", url, conf.publisher_password
    if url := str(getattr(settings, "CELERY_BROKER_URL", "") or ""):
        yield "CELERY_BROKER_URL", url, lambda: None


def _enter(setting: str, url: str, password: str | None) -> Iterator[CheckMessage]:
    import amqp

    parts = urlsplit(url)
    if parts.scheme != "amqp":  # another transport of Celery's, or TLS: not ours to try
        return
    place = f"{parts.hostname}:{parts.port or 5672}"
    user = unquote(parts.username or "guest")
    connection = amqp.Connection(
        place,
        userid=user,
        password=unquote(parts.password or "guest") if password is None else password,
        virtual_host=vhost(url),
        connect_timeout=_SECONDS,
        read_timeout=_SECONDS,
        write_timeout=_SECONDS,
    )
    try:
        connection.connect()
        connection.close()
    except amqp.exceptions.NotAllowed:
        yield Warning(
            f"{setting}: the broker at {place} has no vhost {vhost(url)!r}, or does not let {user} in.",
            hint=f"rabbitmqctl add_vhost {vhost(url)}; rabbitmqctl set_permissions -p {vhost(url)} {user} …",
            id="updates.W010",
        )
    except amqp.exceptions.AccessRefused:
        yield Warning(
            f"{setting}: the broker at {place} does not know {user} by this password.",
            hint=f"rabbitmqctl list_users; rabbitmqctl change_password {user} …",
            id="updates.W011",
        )
    except (OSError, amqp.exceptions.AMQPError) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        yield Warning(
            f"{setting}: the broker at {place} can't be reached: {why}.",
            hint="Until it can, updates come up to a second later, and tasks wait.",
            id="updates.W009",
        )
    finally:
        connection.collect()
