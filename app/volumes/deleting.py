"""Deleting a finished crop: the row is marked, and the crop is no longer shown.

Beat removes the file and the row (retention.remove_discarded): Gunicorn may not write to the files' folder.
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
    """Delete the crop, which has ended; if it is deleted already, nothing is published. Raises NotEnded."""
    with transaction.atomic():
        crops = Crop.objects.filter(pk=crop.pk, discarded=False)
        # An ended crop never restarts, so no worker has it; or its worker has not yet noticed that it is
        # cancelled, and leaves no file.
        if crops.exclude(state__in=Crop.OPEN).update(discarded=True):
            progress.publish_deleted(crop)
        elif crops.exists():
            crop.refresh_from_db()
            raise NotEnded(crop.state)
