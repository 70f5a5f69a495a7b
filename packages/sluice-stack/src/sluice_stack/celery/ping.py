"""The ping: a task that each Celery worker sends to itself (see self_check.py)."""

from __future__ import annotations

from typing import Final

from celery import shared_task

from ..health.heartbeat import Heartbeat

TASK: Final = "sluice_stack.ping"


# Acknowledged before it runs: if its worker dies, no other worker needs to run it.
@shared_task(name=TASK, acks_late=False)
def ping() -> None:
    """Touch the heartbeat file of the worker that runs this."""
    Heartbeat("celery").touch()
