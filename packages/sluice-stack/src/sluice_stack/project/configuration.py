"""`configure`: the stack's settings for a project that was written without it.

Each function returns the settings of one concern. It gets the project's own settings, and keeps what the
stack does not decide.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import Any, Final

from sluice_stack import settings as stack
from sluice_stack.environment import Environment
from sluice_stack.postgresql import answer_within

# Where the image has the collected static files (images/app/Dockerfile).
STATIC_ROOT: Final = "/opt/sluice/static"
DATA_ROOT: Final = Path("/var/lib/sluice")

# Seconds that a page or a socket waits for the database.
_DATABASE_SECONDS: Final = 10
# What a project may set for a database, wherever it is.
_OWN_DATABASE_KEYS: Final = ("ATOMIC_REQUESTS", "DISABLE_SERVER_SIDE_CURSORS", "TEST", "TIME_ZONE")
_FIRST: Final = (
    "sluice_stack.middleware.ExposeBackend",
    "sluice_stack.middleware.Challenge",
    "sluice_stack.middleware.Head",
    "sluice_stack.middleware.Health",
    "sluice_stack.middleware.DatabaseDown",
)
_ASGI: Final = "sluice_stack.asgi.application"
# Values of ASGI_APPLICATION that bring no consumers: Daphne's role then only reads (sluice_stack.grants).
_WITHOUT_CONSUMERS: Final = (_ASGI, "sluice_updates.asgi.default.application")
# Used only while the image is built, where no secret exists.
_BUILD_KEY: Final = "only for the build of an image: no page and no session is signed with it"

Settings = Mapping[str, Any]


def configure(settings: MutableMapping[str, Any]) -> None:
    """Replace what the stack's containers decide. Call it with `globals()`, as the last line of the settings.

    It does nothing outside the containers, where SLUICE_SERVICE is not set. If the environment is invalid,
    the process prints one line for each problem and exits with 78.
    """
    if not os.environ.get("SLUICE_SERVICE"):
        return
    env: Environment = stack.read_environment()
    for block in _BLOCKS:
        settings.update(block(env, settings))
    if env.sluice_service in ("wsgi", "asgi", "worker"):
        answer_within(_DATABASE_SECONDS)
    settings["SLUICE_STACK_CONFIGURED"] = True


def _security(env: Environment, own: Settings) -> dict[str, Any]:
    hsts = own.get("SECURE_HSTS_SECONDS", 0) if stack.hsts_seconds(env) else 0
    found = {
        "DEBUG": env.debug,
        "SECRET_KEY": stack.secret_key(env) or (_BUILD_KEY if env.sluice_service == "init" else ""),
        "ALLOWED_HOSTS": stack.allowed_hosts(env),
        "CSRF_TRUSTED_ORIGINS": _with(own.get("CSRF_TRUSTED_ORIGINS", ()), env.site_url),
        "CSRF_COOKIE_SECURE": env.https,
        "SESSION_COOKIE_SECURE": env.https,
        "SECURE_HSTS_SECONDS": hsts,
        "SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https"),
        "SECURE_SSL_REDIRECT": False,  # nginx redirects
        "SILENCED_SYSTEM_CHECKS": _with(own.get("SILENCED_SYSTEM_CHECKS", ()), *stack.SILENCED_SYSTEM_CHECKS),
    }
    if not env.https:
        found["SECURE_CROSS_ORIGIN_OPENER_POLICY"] = stack.cross_origin_opener_policy(env)
    return found


def _address(env: Environment, own: Settings) -> dict[str, Any]:
    found: dict[str, Any] = {
        "SLUICE_UPDATES_SITE_URL": env.site_url,
        "SLUICE_UPDATES_BIND": env.asgi_bind or "0.0.0.0:8001",
        "SLUICE_STACK_EXPOSE_BACKEND": env.expose_backend,
        "SLUICE_UPDATES_EXPOSE_BACKEND": env.expose_backend,
        "SLUICE_UPDATES_METRICS_BIND": stack.metrics_bind(env),
    }
    if env.url_prefix:
        found |= {
            "FORCE_SCRIPT_NAME": env.url_prefix,
            "SESSION_COOKIE_NAME": stack.session_cookie_name(env),
            "SESSION_COOKIE_PATH": f"{env.url_prefix}/",
            "CSRF_COOKIE_PATH": f"{env.url_prefix}/",
        }
    return found


def _applications(env: Environment, own: Settings) -> dict[str, Any]:
    apps = list(own.get("INSTALLED_APPS", ()))
    if stack.installed("channels", "channels_rabbitmq"):
        # sluice_layer replaces the command runworker of channels, so it comes first.
        apps = [*([] if "sluice_layer" in apps else ["sluice_layer"]), *_with(apps, "channels")]
    middleware = list(own.get("MIDDLEWARE", ()))
    consumers = own.get("ASGI_APPLICATION") or ""
    last = ["sluice_stack.middleware.MonitoringAccess"] if env.monitoring else []
    return {
        # For a project that was written on SQLite: some apps need the second on PostgreSQL (postgres.E005).
        "INSTALLED_APPS": _with(apps, "sluice_stack", "django.contrib.postgres"),
        "MIDDLEWARE": [*(name for name in _FIRST if name not in middleware), *_with(middleware, *last)],
        # Daphne serves the project's own consumers beside the updates, and none of its pages.
        "ASGI_APPLICATION": _ASGI,
        "SLUICE_STACK_ASGI_APPLICATION": "" if consumers in _WITHOUT_CONSUMERS else consumers,
        "SLUICE_STACK_ADMIN_USERNAME": env.admin_username,
        "SLUICE_STACK_ADMIN_PASSWORD_FILE": env.admin_password_file,
    }


def _database(env: Environment, own: Settings) -> dict[str, Any]:
    if not env.database_url:  # the build of the image, and init
        return {}
    databases = dict(own.get("DATABASES", {}))
    kept = {key: value for key, value in databases.get("default", {}).items() if key in _OWN_DATABASE_KEYS}
    databases["default"] = {**kept, **stack.database(env, sqlite=DATA_ROOT / "sluice.sqlite3")}
    return {"DATABASES": databases}


def _messages(env: Environment, own: Settings) -> dict[str, Any]:
    found: dict[str, Any] = {
        "SLUICE_UPDATES_NOTIFY": stack.updates_notify(env),
        "SLUICE_UPDATES_PUBLISHER_URL": env.publisher_url,
        "SLUICE_UPDATES_PUBLISHER_PASSWORD_FILE": env.publisher_password_file,
        "SLUICE_UPDATES_MAX_AGE_DAYS": env.updates_max_age_days,
        "SLUICE_UPDATES_MAX_PER_STREAM": env.updates_max_per_stream,
        "SLUICE_UPDATES_MAX_CONNECTIONS_PER_USER": env.updates_max_connections_per_user,
        "CELERY_BROKER_URL": stack.celery_broker_url(env),
        "CELERY_BROKER_PASSWORD_FILE": env.tasks_password_file,
        "CELERY_BROKER_USE_SSL": stack.celery_broker_ssl(env),
        "CELERY_WORKER_CONCURRENCY": env.celery_concurrency,
    }
    layers = stack.channel_layers(env)
    if layers and env.publisher_url and not env.layer_url and stack.installed("amqp", "channels_rabbitmq"):
        config = {"host": env.publisher_url, "password_file": env.publisher_password_file or None}
        layers = {"default": {"BACKEND": "sluice_stack.group_sender.GroupSender", "CONFIG": config}}
    found["CHANNEL_LAYERS"] = {**own.get("CHANNEL_LAYERS", {}), **layers}
    return found


def _files(env: Environment, own: Settings) -> dict[str, Any]:
    return {
        "STATIC_URL": f"{env.url_prefix}/static/",
        "STATIC_ROOT": STATIC_ROOT,
        "SLUICE_STACK_STATIC_ROOT": env.static_root or str(DATA_ROOT / "static"),
        "MEDIA_URL": f"{env.url_prefix}/media/",
        "MEDIA_ROOT": env.media_root or str(DATA_ROOT / "media"),
        "SENDFILE": env.sendfile,
        # With the container's umask, other services could not read what Gunicorn writes.
        "FILE_UPLOAD_PERMISSIONS": 0o644,
    }


def _logs(env: Environment, own: Settings) -> dict[str, Any]:
    """The project's levels; not its handlers, which may write files where nothing can be written."""
    loggers = (own.get("LOGGING") or {}).get("loggers", {})
    levels = {name: logger["level"] for name, logger in loggers.items() if name and "level" in logger}
    return {"LOGGING": stack.logging(env, levels=levels), "LOGGING_CONFIG": "logging.config.dictConfig"}


_BLOCKS: Final[tuple[Callable[[Environment, Settings], dict[str, Any]], ...]] = (
    _security,
    _address,
    _applications,
    _database,
    _messages,
    _files,
    _logs,
)


def _with(values: Iterable[str], *more: str) -> list[str]:
    """The values, followed by those of `more` that are not among them."""
    found = list(values)
    return [*found, *(value for value in more if value not in found)]
