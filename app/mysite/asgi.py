"""Daphne's entry point: everything below `/channels/`. Gunicorn serves Django's pages (wsgi.py).

`manage.py runworker` uses it too. So does `runserver` with DEBUG=yes, which serves everything.
"""

import os

import django
from django.conf import settings
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
django.setup()

from sluice_stack.postgresql import answer_within  # noqa: E402
from sluice_updates.asgi import application as updates  # noqa: E402  (Django is set up first)
from volumes import routing  # noqa: E402

answer_within(10)  # seconds; no user waits longer

application = updates(
    websocket_urlpatterns=routing.websocket_urlpatterns,
    channels=routing.channel_consumers,
    otherwise=get_asgi_application() if settings.DEBUG else None,
)
