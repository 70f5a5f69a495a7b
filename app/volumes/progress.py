"""How far a crop is, for a page to show, not to rely on: the row is the truth.

In a stream of its own, `crops:<user id>`: progress comes so often that it would push messages out of the
history of `user:<id>`, and whoever asks for the default streams only wants news.
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
    """Say it when the current transaction commits, which must be the one that changes the row."""
    payload = {"crop_id": crop.pk, "state": str(state), "progress": percent}
    publish(crops_stream(crop.owner_id), EVENT, payload)


def publish_deleted(crop: Crop) -> None:
    """Say that there is no such crop any more, likewise."""
    publish(crops_stream(crop.owner_id), DELETED, {"crop_id": crop.pk})
