"""Trimming: deletes old updates and moves each stream's floor."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Final

from django.db import router, transaction
from django.db.models import Exists, F, OuterRef, Q
from django.utils import timezone

from . import conf
from .models import TAG_LENGTH, Stream, Update

# The most updates that one transaction deletes, so that each is short.
BATCH: Final = 1000


def trim(max_age: timedelta | None = None, max_per_stream: int | None = None, *, batch: int = BATCH) -> int:
    """Delete updates older than `max_age`, and all but the newest `max_per_stream` of each stream.

    None means the value of the setting. An update is kept if an older one of its stream is kept. One
    transaction deletes a batch and moves the floor, so a reader sees both changes or neither. Several
    processes may trim at the same time, and others may publish meanwhile. Returns the number of deleted
    updates. Call it outside a transaction.
    """
    oldest = timezone.now() - (timedelta(days=conf.max_age_days()) if max_age is None else max_age)
    most = conf.max_per_stream() if max_per_stream is None else max_per_stream
    return sum(_trim_stream(name, oldest, most, batch) for name in _streams_to_trim(oldest, most))


def _streams_to_trim(oldest: datetime, most: int) -> list[str]:
    """The streams with too many updates, or whose first update is too old. It makes one query."""
    first = Update.objects.using(_using()).filter(stream=OuterRef("name"), offset=OuterRef("floor") + 1)
    return list(
        Stream.objects.using(_using())
        .filter(Q(head__gt=F("floor") + most) | Exists(first.filter(created__lt=oldest)))
        .values_list("name", flat=True)
    )


def _trim_stream(name: str, oldest: datetime, most: int, batch: int) -> int:
    deleted = 0
    target = _target(name, oldest, most)
    while True:
        floor, count = _move_floor(name, target, batch)
        deleted += count
        if floor >= target:
            return deleted


def _target(name: str, oldest: datetime, most: int) -> int:
    """The offset up to which the stream may be trimmed."""
    stream = Stream.objects.using(_using()).get(name=name)
    updates = Update.objects.using(_using()).filter(stream=name, offset__gt=stream.floor)
    young = updates.filter(created__gte=oldest).order_by("offset").values_list("offset", flat=True).first()
    return max(stream.head if young is None else young - 1, stream.head - most)


def _move_floor(name: str, target: int, batch: int) -> tuple[int, int]:
    """Delete the next batch and move the floor, in one transaction.

    Returns the floor and the deleted count.
    """
    using = _using()
    streams = Stream.objects.using(using).filter(name=name)
    with transaction.atomic(using=using, durable=True):
        floor = min(target, streams.get().floor + batch)
        updates = Update.objects.using(using).filter(stream=name, offset__lte=floor)
        tag = updates.filter(offset=floor).values_list("tag", flat=True).first()
        count, _ = updates.delete()
        # The lock is held until this commit, and publishers wait for it at their COMMIT. So take it late.
        stream = streams.select_for_update().get()
        if stream.floor >= floor:  # another process has trimmed the stream meanwhile
            return stream.floor, count
        # Without a tag: somebody deleted the update by hand. No client can have a position with a random tag.
        streams.update(floor=floor, floor_tag=tag or secrets.token_hex(TAG_LENGTH // 2))
        return floor, count


def _using() -> str:
    return str(router.db_for_write(Update))
