"""Deleting a finished crop: the row says so at once, and nobody is shown it any more.

File and row go afterwards (retention.remove_discarded), by beat: who answers requests may not write where the
files are.
"""

from __future__ import annotations

from django.db import transaction

from . import progress
from .models import Crop


class NotEnded(Exception):
    """The crop waits or is being cut."""

    def __init__(self, state: str) -> None:
        super().__init__(f"the crop is {state}; cancel it first")


def delete_crop(crop: Crop) -> None:
    """Delete the crop, which has ended; if somebody else has just done so, nothing is published. Raises
    NotEnded."""
    with transaction.atomic():
        crops = Crop.objects.filter(pk=crop.pk, discarded=False)
        # What has ended is never begun again, so no worker is at it; or it is one that has not yet noticed
        # that the crop was cancelled, and leaves no file.
        if crops.exclude(state__in=Crop.OPEN).update(discarded=True):
            progress.publish_deleted(crop)
        elif crops.exists():
            crop.refresh_from_db()
            raise NotEnded(crop.state)
