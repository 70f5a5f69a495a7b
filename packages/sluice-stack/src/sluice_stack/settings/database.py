"""PostgreSQL, or SQLite for development.

https://docs.djangoproject.com/en/5.2/ref/databases/
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from sluice_stack.environment import Environment

from .source import secret


def database(env: Environment, sqlite: Path) -> dict[str, Any]:
    """An entry of DATABASES, from DATABASE_URL. `sqlite`: the SQLite file to use without DATABASE_URL."""
    if env.database_url.startswith("postgresql:"):
        return _postgresql(env)
    if env.database_url:
        return _sqlite(Path(env.database_url.removeprefix("sqlite:///")))
    if env.debug:
        sqlite.parent.mkdir(exist_ok=True)
    return _sqlite(sqlite)


def _sqlite(path: Path) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        # WAL: readers don't wait for a writer. IMMEDIATE: a writer waits for others at its start, instead of
        # failing half-way.
        "OPTIONS": {
            "init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL",
            "transaction_mode": "IMMEDIATE",
            "timeout": 10,
        },
    }


def _postgresql(env: Environment) -> dict[str, Any]:
    parts = urlsplit(env.database_url)
    return {
        "ENGINE": "sluice_stack.postgresql",
        "HOST": parts.hostname,
        "PORT": parts.port or "",
        "USER": unquote(parts.username or ""),
        "PASSWORD": secret(env.database_password_file, "DATABASE_PASSWORD_FILE"),
        # Read again at each connect (sluice_stack/postgresql): a new password needs no restart.
        "PASSWORD_FILE": env.database_password_file,
        "NAME": unquote(parts.path[1:]),
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            "application_name": env.sluice_service or "sluice",
            # Seconds; 2 is the minimum.
            "connect_timeout": 3,
            # The client detects a vanished server within 10 s. (tcp_user_timeout is in milliseconds.) For a
            # server that accepts data but does not respond, see sluice_stack/postgresql.
            "tcp_user_timeout": 10_000,
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            # The server detects a vanished client likewise, and releases its locks.
            "options": "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3",
        },
    }
