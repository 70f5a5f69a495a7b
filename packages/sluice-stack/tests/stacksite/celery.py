"""The Celery application, with the jobs that every project in the stack has."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "stacksite.settings")

app = Celery("stacksite")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.beat_schedule = {
    "trim updates": {"task": "sluice_updates.trimming.trim", "schedule": 3600.0},
    "delete old sessions": {"task": "sluice_stack.session_cleaning.clean_up", "schedule": 3600.0},
}
app.conf.beat_max_loop_interval = 5
