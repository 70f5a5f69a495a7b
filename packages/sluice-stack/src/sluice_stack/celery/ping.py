"""The task that each Celery worker sends to itself, see self_check.py."""

from __future__ import annotations

from typing import Final

from celery import shared_task

from ..health.heartbeat import Heartbeat

TASK: Final = "sluice_stack.ping"


# Acknowledged at once: if a worker dies over it, no other needs to run it again.
@shared_task(name=TASK, acks_late=False)
def ping() -> None:
    """Touch the heartbeat file: the worker that runs this works."""
    Heartbeat("celery").touch()
