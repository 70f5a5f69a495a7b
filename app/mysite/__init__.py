"""The sample site: Django's project."""

from importlib.util import find_spec

# Imported in every process, so that `@shared_task` uses this app. Celery is optional
# (requirements-async.txt). https://docs.celeryq.dev/en/stable/django/first-steps-with-django.html
if find_spec("celery"):
    from .celery import app as celery_app  # noqa: F401
