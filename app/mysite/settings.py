"""What the project is made of.

https://docs.djangoproject.com/en/5.2/ref/settings/#core-settings
"""

from sluice_stack.settings.source import BASE_DIR as BASE_DIR
from sluice_stack.settings.source import env, installed

DEBUG = env.debug

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
if installed("channels", "channels_rabbitmq"):
    # Before channels: its runworker takes the place of Channels' own.
    INSTALLED_APPS += ["sluice_layer", "channels"]
if env.debug and installed("daphne"):
    # Only here, since it loads Twisted into every process: makes `runserver` serve WebSockets. Before
    # staticfiles.
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
# Daphne never serves Django's pages, but in development `runserver` is the only server there is.
ASGI_APPLICATION = "mysite.asgi_development.application" if env.debug else "mysite.asgi.application"

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

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True
