"""Handing crops over to Celery: a task for each, published off the request's way, and again where that
failed.

A crop's row is the truth, a task only says "look at it now"; one too many does no harm (see jobs.py). The
message is built here, by Celery's documented protocol, so that Gunicorn and beat load neither Celery nor
kombu, whose time-outs don't bound a publish (see updates/broker.py, which is used instead).

https://docs.celeryq.dev/en/stable/internals/protocol.html
"""

from __future__ import annotations

import functools
import json
import logging
import os
import socket
import time
from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.db import connection
from django.db.models import F, Q
from django.utils import timezone

from sluice_stack.settings.source import installed
from sluice_updates.wakeup.background import BackgroundSender

from . import claims
from .models import Crop

if TYPE_CHECKING:
    from sluice_updates.broker.connection import Broker

logger = logging.getLogger(__name__)

TASK: Final = "volumes.cut_crop"
QUEUE: Final = "celery"

# How long the sender leaves the broker alone after a failure; beat sees to those crops.
_PAUSE_SECONDS: Final = 2.0
# What was just committed is the sender's affair, not beat's.
_FRESH: Final = timedelta(seconds=3)
# A task that was confirmed but never came may be lost: with a wiped broker, say. After so long, then twice as
# long, and so on, there is another; at most one in the last, so that a worker that is away for a day doesn't
# find thousands.
_FIRST_REPEAT: Final = timedelta(seconds=60)
_LAST_REPEAT: Final = timedelta(minutes=15)
# Crops that beat hands over at a time.
_BATCH: Final = 1000


def hand_over_soon(crop_id: int) -> None:
    """Publish the crop's task from this process's thread. Returns at once, whatever the broker does."""
    if is_wanted():
        _sender().put(crop_id)


def hand_over_waiting() -> int:
    """Publish a task for each crop that waits for one, or seems to wait in vain; return how many. For beat.

    Raises the database's errors; a broker that is down is only logged, since beat comes again in a moment.
    """
    if not is_wanted():
        return 0
    from sluice_updates.broker.connection import Broker, BrokerDown

    waiting = _waiting()
    if not waiting:
        return 0
    broker = Broker(settings.CELERY_BROKER_URL)
    try:
        count = _publish(broker, waiting)
    except BrokerDown as error:
        logger.warning("%d crops wait for the broker: %s", len(waiting), error)
        return 0
    finally:
        broker.close()
    logger.info("handed over %d crops that were waiting", count)
    return count


def is_wanted() -> bool:
    """Whether there is a broker for tasks; without, crops wait for `manage.py run_crops`."""
    return bool(settings.CELERY_BROKER_URL) and installed("amqp")


def _waiting() -> list[int]:
    now = timezone.now()
    stalled = Q(handed_over_at__lt=now - _FIRST_REPEAT)
    crops = Crop.objects.filter(
        Q(state=Crop.State.QUEUED) & (Q(handed_over_at=None, created__lt=now - _FRESH) | stalled)
        | Q(state=Crop.State.RUNNING, started__lt=now - _FIRST_REPEAT) & (Q(handed_over_at=None) | stalled)
    ).order_by("id")
    due = [crop for crop in crops[:_BATCH] if _is_due(crop, now)]
    # A crop that runs has a worker, unless that worker and its task are both gone.
    running = {crop.pk for crop in due if crop.state == Crop.State.RUNNING}
    alive = claims.claimed(running) if running else set()
    return [crop.pk for crop in due if crop.pk not in alive]


def _is_due(crop: Crop, now: Any) -> bool:
    if crop.handed_over_at is None:
        return True
    doublings = min(max(crop.hand_overs - 1, 0), 10)
    return bool(crop.handed_over_at < now - min(_FIRST_REPEAT * 2**doublings, _LAST_REPEAT))


class _Sender(BackgroundSender[int]):
    """The thread of a process that answers requests."""

    def __init__(self) -> None:
        super().__init__("crop hand-over", self._hand_over, idle=self._idle)
        self._broker: Broker | None = None
        self._retry_at = 0.0

    def _hand_over(self, crop_ids: list[int]) -> None:
        from sluice_updates.broker.connection import Broker, BrokerDown

        if time.monotonic() < self._retry_at:
            return
        if self._broker is None:
            self._broker = Broker(settings.CELERY_BROKER_URL)
        try:
            _publish(self._broker, crop_ids)
        except BrokerDown as error:
            self._retry_at = time.monotonic() + _PAUSE_SECONDS
            logger.warning("crops wait until beat hands them over: %s", error)
        finally:
            connection.close()  # this thread's; it is used too seldom to be kept

    def _idle(self) -> None:
        if self._broker is not None:
            self._broker.tick()


@functools.cache
def _sender() -> _Sender:
    return _Sender()


def _publish(broker: Broker, crop_ids: Iterable[int]) -> int:
    """Publish a task for each, and note in the rows that it was confirmed. Raises BrokerDown."""
    confirmed: list[int] = []
    try:
        for crop_id in crop_ids:
            body, properties = _message(crop_id)
            broker.publish("", QUEUE, body, properties)
            confirmed.append(crop_id)
    finally:
        if confirmed:
            Crop.objects.filter(pk__in=confirmed).update(
                handed_over_at=timezone.now(), hand_overs=F("hand_overs") + 1
            )
    return len(confirmed)


def _message(crop_id: int) -> tuple[bytes, dict[str, Any]]:
    """A task message, version 2 of Celery's protocol."""
    task_id = f"crop-{crop_id}"
    headers = {
        "lang": "py",
        "task": TASK,
        "id": task_id,
        "root_id": task_id,
        "parent_id": None,
        "group": None,
        "retries": 0,
        "eta": None,
        "expires": None,
        "timelimit": [None, None],
        "argsrepr": f"({crop_id},)",
        "kwargsrepr": "{}",
        "origin": f"{os.getpid()}@{socket.gethostname()}",
    }
    body = json.dumps([[crop_id], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
    properties = {
        "application_headers": headers,
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "correlation_id": task_id,
        "delivery_mode": 2,  # on disk before it is confirmed
    }
    return body.encode(), properties
