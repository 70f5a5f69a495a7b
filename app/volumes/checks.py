"""System check volumes.W001: the largest crop fits into a user's quota."""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings
from django.core.checks import CheckMessage, Warning, register

# Bytes of the largest voxel that a volume may have. A check at start must not need the database, so it can't
# use the actual volumes.
_LARGEST: Final = 8


@register("volumes")
def check_quota(**kwargs: Any) -> list[CheckMessage]:
    most = settings.CROP_MAX_VOXELS * _LARGEST
    if most <= settings.CROP_QUOTA_BYTES:
        return []
    megabytes = -(-most // 2**20)
    return [
        Warning(
            f"A crop of CROP_MAX_VOXELS takes up to {megabytes} MB (voxels of 64 bits), more than"
            " CROP_QUOTA_MB: the page offers crops that are then refused.",
            hint=f"Set CROP_QUOTA_MB to {megabytes} or more, or CROP_MAX_VOXELS to less.",
            id="volumes.W001",
        )
    ]
