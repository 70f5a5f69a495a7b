"""For `manage.py runserver` with DEBUG=yes, where one server does all: `/channels/`, and Django's pages."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
pages = get_asgi_application()

from sluice_updates.asgi import application as updates  # noqa: E402  (Django's apps come first)
from volumes import routing  # noqa: E402

application = updates(
    websocket_urlpatterns=routing.websocket_urlpatterns, channels=routing.channel_consumers, otherwise=pages
)
