"""Handing crops over to Celery: publishes a task for each crop, and another one if the first may be lost.

A task can be lost: if its process ends while the broker is down, or if the broker loses its data. So the
crop's row is the truth, and a task is only a hint to check the row. A needless task is harmless (jobs.py).
The row records when the broker confirmed a task. Beat finds the crops whose task is missing or late.
docs/how-to/add-a-task.md describes this pattern.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any, Final

from django.conf import settings
from django.db.models import F, Q
from django.utils import timezone

from sluice_stack.settings.source import installed

from . import claims
from .models import Crop

logger = logging.getLogger(__name__)

TASK: Final = "volumes.cut_crop"
# The process of a request needs a moment to publish the task of a crop that it has just committed.
_FRESH: Final = timedelta(seconds=3)
# A task that was confirmed but has not begun may be lost. Another one is published after _FIRST_REPEAT, then
# after twice that time, and so on, up to _LAST_REPEAT. So a worker that was down for a day doesn't find
# thousands.
_FIRST_REPEAT: Final = timedelta(seconds=60)
_LAST_REPEAT: Final = timedelta(minutes=15)
# The most crops that one job of beat hands over.
_BATCH: Final = 1000


def hand_over_soon(crop_id: int) -> None:
    """Publish the crop's task. In a request it returns at once, even if the broker is down."""
    if is_wanted():
        _publish(crop_id)


def hand_over_waiting() -> int:
    """Publish a task for each crop whose task is missing or late. Returns how many. A job of beat.

    Raises the database's errors. Only logs if the broker is down: beat calls this again soon.
    """
    if not is_wanted():
        return 0
    from kombu.exceptions import OperationalError

    waiting = _waiting()
    for count, crop_id in enumerate(waiting):
        try:
            _publish(crop_id)
        except OperationalError as error:
            logger.warning("%d crops wait for the broker: %s", len(waiting) - count, error)
            return count
    if waiting:
        logger.info("handed over %d crops that were waiting", len(waiting))
    return len(waiting)


def is_wanted() -> bool:
    """Whether a broker for tasks is configured. If not, crops wait for `manage.py run_crops`."""
    return bool(settings.CELERY_BROKER_URL) and installed("celery")


def note_confirmed(sender: str, args: tuple[int], **kwargs: Any) -> None:
    """Receiver of `task_confirmed`: record that the broker has a task for the crop."""
    if sender != TASK:
        return
    Crop.objects.filter(pk=args[0]).update(handed_over_at=timezone.now(), hand_overs=F("hand_overs") + 1)


def _publish(crop_id: int) -> None:
    from .tasks import cut_crop

    cut_crop.apply_async((crop_id,), task_id=f"crop-{crop_id}")


def _waiting() -> list[int]:
    now = timezone.now()
    stalled = Q(handed_over_at__lt=now - _FIRST_REPEAT)
    crops = Crop.objects.filter(
        Q(state=Crop.State.QUEUED) & (Q(handed_over_at=None, created__lt=now - _FRESH) | stalled)
        | Q(state=Crop.State.RUNNING, started__lt=now - _FIRST_REPEAT) & (Q(handed_over_at=None) | stalled)
    ).order_by("id")
    due = [crop for crop in crops[:_BATCH] if _is_due(crop, now)]
    # A running crop has a worker that holds its lock, unless worker and task are both lost.
    running = {crop.pk for crop in due if crop.state == Crop.State.RUNNING}
    alive = claims.claimed(running) if running else set()
    return [crop.pk for crop in due if crop.pk not in alive]


def _is_due(crop: Crop, now: Any) -> bool:
    if crop.handed_over_at is None:
        return True
    doublings = min(max(crop.hand_overs - 1, 0), 10)
    return bool(crop.handed_over_at < now - min(_FIRST_REPEAT * 2**doublings, _LAST_REPEAT))
