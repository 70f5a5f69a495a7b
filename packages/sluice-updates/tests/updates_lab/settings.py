"""Django's settings for pytest's own process: the site's, plus those that only some tests need."""

from hubsite.settings import *  # noqa: F403
from hubsite.settings import ALLOWED_HOSTS, INSTALLED_APPS

ALLOWED_HOSTS = [*ALLOWED_HOSTS, "site.example"]
INSTALLED_APPS = [
    *INSTALLED_APPS,
    "channels",
    "django.contrib.admin",
    "django.contrib.messages",
]
SLUICE_UPDATES_MAY_READ = "sluice_updates.rights.default_may_read"
