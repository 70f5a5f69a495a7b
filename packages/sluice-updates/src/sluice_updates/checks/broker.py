"""System checks that connect to the broker.

Only `manage.py check --deploy` runs them, since they may wait.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.core.checks import CheckMessage, Warning, register

from .. import conf
from ..broker.address import Address
from .configuration import unreadable
from .consistency import layer_url

_SECONDS: Final = 3.0  # for each step of connecting


@register("sluice_updates", deploy=True)
def check_broker(**kwargs: Any) -> list[CheckMessage]:
    """W009 to W011: each account can log in to its vhost.

    Only warnings, since a broker may be down for a while.
    """
    if importlib.util.find_spec("amqp") is None:
        return []
    return list(_found())


def _found() -> Iterator[CheckMessage]:
    for setting, url, read in _accounts():
        try:
            password = read()
        except (OSError, ValueError) as error:
            if setting != "SLUICE_UPDATES_PUBLISHER_URL":  # for that, check_publisher reports it
                yield unreadable(f"{setting}: password_file", error)
            continue
        yield from _enter(setting, url, password)


def _accounts() -> Iterator[tuple[str, str, Callable[[], str | None]]]:
    """Each setting's name, its URL, and a function that reads the password if it isn't in the URL."""
    if url := layer_url():
        config = settings.CHANNEL_LAYERS["default"]["CONFIG"]
        file = config.get("password_file")
        if not config.get("ssl_context"):  # this check can't use its TLS options
            yield (
                "CHANNEL_LAYERS",
                url,
                lambda: Path(file).read_text(encoding="utf-8").strip() if file else None,
            )
    if url := conf.publisher_url():
        yield "SLUICE_UPDATES_PUBLISHER_URL", url, conf.publisher_password
    url = str(getattr(settings, "CELERY_BROKER_URL", "") or "")
    if _is_ours_to_try(url):
        yield "CELERY_BROKER_URL", url, lambda: None


def _is_ours_to_try(url: str) -> bool:
    """Whether this check can connect to Celery's broker: over AMQP, and with the publisher's TLS options."""
    try:
        tls = Address.parse(url).tls
    except ValueError:
        return False
    return (getattr(settings, "CELERY_BROKER_USE_SSL", None) or tls) == tls


def _enter(setting: str, url: str, password: str | None) -> Iterator[CheckMessage]:
    import amqp

    try:
        address = Address.parse(url)
    except ValueError:  # check_publisher or the layer reports it
        return
    place, user, vhost = address.place, address.user, address.vhost
    connection = address.connection(_SECONDS, password=password)
    try:
        connection.connect()
        connection.close()
    except amqp.exceptions.NotAllowed:
        yield Warning(
            f"{setting}: the broker at {place} has no vhost {vhost!r}, or user {user} may not use it.",
            hint=f"rabbitmqctl add_vhost {vhost}; rabbitmqctl set_permissions -p {vhost} {user} …",
            id="sluice_updates.W010",
        )
    except amqp.exceptions.AccessRefused:
        yield Warning(
            f"{setting}: the broker at {place} refuses user {user} with this password.",
            hint=f"rabbitmqctl list_users; rabbitmqctl change_password {user} …",
            id="sluice_updates.W011",
        )
    except (OSError, amqp.exceptions.AMQPError) as error:
        why = " ".join(address.explain(error).split())
        yield Warning(
            f"{setting}: the broker at {place} can't be reached: {why}.",
            hint="Start it, or correct the URL. Until then updates take up to a second, and tasks wait.",
            id="sluice_updates.W009",
        )
    finally:
        connection.collect()
