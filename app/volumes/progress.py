"""The progress of crops, published for pages to show; the row is the truth.

It has its own stream, `crops:<user id>`: it is so frequent that it would push messages out of the history of
`user:<id>`, and clients of the default streams don't need it.
"""

from __future__ import annotations

from typing import Any, Final

from sluice_updates import publish
from sluice_updates.rights import User, default_may_read

from .models import Crop

EVENT: Final = "crop-progress"
DELETED: Final = "crop-deleted"


def crops_stream(user_id: Any) -> str:
    """The stream of one person's crops."""
    return f"crops:{user_id}"


def may_read(user: User, stream: str) -> bool:
    """The site's rule (SLUICE_UPDATES_MAY_READ): the default one, and the progress of one's own crops."""
    return stream == crops_stream(user.pk) or default_may_read(user, stream)


def publish_progress(crop: Crop, state: str, percent: int) -> None:
    """Publish it with the current transaction, which must be the one that changes the row."""
    payload = {"crop_id": crop.pk, "state": str(state), "progress": percent}
    publish(crops_stream(crop.owner_id), EVENT, payload)


def publish_deleted(crop: Crop) -> None:
    """Publish that the crop is deleted, likewise."""
    publish(crops_stream(crop.owner_id), DELETED, {"crop_id": crop.pk})
