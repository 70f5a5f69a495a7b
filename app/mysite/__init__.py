"""The sample site: Django's project."""

from importlib.util import find_spec

# So that `@shared_task` uses this app in every process. Celery is optional (requirements-async.txt).
# https://docs.celeryq.dev/en/stable/django/first-steps-with-django.html
if find_spec("celery"):
    from .celery import app as celery_app  # noqa: F401
