"""The Celery application, with the stack's periodic tasks only."""

import os

from sluice_stack.celery.application import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "stacksite.settings")

app = Celery("stacksite")
app.config_from_object("django.conf:settings", namespace="CELERY")
