"""Cancelling a crop: the row changes at once, and the worker stops when it next writes its progress."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from . import progress
from .models import Crop


class NotOpen(Exception):
    """The crop has ended already. `state` is its state."""

    def __init__(self, state: str) -> None:
        super().__init__(f"the crop is {state}; only a queued or running crop can be cancelled")
        self.state = state


def cancel_crop(crop: Crop) -> None:
    """Cancel the crop. Does nothing if it is cancelled already. Raises NotOpen if it has ended otherwise.

    Its worker, if it has one, stops after the current slab and leaves no file (jobs.py).
    """
    with transaction.atomic():
        # A worker may end the crop at the same time. Because of the condition, only one changes the row.
        changed = Crop.objects.filter(pk=crop.pk, state__in=Crop.OPEN).update(
            state=Crop.State.CANCELLED, finished=timezone.now()
        )
        crop.refresh_from_db()
        if changed:
            progress.publish_progress(crop, Crop.State.CANCELLED, crop.progress)
        elif crop.state != Crop.State.CANCELLED:
            raise NotOpen(crop.state)
