"""The format of the wake-up, a message to the channel layer's group. It is packed and unpacked only here.

A message of the type `updates.committed` names the database by its identity and lists the updates of one
commit, each with its frame, and beside them when each was published (for metrics; a hub of an older version
ignores the list). It may carry the context of a trace, likewise. The sender publishes it directly to the
broker, so it packs it as the layer does (msgpack, with the group's name). The hub receives it from the layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from ..history import Update

GROUP: Final = "updates"
COMMITTED: Final = "updates.committed"
LOOP_BACK: Final = "updates.loop_back"

WokenUpdate = tuple[str, int, str, str, float]  # stream, offset, tag, frame, when it was published


class Malformed(ValueError):
    """A message of this type whose updates can't be read."""


def pack(updates: Iterable[Update], database: str, trace: Mapping[str, str] | None = None) -> bytes:
    """The body of the AMQP message that announces these updates of a database. Needs msgpack."""
    import msgpack

    updates = list(updates)
    more = {"trace": dict(trace)} if trace else {}
    body: bytes = msgpack.packb(
        {
            "type": COMMITTED,
            "database": database,
            "updates": [
                [update.stream, update.position.offset, update.position.tag, update.frame]
                for update in updates
            ],
            "published": [update.published for update in updates],
            "__asgi_group__": GROUP,
            **more,
        }
    )
    return body


def database_of(message: Mapping[str, Any]) -> str | None:
    """The identity of the database that a message from the layer names; None: it names none."""
    database = message.get("database")
    return database if isinstance(database, str) else None


def trace_of(message: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The context of the trace that a message from the layer carries; None: it carries none."""
    trace = message.get("trace")
    return trace if isinstance(trace, Mapping) else None


def unpack(message: Mapping[str, Any]) -> list[WokenUpdate]:
    """The updates in a message from the layer. Raises Malformed."""
    try:
        updates = message["updates"]
        published = message.get("published") or [0.0] * len(updates)  # a sender of an older version
        return [
            (str(name), int(offset), str(tag), str(frame), float(when))
            for (name, offset, tag, frame), when in zip(updates, published, strict=True)
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise Malformed(str(error)) from error
