"""Reads streams: what a client missed, what committed since the last poll, and the heads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from django.db import connections, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from . import models
from .positions import ZERO, Position

# The most updates in one reading (PROTOCOL: Polling).
LIMIT: Final = 500
# The most updates in one poll. A hub that missed more compares heads instead.
POLL_LIMIT: Final = 10_000


@dataclass(frozen=True, slots=True)
class Update:
    """A committed update. `frame` is its JSON text for clients, encoded once."""

    stream: str
    position: Position
    event: str
    payload_json: str
    frame: str
    published: float = 0.0  # Unix time of publish(), by the database's clock; 0: unknown


@dataclass(frozen=True, slots=True)
class StreamState:
    """The last position of a stream, and the position up to which its history was trimmed."""

    head: Position = ZERO
    floor: Position = ZERO

    def is_trimmed(self, position: Position) -> bool:
        """Whether updates after this position have been trimmed."""
        return position.offset < self.floor.offset or (
            position.offset == self.floor.offset and position.tag != self.floor.tag
        )


@dataclass(frozen=True, slots=True)
class Reading:
    """Some streams, read in one snapshot of the database."""

    states: dict[str, StreamState]  # of every stream requested; one never published to is at 0-0
    recovered: dict[str, bool]  # of every stream whose position was given
    # The updates after the positions, of recovered streams only: by stream, in order, without a gap.
    updates: list[Update]
    more: bool  # whether some stream's updates end before its head


def read(wanted: Mapping[str, Position | None], limit: int = LIMIT) -> Reading:
    """Read heads, floors and what follows the given positions, in one REPEATABLE READ, READ ONLY transaction.

    `None` in place of a position: only the stream's state is read. There are at most `limit` updates, shared
    so that the streams with the fewest are complete. It makes at most five queries for any number of
    streams. On PostgreSQL, call it outside atomic blocks (else RuntimeError). Raises Django's database
    errors.
    """
    connection = database()
    with _snapshot(connection), connection.cursor() as cursor:
        states = _states(cursor, wanted)
        given = {stream: position for stream, position in wanted.items() if position is not None}
        recovered = _recoverable(cursor, given, states)
        missed = {
            stream: (position.offset, states[stream].head.offset)
            for stream, position in given.items()
            if recovered[stream] and position.offset < states[stream].head.offset
        }
        shares = _share(missed, limit)
        updates = _updates(connection, cursor, shares)
    more = shares != missed
    return Reading(states, recovered, updates, more)


def heads(streams: Iterable[str]) -> dict[str, StreamState]:
    """The heads and floors of these streams, by one query, inside or outside a transaction.

    A view calls it before it reads the data that the page shows (PROTOCOL: Pages).
    """
    with database().cursor() as cursor:
        return _states(cursor, streams)


def by_ids(ids: Sequence[int]) -> dict[int, Update]:
    """The committed updates with these ids, by id; by one query."""
    if not ids:
        return {}
    connection = database()
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id, {_columns(connection)} FROM {_UPDATE} AS u"
            f' WHERE id IN ({_marks(ids)}) AND "offset" IS NOT NULL ORDER BY stream, "offset"',
            list(ids),
        )
        return {row[0]: _update(row[1:]) for row in cursor.fetchall()}


@dataclass(frozen=True, slots=True)
class Cursor:
    """What a poll has seen: a PostgreSQL snapshot (`xmin:xmax:xip`), or the heads on SQLite.

    It is invalid after the database connection was lost: start with None again, and compare heads.
    """

    snapshot: str = ""
    heads: Mapping[str, Position] | None = None


class Polled(NamedTuple):
    """What committed since the poll that returned the cursor.

    `rewound` is always empty on PostgreSQL, where a rewritten history shows in the tags.
    """

    cursor: Cursor  # for the next poll
    updates: list[Update]  # by stream, in order; some may have been seen already
    complete: bool  # False: there were too many; compare heads
    rewound: frozenset[str]  # SQLite: streams whose head moved back or has another tag


def poll(cursor: Cursor | None, limit: int = POLL_LIMIT) -> Polled:
    """Find what committed since the poll that returned the cursor. With None: no updates, only a cursor.

    It makes one query on PostgreSQL, by transaction ids and never by time: a transaction that was open in the
    previous poll's snapshot is looked up by its id in each poll until it has ended. On SQLite it makes two
    or three queries. Raises Django's database errors.
    """
    connection = database()
    if connection.vendor == "sqlite":
        return _poll_heads(connection, cursor, limit)
    return _poll_transactions(connection, cursor, limit)


_STREAM: Final = models.Stream._meta.db_table
_UPDATE: Final = models.Update._meta.db_table
_COLUMNS: Final = 'u.stream, u."offset", u.tag, u.event, u.payload'
_PUBLISHED: Final = {
    "postgresql": "extract(epoch FROM u.created)::float8",
    "sqlite": "(julianday(u.created) - 2440587.5) * 86400.0",
}


def database() -> BaseDatabaseWrapper:
    """The connection to the writers' database. A replica would be behind the wake-ups."""
    return connections[router.db_for_write(models.Update)]


