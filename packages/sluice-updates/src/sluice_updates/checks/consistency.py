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
from ..wakeup import notifications

_STORED_SESSIONS: Final = (
    "django.contrib.sessions.backends.db",
    "django.contrib.sessions.backends.cached_db",
)
_STOCK_LAYER: Final = "channels_rabbitmq.core.RabbitmqChannelLayer"


@register("sluice_updates")
def check_layer(**kwargs: Any) -> list[CheckMessage]:
    """E004, E005, W003, W004: the channel layer needs groups for wake-ups, and channels for `runworker`."""
    layer = _layer()
    if layer is None and not apps.is_installed("channels"):
        return []
    if layer is None and (notifications.is_wanted() or notifications.is_watched()):
        return []
    if layer is None:
        return [
            Warning(
                "CHANNEL_LAYERS has no default: updates take up to a second, and nothing can be sent to"
                " Channels workers.",
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
                f"CHANNEL_LAYERS: {backend} has no groups, so wake-ups can't be received.",
                hint="Use a layer with groups, such as sluice_layer.RabbitmqChannelLayer"
                " (pip install sluice-layer).",
                id="sluice_updates.E005",
            )
        ]
    if backend == _STOCK_LAYER:
        return [
            Warning(
                f"CHANNEL_LAYERS: {backend} has no channels for `runworker`, and after some failures of the"
                " broker it receives nothing any more.",
                hint="Use sluice_layer.RabbitmqChannelLayer with the same CONFIG (pip install sluice-layer).",
                id="sluice_updates.W004",
            )
        ]
    return []


@register("sluice_updates")
def check_vhosts(**kwargs: Any) -> list[CheckMessage]:
    """E006: a message that is published in one vhost never reaches another, and causes no error."""
    published, heard = conf.publisher_url(), layer_url()
    if not (published and heard) or vhost(published) == vhost(heard):
        return []
    return [
        Error(
            f"SLUICE_UPDATES_PUBLISHER_URL leads to the vhost {vhost(published)!r}, the channel layer to"
            f" {vhost(heard)!r}: every wake-up is lost.",
            hint="Use the channel layer's vhost in both, with an account for each.",
            id="sluice_updates.E006",
        )
    ]


@register("sluice_updates")
def check_hosts(**kwargs: Any) -> list[CheckMessage]:
    """E007, E008, W005 to W007: sockets check a page's Origin by Django's settings for hosts and origins."""
    return list(_hosts())


def _hosts() -> Iterator[CheckMessage]:
    site = urlsplit(conf.site_url())
    hosts = settings.ALLOWED_HOSTS
    if site.hostname and hosts and not validate_host(site.hostname, hosts):
        yield Error(
            f"the host of SLUICE_UPDATES_SITE_URL, {site.hostname}, is not in ALLOWED_HOSTS: every page"
            " gets status 400.",
            hint="Add it to ALLOWED_HOSTS.",
            id="sluice_updates.E007",
        )
    if site.scheme == "http" and settings.SESSION_COOKIE_SECURE:
        yield Error(
            "SLUICE_UPDATES_SITE_URL has the scheme http, and with SESSION_COOKIE_SECURE browsers send no"
            " session cookie there: nobody can sign in.",
            hint="Set SLUICE_UPDATES_SITE_URL to the address in the browser, with https, even if a proxy does"
            " the TLS.",
            id="sluice_updates.E008",
        )
    for origin in settings.CSRF_TRUSTED_ORIGINS:
        parts = urlsplit(origin)
        if parts.hostname == site.hostname and site.scheme and parts.scheme != site.scheme:
            yield Warning(
                f"CSRF_TRUSTED_ORIGINS has {origin}, but the scheme of SLUICE_UPDATES_SITE_URL is"
                f" {site.scheme}: pages from {origin} may open sockets, but send no session cookie, or send"
                " it unencrypted.",
                hint=f"Remove {origin} from CSRF_TRUSTED_ORIGINS, or correct SLUICE_UPDATES_SITE_URL.",
                id="sluice_updates.W005",
            )
    if "*" in hosts and not settings.DEBUG:
        yield Warning(
            "ALLOWED_HOSTS has '*': a page from any name that resolves to this server counts as the site's"
            " own and may open sockets.",
            hint="Replace '*' by the names of the hosts.",
            id="sluice_updates.W006",
        )
    if settings.USE_X_FORWARDED_HOST:
        yield Warning(
            "USE_X_FORWARDED_HOST is on: Django reads X-Forwarded-Host, but sockets are checked by Host."
            " If these differ, the site's own pages get no socket (403).",
            hint="Make the proxy pass Host on, or add the site's origin to CSRF_TRUSTED_ORIGINS.",
            id="sluice_updates.W007",
        )


@register("sluice_updates")
def check_apps(**kwargs: Any) -> list[CheckMessage]:
    """E009, E010, W008: the apps that this one needs, and their order."""
    found: list[CheckMessage] = []
    order = [config.name for config in apps.get_app_configs()]
    if settings.SESSION_ENGINE == "sluice_updates.sessions" and "sluice_updates.sessions" not in order:
        found.append(
            Error(
                "SESSION_ENGINE is sluice_updates.sessions, which is not in INSTALLED_APPS: no session can be"
                " stored.",
                hint="Add sluice_updates.sessions to INSTALLED_APPS.",
                id="sluice_updates.E009",
            )
        )
    needed = ["django.contrib.auth", "django.contrib.contenttypes"]
    if settings.SESSION_ENGINE in _STORED_SESSIONS:
        needed.append("django.contrib.sessions")
    for name in needed:
        if name not in order:
            found.append(
                Error(
                    f"{name} is not in INSTALLED_APPS, and sluice_updates needs it: streams belong to users"
                    " who are signed in.",
                    hint=f"Add {name} to INSTALLED_APPS.",
                    id="sluice_updates.E010",
                )
            )
    if "daphne" in order and "django.contrib.staticfiles" in order[: order.index("daphne")]:
        found.append(
            Warning(
                "daphne comes after django.contrib.staticfiles in INSTALLED_APPS: `runserver` serves no"
                " WebSockets.",
                hint="Move daphne to the front.",
                id="sluice_updates.W008",
            )
        )
    return found


def vhost(url: str) -> str:
    """The vhost in an amqp URL; `/` if the URL has none."""
    return unquote(urlsplit(url).path[1:]) or "/"


def layer_url() -> str:
    """The amqp URL of the default channel layer; empty if there is none."""
    host = (_layer() or {}).get("CONFIG", {}).get("host", "")
    return host if isinstance(host, str) and host.startswith("amqp") else ""


def _layer() -> dict[str, Any] | None:
    layers: dict[str, Any] = getattr(settings, "CHANNEL_LAYERS", None) or {}
    return layers.get("default")
