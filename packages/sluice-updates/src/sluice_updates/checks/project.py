"""System checks: what the project around this package needs, and what stands in its way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.utils.module_loading import import_string

from .. import settings_file

SCRIPT: Final = "sluice_updates/updates.js"
_MIDDLEWARE: Final = (
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
)


@register("sluice_updates")
def check_sessions(**kwargs: Any) -> list[CheckMessage]:
    """E030: views know a user by the session."""
    return list(_missing_middleware()) if getattr(settings, "ROOT_URLCONF", "") else []


def _missing_middleware() -> Iterator[CheckMessage]:
    there = [kind for kind in map(_imported, settings.MIDDLEWARE) if kind is not None]
    for name in _MIDDLEWARE:
        wanted = import_string(name)
        # A function could do the same.
        if not any(not isinstance(kind, type) or issubclass(kind, wanted) for kind in there):
            yield Error(
                f"MIDDLEWARE has no {name.rpartition('.')[2]}, and updates are for users who are signed in.",
                hint=f"Add {name} to MIDDLEWARE.",
                id="sluice_updates.E030",
            )


def _imported(name: str) -> Any:
    try:
        return import_string(name)
    except ImportError:  # the site doesn't start, and Django's own message names it
        return None


@register("sluice_updates")
def check_static_files(**kwargs: Any) -> list[CheckMessage]:
    """W030: with a manifest, a static file that wasn't collected is an error of each page that uses it."""
    if settings.DEBUG or not settings.STATIC_URL or not apps.is_installed("django.contrib.staticfiles"):
        return []
    from django.templatetags.static import static

    try:
        static(SCRIPT)
    except ValueError as error:
        return [
            Warning(
                f"{error}. Each page that loads it fails with status 500.",
                hint="Run manage.py collectstatic, with the settings that the site runs with.",
                id="sluice_updates.W030",
            )
        ]
    return []


@register("sluice_updates")
def check_settings_file(**kwargs: Any) -> list[CheckMessage]:
    """W031: the file with addresses is read by all programs of the site."""
    file = settings_file.path()
    _, wrong = settings_file.read(file)
    if not wrong:
        return []
    return [
        Warning(
            f"{file}: {wrong}.",
            hint="Correct the file, or its owner and group, and restart the site. Its other lines count.",
            id="sluice_updates.W031",
        )
    ]
