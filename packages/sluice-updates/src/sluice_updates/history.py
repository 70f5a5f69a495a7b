"""Reads streams: their heads, the updates that a client missed, and updates by id.

The hub finds new updates of all streams with commits.poll.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from django.db import connections, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from . import identity, models
from .positions import ZERO, Position

# The most updates that one read() returns (PROTOCOL: Polling).
LIMIT: Final = 500


@dataclass(frozen=True, slots=True)
class Update:
    """A committed update. `frame` is the JSON text for clients, encoded once."""

    stream: str
    position: Position
    event: str
    payload_json: str
    frame: str
    published: float = 0.0  # Unix time of publish(), by the database's clock; 0: unknown


@dataclass(frozen=True, slots=True)
class StreamState:
    """`head` is the last position of a stream, `floor` the position up to which it was trimmed."""

    head: Position = ZERO
    floor: Position = ZERO

    def is_trimmed(self, position: Position) -> bool:
        """Whether an update after this position has been trimmed."""
        return position.offset < self.floor.offset or (
            position.offset == self.floor.offset and position.tag != self.floor.tag
        )


@dataclass(frozen=True, slots=True)
class Reading:
    """The result of read(): some streams in one snapshot of the database."""

    states: dict[str, StreamState]  # for each stream; 0-0 for one without an update so far
    recovered: dict[str, bool]  # for each stream with a given position: whether it is recoverable
    # The updates after the positions, of recovered streams only. By stream, in order, without a gap.
    updates: list[Update]
    more: bool  # whether the updates of a stream end before its head


def read(wanted: Mapping[str, Position | None], limit: int = LIMIT) -> Reading:
    """Read heads and floors, and the updates after the given positions, in one read-only snapshot.

    A stream with None instead of a position: only its state is read. At most `limit` updates are read, shared
    so that the streams with the fewest missing updates are complete. It makes at most five queries for any
    number of streams. On PostgreSQL it must be called outside atomic blocks, else it raises RuntimeError.
    Raises Django's database errors.
    """
    connection = database()
    with _snapshot(connection):
        return read_inside(connection, wanted, limit)


def read_inside(
    connection: BaseDatabaseWrapper, wanted: Mapping[str, Position | None], limit: int = LIMIT
) -> Reading:
    """The same, in the caller's transaction. Without a snapshot, the queries may disagree."""
    with connection.cursor() as cursor:
        states = _states(cursor, wanted)
        given = {stream: position for stream, position in wanted.items() if position is not None}
        recovered = _recoverable(cursor, given, states)
        missed = {
            stream: (position.offset, states[stream].head.offset)
            for stream, position in given.items()
            if recovered[stream] and position.offset < states[stream].head.offset
        }
        shares = _share(missed, limit)
        updates = updates_between(connection, cursor, shares)
    more = shares != missed
    return Reading(states, recovered, updates, more)


def heads(streams: Iterable[str]) -> dict[str, StreamState]:
    """The heads and floors of these streams. It makes one query, inside or outside a transaction.

    A view must call it before it reads the data that its page shows (PROTOCOL: Pages).
    """
    with database().cursor() as cursor:
        return _states(cursor, streams)


def by_ids(ids: Sequence[int]) -> tuple[str, dict[int, Update]]:
    """The identity of the database, and the committed updates with these ids, by id. It makes one query.

    Without such an update, the identity is empty. Raises identity.Unknown.
    """
    if not ids:
        return "", {}
    connection = database()
    with identity.readable(), connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {identity.SELECT}, id, {columns(connection)} FROM {UPDATE_TABLE} AS u"
            f' WHERE id IN ({_marks(ids)}) AND "offset" IS NOT NULL ORDER BY stream, "offset"',
            list(ids),
        )
        rows = cursor.fetchall()
    if not rows:
        return "", {}
    return identity.text_of(rows[0][0]), {row[1]: update_of(row[2:]) for row in rows}


STREAM_TABLE: Final = models.Stream._meta.db_table
UPDATE_TABLE: Final = models.Update._meta.db_table
_COLUMNS: Final = 'u.stream, u."offset", u.tag, u.event, u.payload'
_PUBLISHED: Final = {
    "postgresql": "extract(epoch FROM u.created)::float8",
    "sqlite": "(julianday(u.created) - 2440587.5) * 86400.0",
}


def database() -> BaseDatabaseWrapper:
    """The connection to the primary database. A replica may lag behind the wake-ups."""
    return connections[router.db_for_write(models.Update)]


