"""How far a crop is, in its owner's stream: for a page to show, not to rely on. The row is the truth."""

from __future__ import annotations

from typing import Final

from updates import publish
from updates.streams import user_stream

from .models import Crop

EVENT: Final = "crop-progress"


def publish_progress(crop: Crop, state: str, percent: int) -> None:
    """Say it when the current transaction commits, which must be the one that changes the row."""
    payload = {"crop_id": crop.pk, "state": str(state), "progress": percent}
    publish(user_stream(crop.owner_id), EVENT, payload)
