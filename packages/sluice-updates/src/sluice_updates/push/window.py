"""A stream that the hub follows: its head, latest updates and subscriptions. No input or output here."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Final, Protocol

from .. import limits
from ..positions import Position
from .frames import Burst, UpdateFrame

# Bytes of a frame besides its text, roughly: its objects and its encoded copy.
_OVERHEAD: Final = 300


class Subscriber(Protocol):
    """A connection that the hub writes updates to."""

    def write_update(self, subscription: Subscription, frame: UpdateFrame, now: float) -> None:
        """Write the next update of the stream; `now` is the loop's time."""

    def write_updates(self, subscription: Subscription, burst: Burst, now: float) -> None:
        """Write the next updates of the stream."""

    def fall_behind(self, subscription: Subscription) -> None:
        """Catch up separately, at the client's pace."""

    def close(self, code: int) -> None:
        """End the connection with this close code."""


class Subscription:
    """A connection's position in a stream: offset and tag of the last update written to it."""

    __slots__ = ("connection", "live", "offset", "stream", "tag")

    def __init__(self, connection: Subscriber, stream: FollowedStream, position: Position) -> None:
        self.connection = connection
        self.stream = stream
        self.offset = position.offset
        self.tag = position.tag
        self.live = False  # False: the connection is catching up

    @property
    def position(self) -> Position:
        return Position(self.offset, self.tag)


class FollowedStream:
    """The head of a stream, and a window of the latest updates, gap-free and in order."""

    __slots__ = (
        "base",
        "head",
        "idle_since",
        "name",
        "out_of_order",
        "pending",
        "pending_bytes",
        "size",
        "subscriptions",
        "window",
    )

    def __init__(self, name: str, head: Position) -> None:
        self.name = name
        self.head = head
        self.base = head  # the position before the first frame of the window
        self.window: deque[UpdateFrame] = deque()
        self.size = 0  # of the window, in bytes, approximately
        self.out_of_order: dict[int, UpdateFrame] = {}  # beyond a gap, by offset
        self.pending: list[UpdateFrame] = []  # up to the head, not written to the subscriptions yet
        self.pending_bytes = 0
        self.subscriptions: dict[Subscription, None] = {}
        self.idle_since: float | None = None

    def append(self, frame: UpdateFrame) -> None:
        """Add the update after the head."""
        self.head = frame.position
        self.window.append(frame)
        self.size += _cost(frame)
        self.pending.append(frame)
        self.pending_bytes += len(frame.text)
        while self.size > limits.WINDOW_BYTES and len(self.window) > 1:
            self.forget()

    def collected(self) -> Burst:
        """Take the updates that are not written yet."""
        burst = Burst(self.pending)
        self.pending, self.pending_bytes = [], 0
        return burst

    def prepend(self, base: Position, frames: list[UpdateFrame]) -> None:
        """Add earlier updates, if they reach the window and there is room."""
        earlier = [frame for frame in frames if frame.offset <= self.base.offset]
        if base.offset >= self.base.offset or not earlier or earlier[-1].position != self.base:
            return
        size = sum(map(_cost, earlier))
        if self.size + size <= limits.WINDOW_BYTES:
            self.window.extendleft(reversed(earlier))
            self.size += size
            self.base = base

    def forget(self) -> None:
        """Drop the earliest update of the window."""
        frame = self.window.popleft()
        self.size -= _cost(frame)
        self.base = frame.position

    def drop_stale(self) -> None:
        """Drop out-of-order updates that the head has passed."""
        self.out_of_order = {
            offset: frame for offset, frame in self.out_of_order.items() if offset > self.head.offset
        }

    def after(self, offset: int) -> list[UpdateFrame] | None:
        """The updates after an offset; None if the window starts later."""
        if offset < self.base.offset:
            return None
        return list(islice(self.window, offset - self.base.offset, None))

    def tag_at(self, offset: int) -> str | None:
        """The tag of an update up to the head; None if the window starts later."""
        if offset == self.head.offset:
            return self.head.tag
        if offset == self.base.offset:
            return self.base.tag
        place = offset - self.base.offset - 1
        try:
            return self.window[place].tag if place >= 0 else None
        except IndexError:  # beyond the window; the handshake thread may ask while it changes
            return None

    def knows(self, position: Position | None) -> bool:
        """Whether the window shows that a position is recoverable. Without a position, the head is enough."""
        return position is None or self.tag_at(position.offset) == position.tag


def _cost(frame: UpdateFrame) -> int:
    return _OVERHEAD + 2 * len(frame.text)
