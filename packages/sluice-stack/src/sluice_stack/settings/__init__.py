"""Functions for a project's settings.py. Each takes the environment and returns the value of one setting.

    from sluice_stack import settings as stack

    env = stack.read_environment()
    DATABASES = {"default": stack.database(env, sqlite=BASE_DIR / "db.sqlite3")}
    CHANNEL_LAYERS = stack.channel_layers(env)

None of them reads or changes Django's settings, so a project may use any of them without the others.
"""

from . import django_version  # noqa: F401  (first: it refuses a Django that is too old)
from .database import database
from .logs import logging
from .messaging import celery_broker_ssl, celery_broker_url, channel_layers, updates_notify
from .monitoring import metrics_bind
from .security import (
    SILENCED_SYSTEM_CHECKS,
    allowed_hosts,
    cross_origin_opener_policy,
    hsts_seconds,
    secret_key,
    session_cookie_name,
)
from .source import installed, read_environment, secret, with_password
from .static_files import storages

__all__ = [
    "SILENCED_SYSTEM_CHECKS",
    "allowed_hosts",
    "celery_broker_ssl",
    "celery_broker_url",
    "channel_layers",
    "cross_origin_opener_policy",
    "database",
    "hsts_seconds",
    "installed",
    "logging",
    "metrics_bind",
    "read_environment",
    "secret",
    "secret_key",
    "session_cookie_name",
    "storages",
    "updates_notify",
    "with_password",
]
