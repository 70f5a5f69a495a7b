"""Trimming: what is deleted, what remains, and that no reader sees a half-trimmed stream."""

from __future__ import annotations

import threading
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import transaction
from django.utils import timezone

from sluice_updates import history, publish
from sluice_updates.models import Stream, Update
from sluice_updates.positions import ZERO
from sluice_updates.trimming import trim
from updates_lab.support import Threads

DAY = timedelta(days=1)


def fill(using: str, stream: str, *ages: float) -> None:
    """Publish one update for each age, in days."""
    with transaction.atomic(using=using):
        for age in ages:
            publish(stream, "e", {"age": age})
    last = history.heads([stream])[stream].head.offset
    for offset, age in enumerate(ages, last - len(ages) + 1):
        Update.objects.filter(stream=stream, offset=offset).update(created=timezone.now() - age * DAY)


def offsets(stream: str) -> list[int]:
    return list(Update.objects.filter(stream=stream).order_by("offset").values_list("offset", flat=True))


def test_by_age_and_by_count(database: str) -> None:
    fill(database, "old", 9, 8, 3, 2)
    fill(database, "full", 1, 1, 1, 1, 1, 1)
    fill(database, "both", 9, 9, 9, 9, 9)
    fill(database, "new", 1, 1)
    assert trim(max_age=7 * DAY, max_per_stream=4) == 2 + 2 + 5
    left = {stream.name: (stream.floor, offsets(stream.name)) for stream in Stream.objects.all()}
    assert left == {"old": (2, [3, 4]), "full": (2, [3, 4, 5, 6]), "both": (5, []), "new": (0, [1, 2])}
    assert trim(max_age=7 * DAY, max_per_stream=4) == 0


def test_an_old_update_behind_a_young_one_stays(database: str) -> None:
    fill(database, "all", 9, 1, 9, 1)
    assert trim(max_age=7 * DAY, max_per_stream=100) == 1
    assert offsets("all") == [2, 3, 4]


def test_the_floor_keeps_its_tag(database: str) -> None:
    fill(database, "all", 1, 1, 1)
    second = history.read({"all": ZERO}).updates[1].position
    trim(max_age=7 * DAY, max_per_stream=1)
    assert history.heads(["all"])["all"].floor == second
    assert history.read({"all": second}).recovered["all"]


@pytest.mark.parametrize("batch", [1, 3, 7, 1000])
def test_batches(database: str, batch: int) -> None:
    fill(database, "all", *[1] * 10)
    assert trim(max_age=7 * DAY, max_per_stream=3, batch=batch) == 7
    assert offsets("all") == [8, 9, 10] and history.heads(["all"])["all"].floor.offset == 7


def test_updates_that_were_deleted_by_hand(database: str) -> None:
    fill(database, "all", *[1] * 6)
    third = history.read({"all": ZERO}).updates[2].position
    Update.objects.filter(offset__in=[2, 3]).delete()
    assert trim(max_age=7 * DAY, max_per_stream=3, batch=1) == 1
    assert offsets("all") == [4, 5, 6] and history.heads(["all"])["all"].floor.offset == 3
    assert not history.read({"all": third}).recovered["all"]


def test_readers_and_writers_while_trimming(database: str) -> None:
    """A reader that keeps up always recovers. One that falls behind is told that updates are gone."""
    done = threading.Event()

    def write() -> None:
        for _ in range(100):
            publish("all", "e", {})

    def trim_on() -> None:
        while not done.is_set():
            trim(max_age=7 * DAY, max_per_stream=10, batch=2)

    def read() -> None:
        while not done.is_set():
            state = history.heads(["all"])["all"]
            reading = history.read({"all": state.floor})
            floor, head = (reading.states["all"].floor.offset, reading.states["all"].head.offset)
            assert reading.recovered["all"] == (state.floor.offset == floor)
            if reading.recovered["all"]:
                assert [each.position.offset for each in reading.updates] == list(range(floor + 1, head + 1))

    with Threads() as others:
        for function in (trim_on, trim_on, read, read):
            others.start(function)
        try:
            with Threads() as writers:
                writers.start(write)
                writers.start(write)
        finally:
            done.set()
    trim(max_age=7 * DAY, max_per_stream=10)
    assert offsets("all") == list(range(191, 201)) and history.heads(["all"])["all"].floor.offset == 190


def test_the_command_takes_the_settings(database: str, settings: object) -> None:
    fill(database, "all", 9, 1, 1, 1)
    settings.SLUICE_UPDATES_MAX_AGE_DAYS = 7  # type: ignore[attr-defined]
    settings.SLUICE_UPDATES_MAX_PER_STREAM = 2  # type: ignore[attr-defined]
    output = StringIO()
    call_command("trim_updates", stdout=output)
    assert output.getvalue() == "trimmed 2 updates\n"
    call_command("trim_updates", "--max-per-stream=1", "--max-age-days=7", stdout=output)
    assert offsets("all") == [4]


def test_a_trimmed_key_is_free_again(database: str) -> None:
    publish("all", "e", {}, key="k")
    trim(max_age=7 * DAY, max_per_stream=0)
    publish("all", "e", {}, key="k")
    assert offsets("all") == [2]