@contextmanager
def _snapshot(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """A transaction in which all queries see the same state of the database and don't wait for writers."""
    if connection.vendor == "sqlite":
        with deferred(connection):
            yield
        return
    if connection.in_atomic_block:
        raise RuntimeError(
            "sluice_updates.history.read must be called outside atomic blocks: it needs its own snapshot"
            " (in tests: TransactionTestCase, or django_db(transaction=True))"
        )
    with transaction.atomic(using=connection.alias):
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


@contextmanager
def deferred(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """On SQLite: a transaction without the write lock that atomic() takes (transaction_mode IMMEDIATE)."""
    if connection.in_atomic_block:
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("BEGIN DEFERRED")
        try:
            yield
        finally:
            cursor.execute("ROLLBACK")


def _states(cursor: Any, streams: Iterable[str]) -> dict[str, StreamState]:
    states = {stream: StreamState() for stream in streams}
    if states:
        cursor.execute(
            f"SELECT name, head, head_tag, floor, floor_tag FROM {STREAM_TABLE}"
            f" WHERE name IN ({_marks(states)})",
            list(states),
        )
        for name, head, head_tag, floor, floor_tag in cursor.fetchall():
            states[name] = StreamState(Position(head, head_tag), Position(floor, floor_tag))
    return states


def _recoverable(
    cursor: Any, given: Mapping[str, Position], states: Mapping[str, StreamState]
) -> dict[str, bool]:
    """Whether each position belongs to its stream, and all later updates exist (PROTOCOL: recoverable)."""
    recoverable = {stream: position == states[stream].head for stream, position in given.items()}
    behind = [
        (stream, position, states[stream])
        for stream, position in given.items()
        if states[stream].floor.offset <= position.offset < states[stream].head.offset
    ]
    if behind:
        ranges = {stream: (position.offset, state.head.offset) for stream, position, state in behind}
        cursor.execute(
            f"""
            {_wanted(ranges)} SELECT w.stream,
            (SELECT tag FROM {UPDATE_TABLE} AS u WHERE u.stream = w.stream AND u."offset" = w.low),
            (SELECT count(*) FROM {UPDATE_TABLE} AS u
             WHERE u.stream = w.stream AND u."offset" > w.low AND u."offset" <= w.high)
            FROM wanted AS w
            """,
            _values(ranges),
        )
        found = {stream: (tag, count) for stream, tag, count in cursor.fetchall()}
        for stream, position, state in behind:
            tag, count = found[stream]
            if position.offset == state.floor.offset:
                tag = state.floor.tag
            recoverable[stream] = tag == position.tag and count == state.head.offset - position.offset
    return recoverable


def _share(missed: Mapping[str, tuple[int, int]], limit: int) -> dict[str, tuple[int, int]]:
    """The parts of the ranges (offset, head] to read: at most `limit` updates, shortest ranges first."""
    shares = {}
    waiting = sorted(missed, key=lambda stream: missed[stream][1] - missed[stream][0])
    for index, stream in enumerate(waiting):
        offset, head = missed[stream]
        share = min(head - offset, -(-limit // (len(waiting) - index)))
        if share:
            shares[stream] = (offset, offset + share)
        limit -= share
    return shares


def updates_between(
    connection: BaseDatabaseWrapper, cursor: Any, ranges: Mapping[str, tuple[int, int]]
) -> list[Update]:
    """The updates of each stream in its range of offsets (low, high], by stream, in order."""
    if not ranges:
        return []
    selected = columns(connection)
    within = 'u.stream = w.stream AND u."offset" > w.low AND u."offset" <= w.high'
    if connection.vendor == "sqlite":
        query = f"SELECT {selected} FROM wanted AS w JOIN {UPDATE_TABLE} AS u ON {within}"
    else:
        # The LIMIT excludes no row. It keeps PostgreSQL from reading the whole table for the join.
        longest = max(high - low for low, high in ranges.values())
        one = f"SELECT {selected} FROM {UPDATE_TABLE} AS u WHERE {within} LIMIT {longest}"
        query = f"SELECT u.* FROM wanted AS w CROSS JOIN LATERAL ({one}) AS u"
    cursor.execute(f"{_wanted(ranges)} {query} ORDER BY 1, 2", _values(ranges))
    return [update_of(row) for row in cursor.fetchall()]


def _wanted(ranges: Mapping[str, tuple[int, int]]) -> str:
    """The beginning of a query: the ranges of offsets (low, high] as the table `wanted`. See _values."""
    return f"WITH wanted (stream, low, high) AS (VALUES {', '.join(['(%s, %s, %s)'] * len(ranges))})"


def _values(ranges: Mapping[str, tuple[int, int]]) -> list[object]:
    """The parameters of _wanted."""
    return [value for stream, (low, high) in ranges.items() for value in (stream, low, high)]


def update_of(row: Sequence[Any]) -> Update:
    """The update in a row with columns()."""
    stream, offset, tag, event, payload, published = row
    position = Position(offset, tag)
    frame = (
        f'{{"event":{json.dumps(event, ensure_ascii=False)},"payload":{payload}'
        f',"stream":"{stream}","position":"{position}"}}'
    )
    return Update(stream, position, event, payload, frame, published)


def columns(connection: BaseDatabaseWrapper) -> str:
    """What update_of() needs of a row of the updates' table, called u."""
    return f"{_COLUMNS}, {_PUBLISHED[connection.vendor]}"


def _marks(values: Iterable[object]) -> str:
    return ", ".join("%s" for _ in values)
