"""The quota: how much disk space the crops of one user take, and may take."""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings
from django.db.models import Sum
from django.template.defaultfilters import filesizeformat

from .box import Box
from .models import Crop, Volume

# Seconds until beat removes a deleted crop's file, which then no longer counts.
ROOM_SECONDS: Final = 10


class OverQuota(Exception):
    """The crop would exceed the user's quota: `limit`, in bytes."""

    def __init__(self, wanted: int, used: int, limit: int) -> None:
        takes = f"this crop takes {filesizeformat(wanted)}"
        if wanted > limit:
            why = f"{takes}, and your quota is {filesizeformat(limit)}; choose a smaller box"
        else:
            theirs = f"yours take {filesizeformat(used)} of your quota of {filesizeformat(limit)}"
            room = f"delete some that you no longer need (this frees space within {ROOM_SECONDS} s)"
            why = f"{takes}, and {theirs}; {room}, or choose a smaller box"
        super().__init__(why)
        self.limit = limit


def used_bytes(owner: Any) -> int:
    """Bytes of the user's files, including those of crops that are not cut yet.

    A deleted crop counts until its file is removed. Otherwise, while beat is down, a user could fill the disk
    by ordering and deleting crops.
    """
    crops = Crop.objects.filter(owner=owner)
    there = crops.filter(state=Crop.State.DONE).aggregate(bytes=Sum("size"))["bytes"] or 0
    ordered = crops.filter(state__in=Crop.OPEN).select_related("volume")
    return int(there) + sum(_bytes(crop.volume, crop.box) for crop in ordered)


def check(owner: Any, volume: Volume, box: Box) -> None:
    """Raises OverQuota if the box would exceed the user's quota."""
    limit, wanted = settings.CROP_QUOTA_BYTES, _bytes(volume, box)
    # Without a lock, two requests at the same time may both pass. For this limit that is harmless.
    used = used_bytes(owner)
    if used + wanted > limit:
        raise OverQuota(wanted, used, limit)


def _bytes(volume: Volume, box: Box) -> int:
    return box.voxels * volume.itemsize
