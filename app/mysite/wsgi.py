"""Gunicorn's entry point: the whole site except `/channels/`."""

import os

import PIL.PngImagePlugin  # noqa: F401  (see below)
from django.core.wsgi import get_wsgi_application

from sluice_stack.postgresql import answer_within
from volumes import reading

# Load Pillow and Zarr before Gunicorn forks. The workers share their memory, and no request waits for the
# import.
reading.zarr()
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
answer_within(10)  # seconds; then the page is a 503 and the thread is free

application = get_wsgi_application()