@contextmanager
def _snapshot(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """A transaction in which all queries see one state of the database, and do not wait for writers."""
    if connection.vendor == "sqlite":
        with _deferred(connection):
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
def _deferred(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """SQLite: a transaction without the write lock that atomic() takes with transaction_mode IMMEDIATE."""
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
            f"SELECT name, head, head_tag, floor, floor_tag FROM {_STREAM} WHERE name IN ({_marks(states)})",
            list(states),
        )
        for name, head, head_tag, floor, floor_tag in cursor.fetchall():
            states[name] = StreamState(Position(head, head_tag), Position(floor, floor_tag))
    return states


def _recoverable(
    cursor: Any, given: Mapping[str, Position], states: Mapping[str, StreamState]
) -> dict[str, bool]:
    """Whether each position belongs to its stream and all later updates exist (PROTOCOL: recoverable)."""
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
            (SELECT tag FROM {_UPDATE} AS u WHERE u.stream = w.stream AND u."offset" = w.low),
            (SELECT count(*) FROM {_UPDATE} AS u
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


def _updates(
    connection: BaseDatabaseWrapper, cursor: Any, ranges: Mapping[str, tuple[int, int]]
) -> list[Update]:
    """The updates of each stream after one offset and up to another, by stream, in order."""
    if not ranges:
        return []
    columns = _columns(connection)
    within = 'u.stream = w.stream AND u."offset" > w.low AND u."offset" <= w.high'
    if connection.vendor == "sqlite":
        query = f"SELECT {columns} FROM wanted AS w JOIN {_UPDATE} AS u ON {within}"
    else:
        # The LIMIT removes no row. It keeps PostgreSQL from reading the whole table for the join.
        longest = max(high - low for low, high in ranges.values())
        one = f"SELECT {columns} FROM {_UPDATE} AS u WHERE {within} LIMIT {longest}"
        query = f"SELECT u.* FROM wanted AS w CROSS JOIN LATERAL ({one}) AS u"
    cursor.execute(f"{_wanted(ranges)} {query} ORDER BY 1, 2", _values(ranges))
    return [_update(row) for row in cursor.fetchall()]


def _wanted(ranges: Mapping[str, tuple[int, int]]) -> str:
    """The start of a query, with the ranges of offsets (low, high] as the table `wanted`; see _values."""
    return f"WITH wanted (stream, low, high) AS (VALUES {', '.join(['(%s, %s, %s)'] * len(ranges))})"


def _values(ranges: Mapping[str, tuple[int, int]]) -> list[object]:
    return [value for stream, (low, high) in ranges.items() for value in (stream, low, high)]


def _poll_transactions(connection: BaseDatabaseWrapper, cursor: Cursor | None, limit: int) -> Polled:
    """PostgreSQL: read what was invisible to the cursor's snapshot and is committed now.

    By definition of pg_current_snapshot(), a transaction is invisible to a snapshot only if it began later
    (its id is at least xmax) or was running (its id is in xip).
    """
    if cursor is None:
        with connection.cursor() as execution:
            execution.execute("SELECT pg_current_snapshot()::text")
            return Polled(Cursor(snapshot=execution.fetchone()[0]), [], True, frozenset())
    _, xmax, running = cursor.snapshot.split(":")
    # Two parts in the index's order, so that no estimate of the planner leads to a scan of the whole table.
    columns = f"SELECT {_columns(connection)} FROM {_UPDATE} AS u"
    parts = [f'({columns} WHERE xid >= %s::xid8 AND "offset" IS NOT NULL ORDER BY xid LIMIT %s)']
    values = [xmax, limit + 1]
    if running:
        parts.append(
            f'({columns} WHERE xid = ANY (%s::xid8[]) AND "offset" IS NOT NULL ORDER BY xid LIMIT %s)'
        )
        values += ["{" + running + "}", limit + 1]
    with connection.cursor() as execution:
        execution.execute(
            f"SELECT pg_current_snapshot()::text, u.* FROM (SELECT) AS always"
            f" LEFT JOIN ({' UNION ALL '.join(parts)}) AS u ON true ORDER BY 2, 3",
            values,
        )
        rows = execution.fetchall()
    updates = [_update(row[1:]) for row in rows if row[1] is not None]
    return Polled(Cursor(snapshot=rows[0][0]), updates[:limit], len(updates) <= limit, frozenset())


def _poll_heads(connection: BaseDatabaseWrapper, cursor: Cursor | None, limit: int) -> Polled:
    with _deferred(connection), connection.cursor() as execution:
        execution.execute(f"SELECT name, head, head_tag FROM {_STREAM}")
        now = {name: Position(head, tag) for name, head, tag in execution.fetchall()}
        if cursor is None or cursor.heads is None:
            return Polled(Cursor(heads=now), [], True, frozenset())
        before = cursor.heads
        ranges = {}
        rewound = {stream for stream in before if stream not in now}
        for stream, head in now.items():
            last = before.get(stream, ZERO)
            if head.offset > last.offset:
                ranges[stream] = (last.offset, head.offset)
            elif head != last:
                rewound.add(stream)
        complete = sum(high - low for low, high in ranges.values()) <= limit
        updates = _updates(connection, execution, ranges) if complete else []
    return Polled(Cursor(heads=now), updates, complete, frozenset(rewound))


def _update(row: Sequence[Any]) -> Update:
    stream, offset, tag, event, payload, published = row
    position = Position(offset, tag)
    frame = (
        f'{{"event":{json.dumps(event, ensure_ascii=False)},"payload":{payload}'
        f',"stream":"{stream}","position":"{position}"}}'
    )
    return Update(stream, position, event, payload, frame, published)


def _columns(connection: BaseDatabaseWrapper) -> str:
    return f"{_COLUMNS}, {_PUBLISHED[connection.vendor]}"


def _marks(values: Iterable[object]) -> str:
    return ", ".join("%s" for _ in values)
