"""The settings of this app, with their defaults; README.md explains each."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from django.conf import settings

DEFAULT_MAX_AGE_DAYS: Final = 7
DEFAULT_MAX_PER_STREAM: Final = 10_000
DEFAULT_MAY_READ: Final = "sluice_updates.rights.default_may_read"


def max_age_days() -> float:
    """UPDATES_MAX_AGE_DAYS: after so many days an update may be trimmed."""
    return float(getattr(settings, "UPDATES_MAX_AGE_DAYS", DEFAULT_MAX_AGE_DAYS))


def max_per_stream() -> int:
    """UPDATES_MAX_PER_STREAM: of each stream, so many updates are kept at most."""
    return int(getattr(settings, "UPDATES_MAX_PER_STREAM", DEFAULT_MAX_PER_STREAM))


def may_read() -> str:
    """UPDATES_MAY_READ: dotted path of the function (user, stream) -> bool: who may read a stream."""
    return str(getattr(settings, "UPDATES_MAY_READ", DEFAULT_MAY_READ))


def publisher_url() -> str:
    """UPDATES_PUBLISHER_URL: amqp:// or amqps://user:password@host:port/vhost; empty: no wake-ups."""
    return str(getattr(settings, "UPDATES_PUBLISHER_URL", "") or "")


def publisher_password() -> str | None:
    """What the file UPDATES_PUBLISHER_PASSWORD_FILE holds now; None: the password stands in the URL.

    Raises OSError or ValueError if it can't be read: a reason to send no wake-ups, not to stop the site.
    """
    path = getattr(settings, "UPDATES_PUBLISHER_PASSWORD_FILE", "") or ""
    return Path(path).read_text(encoding="utf-8").rstrip("\r\n") if path else None
