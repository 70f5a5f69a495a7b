"""Django's settings for the sample site.

`env` has the operator's settings, from the environment (environment.py, docs/reference/environment.md).
`stack` has functions for settings that every site in the stack needs (sluice_stack.settings).

https://docs.djangoproject.com/en/5.2/ref/settings/
"""

from pathlib import Path

from mysite.environment import Environment
from sluice_stack import settings as stack

env = stack.read_environment(Environment)

BASE_DIR = Path(__file__).resolve().parent.parent
DEBUG = env.debug
DEVELOPMENT_DIR = BASE_DIR.parent / "var"
DATA_DIR = DEVELOPMENT_DIR if DEBUG else Path("/var/lib/sluice")

# Security. https://docs.djangoproject.com/en/5.2/howto/deployment/checklist/
SECRET_KEY = stack.secret_key(env)
SITE_URL = SLUICE_UPDATES_SITE_URL = env.site_url
ALLOWED_HOSTS = stack.allowed_hosts(env)
CSRF_TRUSTED_ORIGINS = [env.site_url]
CSRF_FAILURE_VIEW = "common.pages.csrf_failure"
CSRF_COOKIE_SECURE = SESSION_COOKIE_SECURE = env.https
SECURE_CROSS_ORIGIN_OPENER_POLICY = stack.cross_origin_opener_policy(env)
SECURE_HSTS_SECONDS = stack.hsts_seconds(env)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")  # nginx overwrites a client's
SECURE_REFERRER_POLICY = "same-origin"
SILENCED_SYSTEM_CHECKS = stack.SILENCED_SYSTEM_CHECKS
X_FRAME_OPTIONS = "DENY"

# Applications and middleware
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "sluice_updates",
    "sluice_updates.sessions",
    "inbox",
    "volumes",
    "common",
    "sluice_stack",
]
# Push is optional: app/requirements-async.txt. sluice_layer replaces the command runworker of channels.
if stack.installed("channels", "channels_rabbitmq"):
    INSTALLED_APPS += ["sluice_layer", "channels"]
# For development only: `runserver` then serves WebSockets. It must come before staticfiles.
if env.debug and stack.installed("daphne"):
    INSTALLED_APPS.insert(0, "daphne")

MIDDLEWARE = [
    "sluice_stack.middleware.ExposeBackend",
    "sluice_stack.middleware.Head",
    "sluice_stack.middleware.Health",
    "django.middleware.security.SecurityMiddleware",
    "sluice_stack.middleware.ContentSecurityPolicy",
    "sluice_stack.middleware.DatabaseDown",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "mysite.urls"
WSGI_APPLICATION = "mysite.wsgi.application"
ASGI_APPLICATION = "mysite.asgi.application"
FORCE_SCRIPT_NAME = env.url_prefix or None
SLUICE_STACK_EXPOSE_BACKEND = SLUICE_UPDATES_EXPOSE_BACKEND = env.expose_backend
SLUICE_UPDATES_METRICS_BIND = stack.metrics_bind(env)
SLUICE_UPDATES_BIND = env.asgi_bind or ("0.0.0.0:8001" if env.sluice_service else "127.0.0.1:8001")

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "common.pages.page",
                "inbox.context.unread",
            ],
        },
    },
]

# Database. https://docs.djangoproject.com/en/5.2/ref/databases/
DATABASES = {"default": stack.database(env, sqlite=DEVELOPMENT_DIR / "sluice.sqlite3")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
# This site's part of `python -m sluice_stack.migrate`: each program's rights, and steps.
SLUICE_STACK_GRANTS = "mysite.grants.GRANTS"
SLUICE_STACK_MIGRATE_STEPS = {"sample volume": "volumes.sample.import_sample"}
SLUICE_STACK_ADMIN_USERNAME = env.admin_username
SLUICE_STACK_ADMIN_PASSWORD_FILE = env.admin_password_file

# Sessions and sign-in. https://docs.djangoproject.com/en/5.2/topics/http/sessions/
SESSION_ENGINE = "sluice_updates.sessions"  # a WebSocket's user and session take one query
SESSION_COOKIE_NAME = stack.session_cookie_name(env)
SESSION_COOKIE_PATH = CSRF_COOKIE_PATH = f"{env.url_prefix}/"
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "login"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]

