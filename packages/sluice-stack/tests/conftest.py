"""The tests of sluice_stack, on a small project of their own (stacksite)."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.register_assert_rewrite("harness.django_servers")

from harness import django_servers  # noqa: E402

pytest_plugins = ["harness.django_servers"]

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
django_servers.prepare("stacksite.settings")

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
