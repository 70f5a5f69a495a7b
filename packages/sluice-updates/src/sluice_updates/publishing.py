"""Publishing: inserts one row in the caller's transaction (PROTOCOL: Publishing)."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any, Final, Protocol
from weakref import WeakKeyDictionary

from django.db import connections, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from . import streams, tracing
from .models import EVENT_LENGTH, KEY_LENGTH, Stream, Update

MAX_PAYLOAD_BYTES: Final = 32 * 1024
RESERVED_EVENTS: Final = frozenset({"hello", "ping", "pong", "error", "close"})


class Announcer(Protocol):
    """Announces commits to the hubs.

    Without an announcer, hubs find a commit in the database within a second.
    """

    def is_wanted(self) -> bool:
        """Whether commits are announced at all."""

    def wake(self, ids: list[int], /) -> None:
        """Announce the updates with these ids, which belong to one commit. Returns at once."""


# The AppConfig sets it to wakeup.sender. Without it, publishing works without wake-ups.
announcer: Announcer | None = None


class InvalidUpdate(ValueError):
    """The update can't be published. The message names the invalid argument and what is allowed."""


def publish(stream: str, event: str, payload: Mapping[str, Any], *, key: str | None = None) -> None:
    """Publish an event with its payload to a stream, if and when the current transaction commits.

    Outside a transaction, the update is committed at once. The payload is encoded immediately, as JSON of at
    most MAX_PAYLOAD_BYTES in UTF-8. With a `key`, only the first update with that key is published. Later
    ones are silently dropped until the first one is trimmed. Raises InvalidUpdate, which leaves the
    transaction unchanged, or an error of the database.
    """
    _check_stream(stream)
    _check_event(event)
    _check_key(key)
    text = _encode(payload)
    using = router.db_for_write(Update)
    insert = _insert_numbered if connections[using].vendor == "sqlite" else _insert
    with tracing.publishing(stream, event), transaction.atomic(using=using, savepoint=False):
        connection = connections[using]
        update_id = insert(connection, stream, event, text, key)
        if update_id is not None and announcer is not None and announcer.is_wanted():
            _wake_after_commit(connection, update_id)


# On PostgreSQL this is all: a trigger assigns the offset and the tag at COMMIT. A publisher's role needs
# INSERT on these columns only, so it can't forge them.
_INSERT = f"""
    INSERT INTO {Update._meta.db_table} (stream, event, payload, key) VALUES (%s, %s, %s, %s)
    ON CONFLICT (key) WHERE key IS NOT NULL DO NOTHING RETURNING id
"""
_NEXT_OFFSET = f"""
    INSERT INTO {Stream._meta.db_table} AS stream (name, head, head_tag, floor, floor_tag)
    VALUES (%s, 1, %s, 0, '0')
    ON CONFLICT (name) DO UPDATE SET head = stream.head + 1, head_tag = excluded.head_tag RETURNING head
"""
_NUMBER = f'UPDATE {Update._meta.db_table} SET "offset" = %s, tag = %s WHERE id = %s'


def _insert(
    connection: BaseDatabaseWrapper, stream: str, event: str, payload: str, key: str | None
) -> int | None:
    """Insert the row and return its id, or None if the key exists."""
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, [stream, event, payload, key])
        row = cursor.fetchone()
    return None if row is None else int(row[0])


def _insert_numbered(
    connection: BaseDatabaseWrapper, stream: str, event: str, payload: str, key: str | None
) -> int | None:
    """Insert the row on SQLite.

    There is one writer at a time until its commit, so the offset is assigned at once.
    """
    update_id = _insert(connection, stream, event, payload, key)
    if update_id is not None:
        tag = secrets.token_hex(8)
        with connection.cursor() as cursor:
            cursor.execute(_NEXT_OFFSET, [stream, tag])
            cursor.execute(_NUMBER, [cursor.fetchone()[0], tag, update_id])
    return update_id


class _Commit:
    """The ids of the updates of one transaction.

    After the commit, announce() is called once for each update. The first call announces all ids. Some may
    belong to a savepoint that was rolled back: the sender finds no rows for them.
    """

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.span = tracing.committing()

    def announce(self) -> None:
        ids, self.ids = self.ids, []
        if ids and announcer is not None:
            if self.span is not None:
                tracing.committed(self.span, ids)
            announcer.wake(ids)


_commits: WeakKeyDictionary[BaseDatabaseWrapper, _Commit] = WeakKeyDictionary()


def _wake_after_commit(connection: BaseDatabaseWrapper, update_id: int) -> None:
    commit = _commits.get(connection)
    if commit is None or not connection.run_on_commit:  # this is the transaction's first update
        commit = _commits[connection] = _Commit()
    commit.ids.append(update_id)
    transaction.on_commit(commit.announce, using=connection.alias, robust=True)


def _check_stream(stream: str) -> None:
    if not isinstance(stream, str) or not streams.is_valid(stream) or len(stream) > streams.MAX_NAME_LENGTH:
        raise InvalidUpdate(
            f"publish: {_shown(stream)} is not the name of a stream, such as user:7 or all"
            f" ({streams.NAME.pattern}, at most {streams.MAX_NAME_LENGTH} characters)"
        )


def _check_event(event: str) -> None:
    if not isinstance(event, str) or not event.isprintable() or not 1 <= len(event) <= EVENT_LENGTH:
        raise InvalidUpdate(
            f"publish: the event must be 1 to {EVENT_LENGTH} printable characters, not {_shown(event)}"
        )
    if event in RESERVED_EVENTS:
        raise InvalidUpdate(f"publish: the event {event} is reserved for the protocol; choose another name")


def _check_key(key: str | None) -> None:
    if key is None:
        return
    if not isinstance(key, str) or not key.isprintable() or not 1 <= len(key) <= KEY_LENGTH:
        raise InvalidUpdate(
            f"publish: the key must be None or 1 to {KEY_LENGTH} printable characters, not {_shown(key)}"
        )


def _encode(payload: Mapping[str, Any]) -> str:
    if not isinstance(payload, Mapping):
        raise InvalidUpdate(f"publish: the payload must be a dict, not {type(payload).__name__}")
    try:
        text = json.dumps(dict(payload), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        size = len(text.encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidUpdate(f"publish: the payload can't be written as JSON: {error}") from error
    if size > MAX_PAYLOAD_BYTES:
        raise InvalidUpdate(
            f"publish: the payload is {size} bytes as JSON, at most {MAX_PAYLOAD_BYTES} are allowed;"
            " publish an id and let the page fetch the rest"
        )
    return text


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:80] + "…"
