"""An asgi.py that imports models before Django is set up: `daphne config.symptoms_early:application`."""

from django.conf import settings

settings.configure(INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"])

from django.contrib.auth.models import User  # noqa: E402

application = User
