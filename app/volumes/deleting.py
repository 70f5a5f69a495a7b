"""Deleting a crop that has ended: marks the row, after which the crop is no longer shown.

Beat removes file and row (retention.remove_discarded), since Gunicorn may not write to the folder of the
files.
"""

from __future__ import annotations

from django.db import transaction

from . import progress
from .models import Crop


class NotEnded(Exception):
    """The crop is queued or running."""

    def __init__(self, state: str) -> None:
        super().__init__(f"the crop is {state}; cancel it first")


def delete_crop(crop: Crop) -> None:
    """Delete the crop. Publishes nothing if it is deleted already. Raises NotEnded if it has not ended."""
    with transaction.atomic():
        crops = Crop.objects.filter(pk=crop.pk, discarded=False)
        # A crop that has ended never restarts. Its worker may not have noticed yet that it is cancelled, but
        # will leave no file.
        if crops.exclude(state__in=Crop.OPEN).update(discarded=True):
            progress.publish_deleted(crop)
        elif crops.exists():
            crop.refresh_from_db()
            raise NotEnded(crop.state)
