"""Old files are deleted from the disk."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from volumes import retention
from volumes.models import Crop

pytestmark = pytest.mark.django_db


@pytest.fixture
def make(ada: Any, volume: Any) -> Any:
    def make(state: str, days: float | None) -> Crop:
        finished = None if days is None else timezone.now() - timedelta(days=days)
        crop = Crop.objects.create(
            owner=ada, volume=volume, x0=0, x1=1, y0=0, y1=1, z0=0, z1=1, state=state, finished=finished
        )
        crop.path.parent.mkdir(parents=True, exist_ok=True)
        crop.path.touch()
        return crop

    return make


def test_crops_go_with_their_files_after_their_days(make: Any, settings: Any) -> None:
    settings.CROP_RETENTION_DAYS = 14
    keep = [make("done", 13.9), make("failed", 1), make("queued", None), make("running", None)]
    go = [make("done", 14.1), make("failed", 30)]
    go[1].path.unlink()
    assert retention.clean_up() == 2
    assert set(Crop.objects.all()) == set(keep)
    assert all(crop.path.exists() for crop in keep)
    assert not any(crop.path.exists() for crop in go)
    assert retention.clean_up() == 0


def test_old_files_without_a_crop_are_deleted(make: Any, settings: Any) -> None:
    crop = make("done", 1)
    folder = Path(settings.MEDIA_ROOT) / "crops"
    old = [folder / "999.tiff", folder / ".7.abc.unfinished", folder / "x.tiff"]
    for path in (*old, crop.path):
        path.touch()
        os.utime(path, (time.time() - 2 * 86400,) * 2)
    new = folder / ".8.abc.unfinished"
    new.touch()
    retention.clean_up()
    assert set(folder.iterdir()) == {crop.path, new}


def test_an_empty_disk_is_fine(db: None) -> None:
    assert retention.clean_up() == 0
