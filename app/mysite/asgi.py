"""Daphne's entry point: what is below `/channels/`, and nothing else. Django's pages are Gunicorn's."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
django.setup()

from updates import asgi  # noqa: E402  (Django's apps come first)
from volumes import routing  # noqa: E402

application = asgi.application(
    websocket_urlpatterns=routing.websocket_urlpatterns, channels=routing.channel_consumers
)
