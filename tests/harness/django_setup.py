"""Sets Django up for tests in pytest's own process (see harness.unit)."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from .servers import free_port, postgres_binaries

SCRATCH = Path(tempfile.mkdtemp(prefix="sluice-tests-"))
# The address is fixed before pytest-django reads the settings in pytest_configure. The server starts later.
# With SLUICE_NO_SERVERS (`make quick`), the tests use SQLite even if PostgreSQL is installed.
_with_server = postgres_binaries() and not {"DATABASE_URL", "SLUICE_NO_SERVERS"} & os.environ.keys()
OWN_PORT = free_port() if _with_server else None
OWN_DATABASE = (
    f"postgresql://owner@127.0.0.1:{OWN_PORT}/sluice" if OWN_PORT else f"sqlite:///{SCRATCH}/sluice.sqlite3"
)
# The environment variables that this module set itself.
from_here: set[str] = set()


def set_up(settings: str, **variables: str) -> None:
    """Set Django up with these settings. Environment variables that are already set win."""
    import django

    defaults = {"DJANGO_SETTINGS_MODULE": settings, "DATABASE_URL": OWN_DATABASE} | variables
    from_here.update(defaults.keys() - os.environ.keys())
    os.environ.update({name: defaults[name] for name in from_here})
    # Apps must be ready before a test module or a conftest.py in a subfolder imports a model.
    django.setup()
