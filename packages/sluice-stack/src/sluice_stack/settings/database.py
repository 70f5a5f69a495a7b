"""PostgreSQL, or SQLite for development.

https://docs.djangoproject.com/en/5.2/ref/databases/
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from sluice_stack.settings.source import BASE_DIR, development_directory, env, secret


def _sqlite(url: str) -> dict[str, Any]:
    name = url.removeprefix("sqlite:///")
    path = Path(name) if name else BASE_DIR.parent / "var" / "sluice.sqlite3"
    if not name and env.debug:
        development_directory()
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        # Readers don't wait for the writer, and a writer waits for its turn instead of failing half-way.
        "OPTIONS": {
            "init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL",
            "transaction_mode": "IMMEDIATE",
            "timeout": 10,
        },
    }


def _postgresql(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    return {
        "ENGINE": "sluice_stack.postgresql",
        "HOST": parts.hostname,
        "PORT": parts.port or "",
        "USER": unquote(parts.username or ""),
        "PASSWORD": secret(env.database_password_file, "DATABASE_PASSWORD_FILE"),
        "NAME": unquote(parts.path[1:]),
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            "application_name": env.sluice_service or "sluice",
            # Seconds, of which 2 is the least.
            "connect_timeout": 3,
            # A server that is gone is noticed after 10 s, on either side: ours by these (milliseconds) … One
            # that is there and doesn't answer: see mysite/postgresql.
            "tcp_user_timeout": 10_000,
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            # … the server's by these, so that what a vanished worker had locked is soon free again.
            "options": "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3",
        },
    }


DATABASES = {
    "default": _postgresql(env.database_url)
    if env.database_url.startswith("postgresql:")
    else _sqlite(env.database_url)
}
