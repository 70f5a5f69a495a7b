"""Cancelling a crop: the row changes at once; its worker notices when it next writes its progress."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from . import progress
from .models import Crop


class NotOpen(Exception):
    """The crop has ended already: `state`."""

    def __init__(self, state: str) -> None:
        super().__init__(f"the crop is {state}; only a queued or running crop can be cancelled")
        self.state = state


def cancel_crop(crop: Crop) -> None:
    """End the crop, if it hasn't ended. Cancelled twice is cancelled. Raises NotOpen.

    Its worker, if it has one, stops within a slab's time and leaves no file (see jobs.py).
    """
    with transaction.atomic():
        # A worker may end it at this moment; by the condition only one of the two changes the row.
        changed = Crop.objects.filter(pk=crop.pk, state__in=Crop.OPEN).update(
            state=Crop.State.CANCELLED, finished=timezone.now()
        )
        crop.refresh_from_db()
        if changed:
            progress.publish_progress(crop, Crop.State.CANCELLED, crop.progress)
        elif crop.state != Crop.State.CANCELLED:
            raise NotOpen(crop.state)
