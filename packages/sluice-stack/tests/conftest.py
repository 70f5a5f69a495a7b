"""The tests of sluice_stack, on a small project of their own (stacksite)."""

from __future__ import annotations

import os
import secrets
from typing import Any

import pytest

from harness.django_setup import SCRATCH, set_up

pytest_plugins = ["harness.unit"]

_KEY = SCRATCH / "django_secret_key"
_KEY.write_text(secrets.token_urlsafe(48))

set_up(
    "stacksite.settings",
    SECRET_KEY_FILE=str(_KEY),
    **{name: str(SCRATCH / name.lower()) for name in ("MEDIA_ROOT", "VOLUMES_ROOT", "STATIC_ROOT")},
)

from django.db import connection  # noqa: E402  (Django is set up first)


@pytest.fixture(autouse=True)
def quick_passwords(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def environment_of_others() -> dict[str, str]:
    """With which another process has the same project and, if it is PostgreSQL's, the same database."""
    environ = dict(os.environ)
    if connection.vendor == "postgresql":
        place = "{USER}@{HOST}:{PORT}/{NAME}".format_map(connection.settings_dict)
        environ["DATABASE_URL"] = f"postgresql://{place}"
    return environ
