"""Gunicorn's application: the one that the project's setting WSGI_APPLICATION names, or Django's own."""

from django.core.servers.basehttp import get_internal_wsgi_application

from .startup import set_up

set_up("wsgi")

application = get_internal_wsgi_application()
