"""Retention: removes old and deleted crops with their files, and files that dead workers left."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final

from django.conf import settings
from django.utils import timezone

from .models import Crop

logger = logging.getLogger(__name__)

# A worker may still be writing a younger file that belongs to no crop.
_ORPHAN_SECONDS: Final = 24 * 3600


def clean_up() -> int:
    """Delete crops that ended more than CROP_RETENTION_DAYS ago, and files without a crop. A job of beat.

    Returns the number of deleted crops.
    """
    oldest = timezone.now() - timedelta(days=settings.CROP_RETENTION_DAYS)
    count = 0
    for crop in Crop.objects.filter(finished__lt=oldest).exclude(state__in=Crop.OPEN).iterator():
        _remove(crop)
        count += 1
    for path in _orphans():
        path.unlink(missing_ok=True)
    if count:
        logger.info("deleted %d crops that were older than %d days", count, settings.CROP_RETENTION_DAYS)
    return count


def remove_discarded() -> int:
    """Remove file and row of each crop that its owner has deleted. Returns how many. A job of beat."""
    count = 0
    for crop in Crop.objects.filter(discarded=True).iterator():
        _remove(crop)
        count += 1
    return count


def _remove(crop: Crop) -> None:
    # The file first: a row without a file is removed by the next run, a file without a row only after a day.
    crop.path.unlink(missing_ok=True)
    crop.delete()


def _orphans() -> Iterator[Path]:
    before = time.time() - _ORPHAN_SECONDS
    root = Path(settings.MEDIA_ROOT)
    old = [
        path for folder in ("crops", "claims") for path in (root / folder).glob("*") if _age(path) < before
    ]
    names = {path.stem: path for path in old if path.stem.isascii() and path.stem.isdigit()}
    known = set(Crop.objects.filter(pk__in=[int(name) for name in names]).values_list("pk", flat=True))
    yield from (path for path in old if not (path.stem in names and int(path.stem) in known))


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()
