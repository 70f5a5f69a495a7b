"""Publishes the progress of crops, for pages to show. The row is the truth.

Progress has its own stream, `crops:<user id>`. It is so frequent that it would push messages out of the
history of `user:<id>`, and clients of the default streams don't need it. mysite/rights.py has the rule for
who may read it.
"""

from __future__ import annotations

from typing import Any, Final

from sluice_updates import publish

from .models import Crop

EVENT: Final = "crop-progress"
DELETED: Final = "crop-deleted"


def crops_stream(user_id: Any) -> str:
    """The name of the stream with the crops of one user."""
    return f"crops:{user_id}"


def publish_progress(crop: Crop, state: str, percent: int) -> None:
    """Publish the crop's progress. Call it in the transaction that changes the row."""
    payload = {"crop_id": crop.pk, "state": str(state), "progress": percent}
    publish(crops_stream(crop.owner_id), EVENT, payload)


def publish_deleted(crop: Crop) -> None:
    """Publish that the crop is deleted. Call it in the transaction that changes the row."""
    publish(crops_stream(crop.owner_id), DELETED, {"crop_id": crop.pk})
