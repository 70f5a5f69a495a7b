"""The Celery application: `celery --app mysite worker`, `celery --app mysite beat`.

https://docs.celeryq.dev/en/stable/django/first-steps-with-django.html
"""

import os

from sluice_stack.celery.application import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")

app = Celery("mysite")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
