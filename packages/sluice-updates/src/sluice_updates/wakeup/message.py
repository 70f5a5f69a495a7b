"""The wake-up that goes through the channel layer: packed and unpacked here only.

A message of type `updates.committed` to the group `updates` names the updates of one commit, each with its
frame. The sender packs it as the channel layer does (msgpack, with the group's name), since it publishes
straight to the broker; the hub gets it unpacked by the layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from ..history import Update

GROUP: Final = "updates"
COMMITTED: Final = "updates.committed"
LOOP_BACK: Final = "updates.loop_back"

WokenUpdate = tuple[str, int, str, str]  # stream, offset, tag, frame


class Malformed(ValueError):
    """A message of this type that holds no updates."""


def pack(updates: Iterable[Update]) -> bytes:
    """The body of the AMQP message that announces these updates. Needs msgpack."""
    import msgpack

    body: bytes = msgpack.packb(
        {
            "type": COMMITTED,
            "updates": [
                [update.stream, update.position.offset, update.position.tag, update.frame]
                for update in updates
            ],
            "__asgi_group__": GROUP,
        }
    )
    return body


def unpack(message: Mapping[str, Any]) -> list[WokenUpdate]:
    """The updates in a message that the layer received. Raises Malformed."""
    try:
        return [
            (str(name), int(offset), str(tag), str(frame)) for name, offset, tag, frame in message["updates"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise Malformed(str(error)) from error
