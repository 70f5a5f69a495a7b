"""The application of a project without an asgi.py for updates: `sluice_updates.asgi.default:application`.

It needs no file in the project, only DJANGO_SETTINGS_MODULE. Any ASGI server can serve it. With DEBUG it also
serves the project's pages, for `runserver`.
"""

import django
from django.conf import settings
from django.core.asgi import get_asgi_application

django.setup()

from .routes import application as updates  # noqa: E402  (Django is set up first)

application = updates(otherwise=get_asgi_application() if settings.DEBUG else None)
