"""The minimal settings of a project in the stack."""

from pathlib import Path

from sluice_stack import settings as stack
from stacksite.environment import Environment

env = stack.read_environment(Environment)

BASE_DIR = Path(__file__).resolve().parent.parent
DEBUG = env.debug
SECRET_KEY = stack.secret_key(env)
SITE_URL = SLUICE_UPDATES_SITE_URL = env.site_url
ALLOWED_HOSTS = stack.allowed_hosts(env)

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "sluice_updates",
    "sluice_updates.sessions",
    "sluice_stack",
]
MIDDLEWARE = [
    "sluice_stack.middleware.ExposeBackend",
    "sluice_stack.middleware.Head",
    "sluice_stack.middleware.Health",
    "sluice_stack.middleware.ContentSecurityPolicy",
    "sluice_stack.middleware.DatabaseDown",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
ROOT_URLCONF = "stacksite.urls"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
SLUICE_STACK_EXPOSE_BACKEND = SLUICE_UPDATES_EXPOSE_BACKEND = env.expose_backend

DATABASES = {"default": stack.database(env, sqlite=BASE_DIR / "stacksite.sqlite3")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SLUICE_STACK_GRANTS = "stacksite.steps.GRANTS"
SLUICE_STACK_MIGRATE_STEPS = {"greeting": "stacksite.steps.greet"}
SLUICE_STACK_ADMIN_USERNAME = env.admin_username
SLUICE_STACK_ADMIN_PASSWORD_FILE = env.admin_password_file

SESSION_ENGINE = "sluice_updates.sessions"
CHANNEL_LAYERS = stack.channel_layers(env)
SLUICE_UPDATES_PUBLISHER_URL = env.publisher_url
SLUICE_UPDATES_PUBLISHER_PASSWORD_FILE = env.publisher_password_file
SLUICE_UPDATES_NOTIFY = stack.updates_notify(env)
CELERY_BROKER_URL = stack.celery_broker_url(env)
CELERY_BROKER_USE_SSL = stack.celery_broker_ssl(env)
CELERY_BEAT_SCHEDULE = {"greet": {"task": "stacksite.steps.greet", "schedule": 10.0}}

STATIC_URL = f"{env.url_prefix}/static/"
STATIC_ROOT = BASE_DIR / "static"
SLUICE_STACK_STATIC_ROOT = env.static_root
STORAGES = stack.storages(env)
LOGGING = stack.logging(env)
USE_TZ = True
