"""Gunicorn's entry point: the whole site except `/channels/`."""

import os

import PIL.PngImagePlugin  # noqa: F401  (see below)
from django.core.wsgi import get_wsgi_application

from sluice_stack.postgresql import answer_within
from volumes import reading

# Load Pillow and Zarr before Gunicorn forks: the workers share their memory, and no first request waits.
reading.zarr()
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
answer_within(10)  # seconds; then the page is a 503, and the thread is free again

application = get_wsgi_application()
