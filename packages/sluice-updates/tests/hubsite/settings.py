"""The smallest site with updates. Tests vary it by environment variables named HUBSITE_…"""

import os
import urllib.parse
from typing import Any

SECRET_KEY = "for these tests only"
DEBUG = "HUBSITE_DEBUG" in os.environ
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
SLUICE_UPDATES_SITE_URL = "https://site.example"
CSRF_TRUSTED_ORIGINS = ["https://*.trusted.example", "http://other.example:8000"]
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "sluice_updates",
    "sluice_updates.sessions",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
ROOT_URLCONF = os.environ.get("HUBSITE_URLCONF", "hubsite.urls")
FORCE_SCRIPT_NAME = os.environ.get("HUBSITE_SCRIPT_NAME")
STATIC_URL = "static/"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    }
]
SESSION_ENGINE = os.environ.get("HUBSITE_SESSION_ENGINE", "sluice_updates.sessions")
SESSION_FILE_PATH = os.environ.get("HUBSITE_SESSION_FILE_PATH")
if os.environ.get("HUBSITE_USER") == "uuid":
    INSTALLED_APPS.append("hubsite.people")
    AUTH_USER_MODEL = "people.Member"
if "HUBSITE_BACKENDS" in os.environ:
    AUTHENTICATION_BACKENDS = os.environ["HUBSITE_BACKENDS"].split()
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # fast
USE_TZ = os.environ.get("HUBSITE_USE_TZ") != "no"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SLUICE_UPDATES_MAY_READ = "hubsite.rights.may_read"
SLUICE_UPDATES_ANONYMOUS = os.environ.get("HUBSITE_ANONYMOUS") == "yes"
SLUICE_UPDATES_MAX_ANONYMOUS_CONNECTIONS = int(os.environ.get("HUBSITE_ANONYMOUS_CONNECTIONS", "5000"))
SLUICE_UPDATES_MAX_CONNECTIONS_PER_ADDRESS = int(os.environ.get("HUBSITE_CONNECTIONS_PER_ADDRESS", "200"))
SLUICE_UPDATES_MAX_SUBSCRIPTIONS_PER_ADDRESS = int(
    os.environ.get("HUBSITE_SUBSCRIPTIONS_PER_ADDRESS", "1000")
)
SLUICE_UPDATES_MAX_POLLS_PER_ADDRESS = int(os.environ.get("HUBSITE_POLLS_PER_ADDRESS", "600"))
SLUICE_UPDATES_MAX_CONNECTIONS_PER_USER = int(os.environ.get("HUBSITE_CONNECTIONS_PER_USER", "32"))
SLUICE_UPDATES_PUBLISHER_URL = os.environ.get("HUBSITE_PUBLISHER_URL", "")
SLUICE_UPDATES_NOTIFY = {"": None, "yes": True, "no": False}[os.environ.get("HUBSITE_NOTIFY", "")]
SLUICE_UPDATES_EXPOSE_BACKEND = True
SLUICE_UPDATES_HEALTH_ALLOW = ("127.0.0.0/8",)
SLUICE_UPDATES_METRICS_BIND = os.environ.get("HUBSITE_METRICS", "")
SLUICE_UPDATES_TRACING = os.environ.get("HUBSITE_TRACING") == "yes"


def _database(address: str) -> dict[str, Any]:
    url = urllib.parse.urlsplit(address)
    if url.scheme == "sqlite":
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": url.path,
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode=WAL",
                "timeout": 20,
            },
        }
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": url.path[1:],
        "USER": url.username,
        "PASSWORD": urllib.parse.unquote(url.password or ""),
        "HOST": url.hostname,
        "PORT": url.port or "",
    }


DATABASES = {"default": _database(os.environ["DATABASE_URL"])}
if "HUBSITE_UPDATES_URL" in os.environ:
    DATABASES["updates"] = _database(os.environ["HUBSITE_UPDATES_URL"])
    DATABASE_ROUTERS = ["hubsite.routers.Apart"]

_layers = {
    "none": {},
    "memory": {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
    "rabbitmq": {
        "default": {
            "BACKEND": "sluice_layer.RabbitmqChannelLayer",
            "CONFIG": {"host": os.environ.get("HUBSITE_LAYER_URL", "")},
        }
    },
    "returning": {"default": {"BACKEND": "hubsite.layers.ReturningLayer"}},
    "dead": {"default": {"BACKEND": "hubsite.layers.DeadLayer"}},
    "stuck": {"default": {"BACKEND": "hubsite.layers.StuckLayer"}},
}
CHANNEL_LAYERS = _layers[os.environ.get("HUBSITE_LAYER", "memory")]
