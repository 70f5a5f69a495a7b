"""Static files, with a hash in each name.

https://docs.djangoproject.com/en/5.2/ref/contrib/staticfiles/
"""

from __future__ import annotations

from sluice_stack.environment import Environment


def storages(env: Environment) -> dict[str, dict[str, str]]:
    """STORAGES: with hashed names, unless DEBUG is on."""
    static = (
        "django.contrib.staticfiles.storage.StaticFilesStorage"
        if env.debug
        else "sluice_stack.static_storage.ManifestStorage"
    )
    return {
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
        "staticfiles": {"BACKEND": static},
    }
