"""Gunicorn's entry point: the whole site but `/channels/`."""

import os

import PIL.PngImagePlugin  # noqa: F401
from django.core.wsgi import get_wsgi_application

from sluice_stack.postgresql import answer_within
from volumes import reading

# Pillow and Zarr are loaded here, so that Gunicorn loads them once, before it forks: the first slice would
# wait for them for a second, and each process had its own.
reading.zarr()
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
# Seconds; then the page is a 503. A thread that waited longer would be missing for others.
answer_within(10)

application = get_wsgi_application()