# Channels and the updates. https://channels.readthedocs.io/en/stable/topics/channel_layers.html
CHANNEL_LAYERS = stack.channel_layers(env)
SLUICE_UPDATES_PUBLISHER_URL = env.publisher_url
SLUICE_UPDATES_PUBLISHER_PASSWORD_FILE = env.publisher_password_file
SLUICE_UPDATES_NOTIFY = stack.updates_notify(env)
SLUICE_UPDATES_MAY_READ = "mysite.rights.may_read"
SLUICE_UPDATES_MAX_AGE_DAYS = env.updates_max_age_days
SLUICE_UPDATES_MAX_PER_STREAM = env.updates_max_per_stream
SLUICE_UPDATES_MAX_CONNECTIONS_PER_USER = env.updates_max_connections_per_user
SLUICE_LAYER_WORKER_CHANNELS = ["previews"]
# Seconds. `runworker` exits and is restarted if a preview takes longer. The database's time-outs are shorter.
SLUICE_LAYER_WORKER_BUSY_LIMIT = 30
SLUICE_LAYER_WORKER_WARM_UP = ["sluice_stack.monitoring.worker.start", "volumes.previews.warm_up"]

# Celery. sluice_stack.celery.configuration has the defaults.
# https://docs.celeryq.dev/en/stable/userguide/configuration.html
CELERY_BROKER_URL = stack.celery_broker_url(env)
CELERY_BROKER_PASSWORD_FILE = env.tasks_password_file
CELERY_BROKER_USE_SSL = stack.celery_broker_ssl(env)
CELERY_WORKER_CONCURRENCY = env.celery_concurrency
# Functions that beat runs itself, with their intervals in seconds: docs/how-to/add-a-task.md.
CELERY_BEAT_SCHEDULE = {
    "hand over crops": {"task": "volumes.handover.hand_over_waiting", "schedule": 10.0},
    "remove discarded crops": {"task": "volumes.retention.remove_discarded", "schedule": 10.0},
    "delete old crops": {"task": "volumes.retention.clean_up", "schedule": 3600.0},
}

# Static files. The build of the image collects them, and migrate copies them to nginx's volume.
# https://docs.djangoproject.com/en/5.2/ref/contrib/staticfiles/
STATIC_URL = f"{env.url_prefix}/static/"
STATIC_ROOT = BASE_DIR.parent / "static"
SLUICE_STACK_STATIC_ROOT = env.static_root or DATA_DIR / "static"
STORAGES = stack.storages(env)

# Files and uploads. Requests are small: images are imported by `manage.py import_volume`.
MEDIA_ROOT = env.media_root or DATA_DIR / "media"
SENDFILE = env.sendfile  # "nginx": downloads leave through X-Accel-Redirect
DATA_UPLOAD_MAX_MEMORY_SIZE = 256 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 200
DATA_UPLOAD_MAX_NUMBER_FILES = 0

# https://docs.djangoproject.com/en/5.2/topics/i18n/
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True

# https://docs.djangoproject.com/en/5.2/topics/logging/
# tifffile logs each flaw of a damaged file as an error. It raises the one that matters.
LOGGING = stack.logging(env, levels={"numcodecs": "INFO", "PIL": "INFO", "tifffile": "CRITICAL"})

# This site's own
VOLUMES_ROOT = env.volumes_root or DATA_DIR / "volumes"
CROP_MAX_VOXELS = env.crop_max_voxels
CROP_QUOTA_BYTES = env.crop_quota_mb * 2**20
CROP_RETENTION_DAYS = env.crop_retention_days
CROP_MAX_OPEN_PER_USER = 500  # waiting or running
POLL_SECONDS = env.poll_seconds
