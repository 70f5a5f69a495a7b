"""Cutting a crop exactly once, even if workers, tasks or connections are lost.

A task may arrive twice, or again after its worker has died, so the task decides nothing. A worker needs the
crop's lock (claims.py). It increments `attempts` at its start, and only the last attempt may end the crop, in
one transaction with the message to the owner. So a worker that has lost its lock, with its database
connection, can't end the crop. Neither can one whose crop was cancelled meanwhile.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable
from typing import Final

from django.db import Error as DatabaseError
from django.db import transaction
from django.db.models import F
from django.template.defaultfilters import filesizeformat
from django.urls import reverse
from django.utils import timezone

from inbox.sending import send

from . import claims, cutting, progress, stores
from .models import Crop

logger = logging.getLogger(__name__)

# A crop that kills its workers fails after this many.
MAX_ATTEMPTS: Final = 5
_PROGRESS_SECONDS: Final = 1.0


class Superseded(Exception):
    """Another worker has restarted the crop, or the crop is cancelled or deleted."""


def run(crop_id: int, alive: Callable[[], None] = lambda: None) -> bool:
    """Cut the crop and send a message to its owner. Returns whether it did.

    It does nothing if the crop has ended, is being cut by another worker, or doesn't exist. `alive` is
    called at each step of progress. If the crop can't be cut, its state becomes `failed`, and the message has
    the reason. Raises the database's errors. Then the crop waits for its next task.
    """
    with claims.claim(crop_id) as mine:
        if not mine:
            logger.info("crop %d: another worker holds it", crop_id)
            return False
        crop = _begin(crop_id)
        if crop is None:
            return False
        try:
            _carry_out(crop, alive)
        except Superseded:
            _give_up(crop)
            return False
        return True


def _begin(crop_id: int) -> Crop | None:
    with transaction.atomic():
        begun = Crop.objects.filter(pk=crop_id, state__in=Crop.OPEN).update(
            state=Crop.State.RUNNING, attempts=F("attempts") + 1, progress=0, started=timezone.now()
        )
        if not begun:
            return None
        crop = Crop.objects.select_related("volume", "owner").get(pk=crop_id)
        progress.publish_progress(crop, Crop.State.RUNNING, 0)
    return crop


def _carry_out(crop: Crop, alive: Callable[[], None]) -> None:
    if crop.attempts > MAX_ATTEMPTS:
        _end(
            crop, error=f"The worker died {MAX_ATTEMPTS} times while it cut this crop. See the server's log."
        )
        return
    try:
        size = cutting.cut(
            stores.open_array(crop.volume),
            crop.box,
            crop.path,
            crop.volume.voxel_size,
            crop.volume.unit,
            _Progress(crop, alive),
        )
    except (Superseded, DatabaseError):
        raise
    except Exception as error:
        logger.exception("crop %d failed", crop.pk)
        _end(crop, error=_reason(error))
    else:
        _end(crop, size=size)


def _give_up(crop: Crop) -> None:
    """Remove the file of a cancelled or deleted crop. If another worker has restarted the crop, keep it."""
    if Crop.objects.filter(pk=crop.pk).exclude(state=Crop.State.CANCELLED).exists():
        logger.warning("crop %d: stopped, another worker has restarted it", crop.pk)
        return
    crop.path.unlink(missing_ok=True)
    logger.info("crop %d: stopped, it is cancelled or deleted", crop.pk)


class _Progress:
    """Writes the percentage to the row and the owner's stream, at most once a second.

    Raises Superseded if this worker must stop.
    """

    def __init__(self, crop: Crop, alive: Callable[[], None]) -> None:
        self._crop = crop
        self._alive = alive
        self._next = time.monotonic() + _PROGRESS_SECONDS

    def __call__(self, percent: int) -> None:
        self._alive()
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _PROGRESS_SECONDS
        with transaction.atomic():
            if not _ours(self._crop).update(progress=percent):
                raise Superseded
            progress.publish_progress(self._crop, Crop.State.RUNNING, percent)


def _end(crop: Crop, *, size: int = 0, error: str = "") -> None:
    """End the crop and send the message to its owner, in one transaction. Raises Superseded."""
    state = Crop.State.FAILED if error else Crop.State.DONE
    ending = {"state": state, "error": error, "size": size, "finished": timezone.now()}
    with transaction.atomic():
        percent = crop.progress if error else 100
        if not _ours(crop).update(progress=percent, **ending):
            raise Superseded
        progress.publish_progress(crop, state, percent)
        if error:
            title, text, link = f"Crop of {crop.volume} failed", f"{_what(crop)}\n\n{error}", ""
        else:
            title, text, link = f"Crop of {crop.volume} is ready", _ready_text(crop, size), _link(crop)
        send(crop.owner, title[:200], text, link=link, key=f"crop-{crop.pk}-ended")


def _ours(crop: Crop):  # type: ignore[no-untyped-def]  # a QuerySet
    return Crop.objects.filter(pk=crop.pk, state=Crop.State.RUNNING, attempts=crop.attempts)


def _what(crop: Crop) -> str:
    return f"Box {crop.box} of {crop.volume}."


def _ready_text(crop: Crop, size: int) -> str:
    return f"{_what(crop)}\n\nTIFF, {crop.box.z.length} pages, {filesizeformat(size)}."


def _link(crop: Crop) -> str:
    return reverse("crop_download", args=[crop.pk])


def _reason(error: Exception) -> str:
    """The reason for the owner. The log has the details."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "The server's disk is full."
    if isinstance(error, MemoryError):
        return "The server has too little memory for this crop."
    return "The volume's data can't be read, or the file can't be written. See the server's log."
