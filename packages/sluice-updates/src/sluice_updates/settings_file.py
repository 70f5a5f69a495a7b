"""Django's settings. An address that is missing there comes from the environment, or from a file."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from django.conf import settings as django_settings

NAMES: Final = frozenset(
    f"SLUICE_UPDATES_{name}"
    for name in (
        "BIND",
        "LAYER_PASSWORD_FILE",
        "LAYER_URL",
        "METRICS_BIND",
        "PUBLISHER_PASSWORD_FILE",
        "PUBLISHER_URL",
        "SITE_URL",
    )
)
"""The settings that may be there."""
FILE: Final = "/etc/sluice/updates.env"


class Settings:
    """Django's settings first."""

    def __getattr__(self, name: str) -> Any:
        try:
            return getattr(django_settings, name)
        except AttributeError:
            value = _elsewhere(name) if name in NAMES else None
            if value is None:
                raise
            return value


settings: Final = Settings()


def path() -> Path:
    """The file. The environment variable SLUICE_UPDATES_FILE names another one."""
    return Path(os.environ.get("SLUICE_UPDATES_FILE") or FILE)


@functools.cache
def read(file: Path) -> tuple[Mapping[str, str], str]:
    """The file's NAME=VALUE lines, read once, and what is wrong with it; empty if nothing is.

    The site goes on without a file that can't be read.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}, ""
    except (OSError, ValueError) as error:
        return {}, f"user {os.getuid()} can't read it: {error}"
    found: dict[str, str] = {}
    wrong = ""
    for number, line in enumerate(lines, 1):
        name, equals, value = (part.strip() for part in line.partition("="))
        if equals and name in NAMES:
            found[name] = value
        elif line.strip() and not name.startswith("#"):
            wrong = wrong or f"line {number} is not NAME=value, with a name of {', '.join(sorted(NAMES))}"
    return found, wrong


def _elsewhere(name: str) -> str | None:
    value = os.environ.get(name)
    return read(path())[0].get(name) if value is None else value
