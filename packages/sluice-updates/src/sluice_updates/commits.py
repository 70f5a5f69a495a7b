"""The poll of the hub: finds the updates of all streams that were committed since the last poll."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from .history import (
    STREAM_TABLE,
    UPDATE_TABLE,
    Update,
    columns,
    database,
    deferred,
    update_of,
    updates_between,
)
from .positions import ZERO, Position

# The most updates of one poll. A hub that missed more compares heads instead.
LIMIT: Final = 10_000


@dataclass(frozen=True, slots=True)
class Cursor:
    """What a poll has seen: on PostgreSQL a snapshot (`xmin:xmax:xip`), on SQLite the heads.

    It is invalid after the loss of the database connection. Then start with None again, and compare heads.
    """

    snapshot: str = ""
    heads: Mapping[str, Position] | None = None


class Polled(NamedTuple):
    """The result of a poll.

    `rewound` is always empty on PostgreSQL, where the tags show that history was rewritten.
    """

    cursor: Cursor  # for the next poll
    updates: list[Update]  # by stream, in order; an earlier poll may have returned some already
    complete: bool  # False: there were more than the limit; compare heads
    rewound: frozenset[str]  # SQLite: streams whose head moved back or has another tag


def poll(cursor: Cursor | None, limit: int = LIMIT) -> Polled:
    """Find the updates that were committed since the poll that returned `cursor`.

    With None it returns a cursor and no updates. On PostgreSQL it makes one query, by transaction ids and
    never by time. A transaction that was open in the previous poll's snapshot is looked up by its id in each
    poll until it has ended. On SQLite it makes two or three queries. Raises Django's database errors.
    """
    connection = database()
    if connection.vendor == "sqlite":
        return _poll_heads(connection, cursor, limit)
    return _poll_transactions(connection, cursor, limit)


def _poll_transactions(connection: BaseDatabaseWrapper, cursor: Cursor | None, limit: int) -> Polled:
    """On PostgreSQL: read the updates that were invisible to the cursor's snapshot and are committed now.

    By the definition of pg_current_snapshot(), a transaction is invisible to a snapshot only if it began
    later (its id is at least xmax) or was running (its id is in xip).
    """
    if cursor is None:
        with connection.cursor() as execution:
            execution.execute("SELECT pg_current_snapshot()::text")
            return Polled(Cursor(snapshot=execution.fetchone()[0]), [], True, frozenset())
    _, xmax, running = cursor.snapshot.split(":")
    # Both parts are in the order of the index, so that no estimate makes the planner scan the whole table.
    select = f"SELECT {columns(connection)} FROM {UPDATE_TABLE} AS u"
    parts = [f'({select} WHERE xid >= %s::xid8 AND "offset" IS NOT NULL ORDER BY xid LIMIT %s)']
    values = [xmax, limit + 1]
    if running:
        parts.append(
            f'({select} WHERE xid = ANY (%s::xid8[]) AND "offset" IS NOT NULL ORDER BY xid LIMIT %s)'
        )
        values += ["{" + running + "}", limit + 1]
    with connection.cursor() as execution:
        execution.execute(
            f"SELECT pg_current_snapshot()::text, u.* FROM (SELECT) AS always"
            f" LEFT JOIN ({' UNION ALL '.join(parts)}) AS u ON true ORDER BY 2, 3",
            values,
        )
        rows = execution.fetchall()
    updates = [update_of(row[1:]) for row in rows if row[1] is not None]
    return Polled(Cursor(snapshot=rows[0][0]), updates[:limit], len(updates) <= limit, frozenset())


def _poll_heads(connection: BaseDatabaseWrapper, cursor: Cursor | None, limit: int) -> Polled:
    """On SQLite: compare all heads with those of the cursor."""
    with deferred(connection), connection.cursor() as execution:
        execution.execute(f"SELECT name, head, head_tag FROM {STREAM_TABLE}")
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
        updates = updates_between(connection, execution, ranges) if complete else []
    return Polled(Cursor(heads=now), updates, complete, frozenset(rewound))
