"""The start of each program: the environment, and Django."""

from __future__ import annotations

import os

from . import environment
from .environment import ENV_FILE


def set_up(service: str) -> None:
    """Read the environment and set Django up. On a host, the settings' name is in the common file.

    If the environment is invalid, the process prints one line for each problem and exits with 78.
    """
    try:
        environment.load()  # sets DJANGO_SETTINGS_MODULE on a host
    except environment.Malformed as error:
        environment.refuse(error.problems, service)
    if not os.environ.get("DJANGO_SETTINGS_MODULE"):
        problem = f"DJANGO_SETTINGS_MODULE is not set; name the site's settings, on a host in {ENV_FILE}"
        environment.refuse([problem], service)
    import django

    django.setup()
