"""Handing crops over to Celery: a task for each crop, and another one if the first may be lost.

A task alone can be lost: with a process that ends while the broker is down, or with a wiped broker. So the
crop's row is the truth, and a task only says "look at it now"; a needless one does no harm (see jobs.py).
The row notes when the broker confirmed a task; beat finds the crops whose task is missing or late.
docs/how-to/add-a-task.md describes this as a pattern.
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
# A crop that was just committed is still being published by its request's process.
_FRESH: Final = timedelta(seconds=3)
# A task that was confirmed and not begun may be lost. After so long, then twice as long, and so on, there is
# another one; at most one in the last, so that a worker that is down for a day doesn't find thousands.
_FIRST_REPEAT: Final = timedelta(seconds=60)
_LAST_REPEAT: Final = timedelta(minutes=15)
# Crops that beat hands over at a time.
_BATCH: Final = 1000


def hand_over_soon(crop_id: int) -> None:
    """Publish the crop's task. In a request it returns at once, whatever the state of the broker."""
    if is_wanted():
        _publish(crop_id)


def hand_over_waiting() -> int:
    """Publish a task for each crop whose task is missing or late; return how many. For beat.

    Raises the database's errors; a broker that is down is only logged, since beat calls this again soon.
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
    """Whether there is a broker for tasks; if not, crops wait for `manage.py run_crops`."""
    return bool(settings.CELERY_BROKER_URL) and installed("celery")


def note_confirmed(sender: str, args: tuple[int], **kwargs: Any) -> None:
    """Receives `task_confirmed`: the broker has a task for the crop."""
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
    # A running crop has a worker, unless that worker and its task are both gone.
    running = {crop.pk for crop in due if crop.state == Crop.State.RUNNING}
    alive = claims.claimed(running) if running else set()
    return [crop.pk for crop in due if crop.pk not in alive]


def _is_due(crop: Crop, now: Any) -> bool:
    if crop.handed_over_at is None:
        return True
    doublings = min(max(crop.hand_overs - 1, 0), 10)
    return bool(crop.handed_over_at < now - min(_FIRST_REPEAT * 2**doublings, _LAST_REPEAT))
