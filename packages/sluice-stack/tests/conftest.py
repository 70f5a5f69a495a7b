"""The tests of sluice_stack, on a small project of their own (stacksite) and SQLite.

A test that needs PostgreSQL or RabbitMQ requests a server (harness.unit).
"""

from __future__ import annotations

import os
import secrets
import sys
from typing import Any

import pytest

from harness.django_setup import SCRATCH, set_up

pytest_plugins = ["harness.unit"]

_KEY = SCRATCH / "django_secret_key"
_KEY.write_text(secrets.token_urlsafe(48))

set_up(
    "stacksite.settings",
    SECRET_KEY_FILE=str(_KEY),
    DATABASE_URL=f"sqlite:///{SCRATCH}/default.sqlite3",
    **{name: str(SCRATCH / name.lower()) for name in ("MEDIA_ROOT", "VOLUMES_ROOT", "STATIC_ROOT")},
)


@pytest.fixture(autouse=True)
def quick_passwords(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def environment_of_others() -> dict[str, str]:
    """An environment with which another process runs the same project."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
