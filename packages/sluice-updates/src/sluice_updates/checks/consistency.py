"""System checks: settings that contradict each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.http.request import validate_host
from django.utils.module_loading import import_string

from .. import conf

_STOCK_LAYER: Final = "channels_rabbitmq.core.RabbitmqChannelLayer"


@register("sluice_updates")
def check_layer(**kwargs: Any) -> list[CheckMessage]:
    """The channel layer wakes the hubs, and carries what workers are asked; it must be able to."""
    layer = _layer()
    if layer is None and not apps.is_installed("channels"):
        return []
    if layer is None:
        return [
            Warning(
                "CHANNEL_LAYERS has no default: updates come by the hub's poll, up to a second later,"
                " and no worker can be asked for anything.",
                id="sluice_updates.W003",
            )
        ]
    backend = str(layer.get("BACKEND", ""))
    try:
        kind = import_string(backend)
    except ImportError as error:
        return [Error(f"CHANNEL_LAYERS: BACKEND: {error}.", id="sluice_updates.E004")]
    if "groups" not in getattr(kind, "extensions", ()):
        return [
            Error(
                f"CHANNEL_LAYERS: {backend} has no groups, which wake-ups are sent to.",
                hint="sluice_layer.RabbitmqChannelLayer has.",
                id="sluice_updates.E005",
            )
        ]
    if backend == _STOCK_LAYER:
        return [
            Warning(
                f"CHANNEL_LAYERS: {backend} has no channels that `runworker` could read, and stays deaf after"
                " some of the broker's failures.",
                hint="sluice_layer.RabbitmqChannelLayer is the same, mended, with the same CONFIG.",
                id="sluice_updates.W004",
            )
        ]
    return []


@register("sluice_updates")
def check_vhosts(**kwargs: Any) -> list[CheckMessage]:
    """A message published in one vhost does not reach another, and no error shows it."""
    published, heard = conf.publisher_url(), layer_url()
    if not (published and heard) or vhost(published) == vhost(heard):
        return []
    return [
        Error(
            f"SLUICE_UPDATES_PUBLISHER_URL leads to the vhost {vhost(published)!r}, the channel layer to"
            f" {vhost(heard)!r}: no wake-up will ever be heard.",
            hint="Both need the channel layer's vhost, by accounts of their own.",
            id="sluice_updates.E006",
        )
    ]


@register("sluice_updates")
def check_hosts(**kwargs: Any) -> list[CheckMessage]:
    """A page's Origin is compared with hosts and origins that Django has already."""
    return list(_hosts())


def _hosts() -> Iterator[CheckMessage]:
    site = urlsplit(conf.site_url())
    hosts = settings.ALLOWED_HOSTS
    if site.hostname and hosts and not validate_host(site.hostname, hosts):
        yield Error(
            f"the host of SLUICE_UPDATES_SITE_URL, {site.hostname}, is not in ALLOWED_HOSTS: every page is"
            " answered with 400.",
            id="sluice_updates.E007",
        )
    if site.scheme == "http" and settings.SESSION_COOKIE_SECURE:
        yield Error(
            "SLUICE_UPDATES_SITE_URL is http, and SESSION_COOKIE_SECURE keeps browsers from sending the"
            " session's cookie there: nobody can sign in.",
            hint="SLUICE_UPDATES_SITE_URL is what people see: https, if something in front does the TLS.",
            id="sluice_updates.E008",
        )
    for origin in settings.CSRF_TRUSTED_ORIGINS:
        parts = urlsplit(origin)
        if parts.hostname == site.hostname and site.scheme and parts.scheme != site.scheme:
            yield Warning(
                f"CSRF_TRUSTED_ORIGINS has {origin}, and SLUICE_UPDATES_SITE_URL is {site.scheme}: pages from"
                f" {origin} may open sockets, but they lack the session's cookie, or send it in the clear.",
                id="sluice_updates.W005",
            )
    if "*" in hosts and not settings.DEBUG:
        yield Warning(
            "ALLOWED_HOSTS has '*': a page under any name that resolves to this server passes for the site's"
            " own and may open sockets.",
            hint="Name the hosts.",
            id="sluice_updates.W006",
        )
    if settings.USE_X_FORWARDED_HOST:
        yield Warning(
            "USE_X_FORWARDED_HOST: pages are judged by X-Forwarded-Host, sockets by Host. Where these differ,"
            " the site's own pages are refused a socket (403).",
            hint="Let the proxy pass Host on, or put the site's origin into CSRF_TRUSTED_ORIGINS.",
            id="sluice_updates.W007",
        )


@register("sluice_updates")
def check_apps(**kwargs: Any) -> list[CheckMessage]:
    """What must be installed with what, and in which order."""
    found: list[CheckMessage] = []
    order = [config.name for config in apps.get_app_configs()]
    if settings.SESSION_ENGINE == "sluice_updates.sessions" and "sluice_updates.sessions" not in order:
        found.append(
            Error(
                "SESSION_ENGINE is sluice_updates.sessions, which is not in INSTALLED_APPS: no session can be"
                " kept.",
                id="sluice_updates.E009",
            )
        )
    for name in ("django.contrib.auth", "django.contrib.contenttypes"):
        if name not in order:
            found.append(
                Error(
                    f"updates needs {name} in INSTALLED_APPS, to know whose stream is whose.",
                    id="sluice_updates.E010",
                )
            )
    if "daphne" in order and "django.contrib.staticfiles" in order[: order.index("daphne")]:
        found.append(
            Warning(
                "daphne stands after django.contrib.staticfiles in INSTALLED_APPS, so `runserver` serves no"
                " WebSockets.",
                hint="Move daphne to the front.",
                id="sluice_updates.W008",
            )
        )
    return found


def vhost(url: str) -> str:
    """The vhost that an amqp URL leads to; none is the default one, `/`."""
    return unquote(urlsplit(url).path[1:]) or "/"


def layer_url() -> str:
    """The amqp URL of the default channel layer; empty if it has none."""
    host = (_layer() or {}).get("CONFIG", {}).get("host", "")
    return host if isinstance(host, str) and host.startswith("amqp") else ""


def _layer() -> dict[str, Any] | None:
    layers: dict[str, Any] = getattr(settings, "CHANNEL_LAYERS", None) or {}
    return layers.get("default")
