"""Ordering a crop: creates a row, and publishes a task for the worker after the commit."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.conf import settings
from django.db import transaction

from . import handover, progress, quota
from .box import BadBox, Box, parse_box
from .models import Crop, Volume
from .quota import OverQuota


class TooManyCrops(Exception):
    """The user has `limit` crops that wait or run, the most that are allowed."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"you have {limit} crops waiting or running, which is the limit; try again later")
        self.limit = limit


def order_crop(owner: Any, volume: Volume, box: Any) -> Crop:
    """Order a crop. `box` is the JSON value in the request. Raises BadBox, TooManyCrops or OverQuota."""
    parsed = parse_box(box, volume.whole, settings.CROP_MAX_VOXELS)
    _check_open_crops(owner)
    quota.check(owner, volume, parsed)
    with transaction.atomic():
        crop = Crop.objects.create(
            owner=owner,
            volume=volume,
            **{f"{axis}{end}": parsed_range[end] for axis, parsed_range in _ranges(parsed) for end in (0, 1)},
        )
        progress.publish_progress(crop, Crop.State.QUEUED, 0)
        transaction.on_commit(partial(handover.hand_over_soon, crop.pk), robust=True)
    return crop


def _ranges(box: Box) -> list[tuple[str, Any]]:
    return list(zip("xyz", box, strict=True))


def _check_open_crops(owner: Any) -> None:
    limit = settings.CROP_MAX_OPEN_PER_USER
    # Without a lock, two requests at the same time may both pass. For this limit that is harmless.
    if Crop.objects.filter(owner=owner, state__in=Crop.OPEN)[:limit].count() >= limit:
        raise TooManyCrops(limit)


__all__ = ["BadBox", "OverQuota", "TooManyCrops", "order_crop"]
