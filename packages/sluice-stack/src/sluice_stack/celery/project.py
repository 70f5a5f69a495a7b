"""The Celery application of the project: `celery --app sluice_stack.celery.project worker`.

`app` of the module `celery` beside the settings, as Celery's documentation has it. A project without one
gets an application that finds the tasks in its apps.
"""

from __future__ import annotations

import importlib
import importlib.util

from django.conf import settings

from ..startup import set_up
from .application import Celery


class NotOurs(TypeError):
    """The project's application is of Celery's own class. The text has the fix."""


def application() -> Celery:
    """The project's application, or one for it. Raises NotOurs."""
    package = settings.SETTINGS_MODULE.partition(".")[0]
    name = f"{package}.celery"
    if "." not in settings.SETTINGS_MODULE or importlib.util.find_spec(name) is None:
        app = Celery(package)
        app.config_from_object("django.conf:settings", namespace="CELERY")
        app.autodiscover_tasks()
        return app
    own = getattr(importlib.import_module(name), "app", None)
    if not isinstance(own, Celery):
        raise NotOurs(
            f"{name} has no app of the stack's class, which publishes and runs tasks with the rights that it"
            " has here; write `from sluice_stack.celery.application import Celery` there, instead of"
            " `from celery import Celery`"
        )
    return own


set_up("celery")
app = application()
