"""How much of the server's disk one person's crops take, and may take."""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings
from django.db.models import Sum
from django.template.defaultfilters import filesizeformat

from .box import Box
from .models import Crop, Volume

# How long after its deletion a crop's file is gone, and counts no more: so often beat removes what was
# deleted.
ROOM_SECONDS: Final = 10


class OverQuota(Exception):
    """A crop would take more than is left to the person: `limit`, in bytes, is that of all of theirs."""

    def __init__(self, wanted: int, used: int, limit: int) -> None:
        takes = f"this crop takes {filesizeformat(wanted)}"
        if wanted > limit:
            why = f"{takes}, and all of yours together may take {filesizeformat(limit)}; choose a smaller box"
        else:
            theirs = f"yours take {filesizeformat(used)} of the {filesizeformat(limit)} that they may take"
            room = f"delete some that you need no more (it makes room within {ROOM_SECONDS} s)"
            why = f"{takes}, and {theirs}; {room}, or choose a smaller box"
        super().__init__(why)
        self.limit = limit


def used_bytes(owner: Any) -> int:
    """What the person's files take, and will take when all that is ordered is there.

    What is deleted counts until its file is gone: else, while beat stands still, to order and to delete in
    turn would fill the disk.
    """
    crops = Crop.objects.filter(owner=owner)
    there = crops.filter(state=Crop.State.DONE).aggregate(bytes=Sum("size"))["bytes"] or 0
    ordered = crops.filter(state__in=Crop.OPEN).select_related("volume")
    return int(there) + sum(_bytes(crop.volume, crop.box) for crop in ordered)


def check(owner: Any, volume: Volume, box: Box) -> None:
    """Raises OverQuota."""
    limit, wanted = settings.CROP_QUOTA_BYTES, _bytes(volume, box)
    # Two requests at the same time may both pass: a limit against excess needs no lock.
    used = used_bytes(owner)
    if used + wanted > limit:
        raise OverQuota(wanted, used, limit)


def _bytes(volume: Volume, box: Box) -> int:
    return box.voxels * volume.itemsize
