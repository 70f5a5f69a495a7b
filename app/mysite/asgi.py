"""Daphne's entry point: what is below `/channels/`, and nothing else. Django's pages are Gunicorn's.
`runworker` begins here too.
"""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
django.setup()

from sluice_stack.postgresql import answer_within  # noqa: E402
from sluice_updates.asgi import application as updates  # noqa: E402  (Django's apps come first)
from volumes import routing  # noqa: E402

# Seconds. Somebody at a browser waits for less.
answer_within(10)

application = updates(websocket_urlpatterns=routing.websocket_urlpatterns, channels=routing.channel_consumers)
