"""The password of Celery's broker, read again at each connect: a new one needs no restart.

The worker's own connection does not need this: Celery ends when a login is refused, and its supervisor starts
it again.
"""

from __future__ import annotations

from pathlib import Path

from django.conf import settings


def broker_password() -> str | None:
    """The password in the file CELERY_BROKER_PASSWORD_FILE. None: the password is in CELERY_BROKER_URL.

    Raises OSError or ValueError if the file can't be read.
    """
    path = getattr(settings, "CELERY_BROKER_PASSWORD_FILE", "") or ""
    return Path(path).read_text(encoding="utf-8").rstrip("\r\n") if path else None
