"""Sets Django up for tests in pytest's own process (harness.unit says more)."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from .servers import free_port, postgres_binaries

SCRATCH = Path(tempfile.mkdtemp(prefix="sluice-tests-"))
# The address is fixed before pytest-django reads the settings, in pytest_configure; the server starts later.
# SLUICE_NO_SERVERS (`make quick`): SQLite, whatever is installed.
_with_server = postgres_binaries() and not {"DATABASE_URL", "SLUICE_NO_SERVERS"} & os.environ.keys()
OWN_PORT = free_port() if _with_server else None
OWN_DATABASE = (
    f"postgresql://owner@127.0.0.1:{OWN_PORT}/sluice" if OWN_PORT else f"sqlite:///{SCRATCH}/sluice.sqlite3"
)
# The environment variables that weren't set by hand.
from_here: set[str] = set()


def set_up(settings: str, **variables: str) -> None:
    """Set Django up with these settings. Environment variables that are set by hand stay as they are."""
    import django

    defaults = {"DJANGO_SETTINGS_MODULE": settings, "DATABASE_URL": OWN_DATABASE} | variables
    from_here.update(defaults.keys() - os.environ.keys())
    os.environ.update({name: defaults[name] for name in from_here})
    # Before any test module, or conftest.py further down, imports a model.
    django.setup()
