"""Reading the history: which positions are recoverable, and what follows them."""

from __future__ import annotations

import pytest
from django.db import connections, transaction
from django.test.utils import CaptureQueriesContext

from sluice_updates import commits, history, publish
from sluice_updates.models import Stream, Update
from sluice_updates.positions import ZERO, Position
from sluice_updates.trimming import trim


def fill(stream: str, count: int, using: str) -> list[Position]:
    """Publish `count` updates. Return their positions, preceded by the position before them."""
    before = history.heads([stream])[stream].head
    with transaction.atomic(using=using):
        for number in range(count):
            publish(stream, "e", {"number": number})
    return [before, *(update.position for update in history.read({stream: before}, count).updates)]


def trim_to(most: int) -> None:
    trim(max_per_stream=most)


def test_a_stream_never_published_to(database: str) -> None:
    reading = history.read({"all": ZERO, "user:7": None, "user:8": Position(1, "0" * 16)})
    assert reading.states == {name: history.StreamState(ZERO, ZERO) for name in ("all", "user:7", "user:8")}
    assert reading.recovered == {"all": True, "user:8": False}
    assert reading.updates == [] and not reading.more
    assert not Stream.objects.exists()


def test_every_position_of_the_stream_is_recoverable(database: str) -> None:
    positions = fill("all", 5, database)
    for position in positions:
        reading = history.read({"all": position})
        assert reading.recovered == {"all": True} and reading.states["all"].head == positions[-1]
        assert [update.position for update in reading.updates] == positions[position.offset + 1 :]


@pytest.mark.parametrize("offset", [1, 3, 5, 6, 2**53 - 1])
def test_a_foreign_tag_or_offset_is_not_recoverable(database: str, offset: int) -> None:
    fill("all", 5, database)
    reading = history.read({"all": Position(offset, "0123456789abcdef")})
    assert reading.recovered == {"all": False} and reading.updates == [] and not reading.more


def test_after_trimming_the_floor_is_the_oldest_recoverable(database: str) -> None:
    positions = fill("all", 6, database)
    trim_to(2)
    reading = {position: history.read({"all": position}) for position in positions}
    assert [read.recovered["all"] for read in reading.values()] == [False] * 4 + [True] * 3
    assert reading[positions[4]].states["all"] == history.StreamState(head=positions[6], floor=positions[4])
    assert [update.position for update in reading[positions[4]].updates] == positions[5:]
    assert not history.read({"all": Position(4, "0123456789abcdef")}).recovered["all"]


def test_a_wholly_trimmed_stream(database: str) -> None:
    positions = fill("all", 3, database)
    trim_to(0)
    reading = history.read({"all": positions[3]})
    assert reading.recovered["all"] and reading.states["all"] == history.StreamState(
        positions[3], positions[3]
    )
    assert not history.read({"all": ZERO}).recovered["all"]
    assert fill("all", 1, database)[1].offset == 4


def test_a_gap_is_not_skipped(database: str) -> None:
    positions = fill("all", 5, database)
    Update.objects.filter(stream="all", offset=3).delete()
    recovered = [history.read({"all": position}).recovered["all"] for position in positions]
    assert recovered == [False, False, False, False, True, True]


def test_a_database_restored_to_an_earlier_state_is_noticed(database: str) -> None:
    positions = fill("all", 5, database)
    Update.objects.filter(offset__gt=3).delete()
    Stream.objects.update(head=3, head_tag=positions[3].tag)
    assert not history.read({"all": positions[4]}).recovered["all"]
    assert history.read({"all": positions[2]}).recovered["all"]
    fill("all", 5, database)
    assert not history.read({"all": positions[4]}).recovered["all"]
    assert [update.position.offset for update in history.read({"all": positions[3]}).updates] == [
        4,
        5,
        6,
        7,
        8,
    ]


def test_the_limit_leaves_whole_prefixes(database: str) -> None:
    for stream, count in (("a", 2), ("b", 30), ("c", 30), ("d", 0)):
        fill(stream, count, database)
    reading = history.read(dict.fromkeys("abcd", ZERO), limit=20)
    offsets: dict[str, list[int]] = {stream: [] for stream in "abcd"}
    for update in reading.updates:
        offsets[update.stream].append(update.position.offset)
    assert reading.more and offsets == {"a": [1, 2], "b": [*range(1, 10)], "c": [*range(1, 10)], "d": []}


@pytest.mark.parametrize("limit", [1, 3, 10])
def test_reading_on_until_there_is_no_more(database: str, limit: int) -> None:
    positions: dict[str, Position | None] = {}
    for stream, count in (("a", 3), ("b", 11), ("c", 5)):
        fill(stream, count, database)
        positions[stream] = ZERO
    more = True
    while more:
        reading = history.read(positions, limit)
        more = reading.more
        assert len(reading.updates) <= limit and (reading.updates or not more)
        for update in reading.updates:
            before = positions[update.stream]
            assert before is not None and update.position.offset == before.offset + 1
            positions[update.stream] = update.position
    assert positions == {stream: state.head for stream, state in history.heads("abc").items()}


def count_reads(queries: CaptureQueriesContext) -> int:
    return sum(query["sql"].lstrip().startswith(("SELECT", "WITH")) for query in queries.captured_queries)


def test_the_number_of_queries_does_not_grow(database: str) -> None:
    names = [f"s:{number}" for number in range(64)]
    for name in names:
        fill(name, 3, database)
    for wanted in (names[:1], names):
        with CaptureQueriesContext(connections[database]) as queries:
            reading = history.read(dict.fromkeys(wanted, history.ZERO))
        assert len(reading.updates) == 3 * len(wanted) and not reading.more
        assert count_reads(queries) == 3
    heads = {name: state.head for name, state in history.heads(names).items()}
    with CaptureQueriesContext(connections[database]) as queries:
        assert all(history.read(heads).recovered.values())
    assert count_reads(queries) == 1


def test_thousands_of_streams(database: str) -> None:
    """As many streams as a hub may have to refill after an outage."""
    names = [f"s:{number}" for number in range(2000)]
    with transaction.atomic(using=database):
        for name in names:
            publish(name, "e", {})
            publish(name, "e", {})
    reading = history.read(dict.fromkeys(names, ZERO), limit=500)
    assert all(reading.recovered.values()) and reading.more and len(reading.updates) == 500
    assert len(history.read(dict.fromkeys(names, ZERO), limit=5000).updates) == 4000


def test_heads_within_a_transaction(database: str) -> None:
    positions = fill("all", 2, database)
    with transaction.atomic(using=database):
        assert history.heads(["all", "user:7"]) == {
            "all": history.StreamState(positions[2], ZERO),
            "user:7": history.StreamState(),
        }
    assert history.heads([]) == {}


def test_the_poll_finds_what_committed_since(database: str) -> None:
    fill("all", 2, database)
    cursor, updates, complete, rewound = commits.poll(None)
    assert (updates, complete, rewound) == ([], True, frozenset())
    fill("user:7", 2, database)
    fill("all", 1, database)
    cursor, updates, complete, rewound = commits.poll(cursor)
    found = [(update.stream, update.position.offset) for update in updates]
    assert found == [("all", 3), ("user:7", 1), ("user:7", 2)] and complete and not rewound
    assert commits.poll(cursor).updates == []


def test_too_many_to_list(database: str) -> None:
    cursor = commits.poll(None).cursor
    fill("all", 10, database)
    polled = commits.poll(cursor, limit=5)
    assert not polled.complete and len(polled.updates) <= 5
    assert commits.poll(polled.cursor).updates == []
