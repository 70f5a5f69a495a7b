"""Volumes and crops.

Their voxels are in Zarr stores and TIFF files. Only files that belong to a row count.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from .box import AXES, Box, Range


class Volume(models.Model):
    """An image stack that users view and crop. `manage.py import_volume` creates it."""

    title = models.CharField(max_length=200)
    # The folder of the Zarr store below VOLUMES_ROOT. Its one array has the axes z, y, x.
    store = models.CharField(max_length=100, unique=True, editable=False)
    size_x = models.PositiveIntegerField(editable=False)  # voxels
    size_y = models.PositiveIntegerField(editable=False)
    size_z = models.PositiveIntegerField(editable=False)
    dtype = models.CharField(max_length=16, editable=False)  # NumPy's name, such as uint8
    voxel_x = models.FloatField(editable=False)  # the size of a voxel, in `unit`
    voxel_y = models.FloatField(editable=False)
    voxel_z = models.FloatField(editable=False)
    unit = models.CharField(max_length=16, blank=True, editable=False)  # such as mm or µm; empty: unknown
    # The least and the greatest value, and those shown as black and white (contrast.py). Null in volumes that
    # were imported by early versions.
    least = models.FloatField(null=True, editable=False)
    greatest = models.FloatField(null=True, editable=False)
    low = models.FloatField(null=True, editable=False)
    high = models.FloatField(null=True, editable=False)
    # Whether y and z grow upwards, as in NIfTI, or downwards, as in a microscope's images. Pictures always
    # have row 0 first; pages flip them.
    upright = models.BooleanField(default=False, db_default=False, editable=False)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["title", "id"]

    def __str__(self) -> str:
        return self.title

    @property
    def path(self) -> Path:
        return Path(settings.VOLUMES_ROOT) / self.store

    @property
    def version(self) -> str:
        """Identifies this import in URLs. The voxels of an import never change."""
        return self.store[:12]

    @property
    def itemsize(self) -> int:
        """Bytes per voxel."""
        return int("".join(filter(str.isdigit, self.dtype))) // 8

    @property
    def window(self) -> tuple[float, float] | None:
        """The values shown as black and white; None if unknown."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    @property
    def whole(self) -> Box:
        """The box of the whole volume."""
        return Box(Range(0, self.size_x), Range(0, self.size_y), Range(0, self.size_z))

    @property
    def middle(self) -> dict[str, int]:
        """The index of the middle slice along each axis."""
        return {axis: range_.stop // 2 for axis, range_ in zip(AXES, self.whole, strict=True)}

    @property
    def voxel_size(self) -> tuple[float, float, float]:
        """The size of a voxel along x, y and z, in `unit`."""
        return self.voxel_x, self.voxel_y, self.voxel_z


class Crop(models.Model):
    """A box of a volume, ordered as a TIFF. The row is the truth. Tasks and files follow it."""

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"
        CANCELLED = "cancelled"

    OPEN: ClassVar = (State.QUEUED, State.RUNNING)

    volume = models.ForeignKey(Volume, on_delete=models.CASCADE, related_name="crops")
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="crops")
    # Half-open ranges of voxels.
    x0 = models.PositiveIntegerField()
    x1 = models.PositiveIntegerField()
    y0 = models.PositiveIntegerField()
    y1 = models.PositiveIntegerField()
    z0 = models.PositiveIntegerField()
    z1 = models.PositiveIntegerField()
    state = models.CharField(max_length=16, choices=State, default=State.QUEUED)
    progress = models.PositiveSmallIntegerField(default=0)  # percent
    error = models.TextField(blank=True)  # the reason of a failure, for its owner
    size = models.PositiveBigIntegerField(default=0)  # bytes of the file
    attempts = models.PositiveSmallIntegerField(default=0)  # how many workers began; the last one counts
    handed_over_at = models.DateTimeField(null=True)  # when the broker last confirmed a task for it
    hand_overs = models.PositiveSmallIntegerField(default=0)  # how many tasks the broker has confirmed
    created = models.DateTimeField(auto_now_add=True)
    started = models.DateTimeField(null=True)
    finished = models.DateTimeField(null=True)
    # Its owner has deleted it, so it is not shown. It counts towards the quota until beat removes file and
    # row.
    discarded = models.BooleanField(default=False, db_default=False, editable=False)

    class Meta:
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [
            models.Index(fields=["owner", "-id"], name="volumes_crop_owner"),
            models.Index(
                fields=["state", "id"], condition=Q(state__in=["queued", "running"]), name="volumes_crop_open"
            ),
            models.Index(fields=["id"], condition=Q(discarded=True), name="volumes_crop_discarded"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(x0__lt=F("x1"), y0__lt=F("y1"), z0__lt=F("z1")), name="volumes_crop_not_empty"
            ),
        ]

    def __str__(self) -> str:
        return f"crop {self.pk} of {self.volume_id}"

    @property
    def box(self) -> Box:
        return Box(Range(self.x0, self.x1), Range(self.y0, self.y1), Range(self.z0, self.z1))

    @property
    def file_name(self) -> str:
        """The file's path below MEDIA_ROOT."""
        return f"crops/{self.pk}.tiff"

    @property
    def path(self) -> Path:
        return Path(settings.MEDIA_ROOT) / self.file_name
