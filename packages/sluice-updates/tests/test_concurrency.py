"""Concurrent writers: offsets without gaps, in the order of commits, and no deadlock."""

from __future__ import annotations

import threading

import pytest
from django.db import transaction

from sluice_updates import commits, history, publish
from sluice_updates.models import Stream, Update
from sluice_updates.positions import ZERO
from updates_lab.support import Threads

WRITERS = 8
EACH = 25


def test_eight_writers_leave_no_gap(database: str) -> None:
    def write(writer: int) -> None:
        for number in range(EACH):
            with transaction.atomic(using=database):
                publish("all", "e", {"writer": writer, "number": number})
                if number % 5 == 0:
                    transaction.set_rollback(True, using=database)

    with Threads() as writers:
        for writer in range(WRITERS):
            writers.start(write, writer)
    offsets = list(Update.objects.order_by("offset").values_list("offset", flat=True))
    assert offsets == list(range(1, WRITERS * (EACH - EACH // 5) + 1))
    assert Stream.objects.get(name="all").head == offsets[-1]


def test_a_reader_sees_every_commit_in_order(database: str) -> None:
    """A poll sees no gap: an offset becomes visible only after all smaller ones."""
    done = threading.Event()
    start = commits.poll(None).cursor

    def write() -> None:
        for _ in range(EACH):
            publish("all", "e", {})

    def follow() -> None:
        cursor, seen = start, 0
        while not done.is_set() or history.heads(["all"])["all"].head.offset > seen:
            cursor, updates, *_ = commits.poll(cursor)
            for update in updates:
                assert update.position.offset <= seen + 1, "an offset was skipped"
                seen = max(seen, update.position.offset)
        assert seen == WRITERS * EACH

    with Threads() as readers:
        readers.start(follow)
        try:
            with Threads() as writers:
                for _ in range(WRITERS):
                    writers.start(write)
        finally:
            done.set()


def test_two_streams_in_opposite_order_do_not_deadlock(database: str) -> None:
    def write(*streams: str) -> None:
        for _ in range(EACH):
            with transaction.atomic(using=database):
                for stream in streams:
                    publish(stream, "e", {})

    with Threads() as writers:
        for _ in range(WRITERS // 2):
            writers.start(write, "all", "user:7")
            writers.start(write, "user:7", "all")
    heads = history.heads(["all", "user:7"])
    assert [state.head.offset for state in heads.values()] == [WRITERS * EACH] * 2


def test_a_key_is_published_once_by_concurrent_writers(database: str) -> None:
    def write() -> None:
        for number in range(EACH):
            publish("all", "e", {}, key=f"key {number}")

    with Threads() as writers:
        for _ in range(WRITERS):
            writers.start(write)
    assert Update.objects.count() == EACH == Stream.objects.get(name="all").head


@pytest.mark.parametrize("limit", [7, 500])
def test_a_reading_is_one_snapshot(database: str, limit: int) -> None:
    """A read is always consistent while others publish and nothing is trimmed."""
    done = threading.Event()

    def write(*streams: str) -> None:
        for _ in range(EACH):
            with transaction.atomic(using=database):
                for stream in streams:
                    publish(stream, "e", {})

    def read() -> None:
        position = ZERO
        while not done.is_set():
            reading = history.read({"all": position, "user:7": ZERO}, limit)
            head = reading.states["all"].head
            # Transactions publish to both streams or to neither.
            assert reading.states["user:7"].head.offset == head.offset
            assert reading.recovered == {"all": True, "user:7": True}
            mine = [update.position for update in reading.updates if update.stream == "all"]
            assert [each.offset for each in mine] == list(
                range(position.offset + 1, position.offset + len(mine) + 1)
            )
            if not reading.more and mine:
                assert mine[-1] == head
            position = mine[-1] if mine else position

    with Threads() as readers:
        for _ in range(2):
            readers.start(read)
        try:
            with Threads() as writers:
                for _ in range(4):
                    writers.start(write, "all", "user:7")
        finally:
            done.set()
