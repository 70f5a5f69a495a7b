"""Mailboxes: messages that have arrived in this process and wait for their readers. Also the groups' members.

RabbitMQ delivers at most `capacity` unacknowledged messages. A message is acknowledged when the last of its
local readers has taken it. So a channel that doesn't read uses up capacity that all others need. These rules
free it:

1. A channel that leaves a group loses the waiting messages from that group.
2. A message that has waited for `expiry` seconds is dropped.
3. When the capacity is used up, a channel that has not read for `RELIEF_AFTER` seconds loses its messages. If
   it is in a group, it gets no more until it reads again. A channel that reads, even slowly, loses nothing:
   then the senders must wait.
4. A channel that has messages and has not read for `abandoned_after` seconds is forgotten: its consumer has
   died.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from channels.exceptions import StopConsumer

from .waiting import Box

logger = logging.getLogger(__name__)

RELIEF_AFTER = 1.0  # seconds
SWEEP_EVERY = 0.25  # seconds, while anything waits
REMIND_EVERY = 5.0  # seconds between log lines of one kind

Message = dict[str, Any]


@dataclass(eq=False)
class Held:
    """An unacknowledged message that waits for at least one reader."""

    message: Message
    group: str | None
    since: float
    readers: int
    release: Callable[[], None]

    def taken(self) -> None:
        self.readers -= 1
        if self.readers == 0:
            self.release()


class Mailbox(Box[Held]):
    """The waiting messages of one channel."""

    def __init__(self) -> None:
        super().__init__()
        self.deaf = False  # rule 3: it gets nothing until it reads again


class Mailboxes:
    """All mailboxes of one event loop. Times are in seconds. The module describes the rules."""

    def __init__(
        self,
        *,
        capacity: int,
        expiry: float,
        abandoned_after: float,
        on_abandoned: Callable[[str], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._capacity = capacity
        self._expiry = expiry
        self._abandoned_after = abandoned_after
        self._on_abandoned = on_abandoned
        self._boxes: dict[str, Mailbox] = {}
        self._members: dict[str, dict[str, None]] = {}  # group: its channels here, in order of joining
        self._memberships: dict[str, set[str]] = {}  # channel: its groups
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._sweep_due = 0.0
        self._said: dict[str, float] = {}
        self._closed = False
        self.held = 0  # unacknowledged messages
        self.dropped = 0  # dropped messages since the start; one for two readers counts twice

    # Reading

    async def get(self, channel: str) -> Message:
        """The channel's next message. Waits without limit; raises StopConsumer once closed."""
        if self._closed:
            raise StopConsumer("the channel layer is closed")
        box = self._boxes.get(channel)
        if box is None:
            box = self._boxes[channel] = Mailbox()
        box.deaf = False
        try:
            held = await box.get()
        finally:
            if not box.items and not box.readers and self._boxes.get(channel) is box:
                del self._boxes[channel]
        shared = held.group is not None
        held.taken()
        return dict(held.message) if shared else held.message

    def close(self) -> None:
        self._closed = True
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        for box in self._boxes.values():
            box.close(lambda: StopConsumer("the channel layer was closed"))
        self._boxes.clear()
        self._members.clear()
        self._memberships.clear()

    # Arriving

    def put_for_channel(self, channel: str, message: Message, ack: Callable[[], None]) -> None:
        self._put([channel], None, message, ack)

    def put_for_group(self, group: str, message: Message, ack: Callable[[], None]) -> None:
        self._put(list(self._members.get(group, ())), group, message, ack)

    def _put(
        self, channels: Iterable[str], group: str | None, message: Message, ack: Callable[[], None]
    ) -> None:
        boxes = [box for channel in channels if (box := self._box_for(channel)) is not None]
        if not boxes or self._closed:
            ack()
            return

        def release() -> None:
            self.held -= 1
            ack()

        held = Held(message, group, self._loop.time(), len(boxes), release)
        self.held += 1
        for box in boxes:
            box.put(held)
        if self._sweep_timer is None:
            self._sweep_soon()

    def _box_for(self, channel: str) -> Mailbox | None:
        box = self._boxes.get(channel)
        if box is None:
            box = self._boxes[channel] = Mailbox()
        elif box.deaf:
            self.dropped += 1
            if self._loop.time() - box.read_at > self._abandoned_after:
                self._abandon(channel)
            return None
        return box

    # Freeing places

    def _sweep(self) -> None:
        now = self._loop.time()
        full = self.held >= self._capacity
        if full:
            fullest = max(self._boxes, key=lambda channel: len(self._boxes[channel].items), default="none")
            self._say("full", "All %d places for messages are taken, most by %s", self._capacity, fullest)
        # If the sweep is late, the loop was blocked, and no reader could read.
        relieve = full and now - self._sweep_due < RELIEF_AFTER / 2
        for channel, box in list(self._boxes.items()):
            waiting = len(box.items)
            if relieve and waiting and not box.readers and now - box.read_at > RELIEF_AFTER:
                box.deaf = True
                self._drop(channel, lambda held: True)
            else:
                self._drop(channel, lambda held: now - held.since > self._expiry)
            if waiting and now - box.read_at > self._abandoned_after:
                self._abandon(channel)
            elif not box.items and not box.readers and channel not in self._memberships:
                del self._boxes[channel]
        self._sweep_timer = None
        if self.held:
            self._sweep_soon()

    def _sweep_soon(self) -> None:
        self._sweep_due = self._loop.time() + SWEEP_EVERY
        self._sweep_timer = self._loop.call_at(self._sweep_due, self._sweep)

    def _drop(self, channel: str, condition: Callable[[Held], bool]) -> None:
        count = self._take_out(self._boxes[channel], condition)
        if count:
            self.dropped += count
            self._say("dropped", "Dropped %d messages, not read in time, for channel %s", count, channel)

    def _take_out(self, box: Mailbox, condition: Callable[[Held], bool]) -> int:
        gone = [held for held in box.items if condition(held)]
        if gone:
            keep = [held for held in box.items if not condition(held)]
            box.items.clear()
            box.items.extend(keep)
            for held in gone:
                held.taken()
        return len(gone)

    def _abandon(self, channel: str) -> None:
        logger.warning(
            "Forgetting channel %s: it has messages and was not read for %.0f s. Its consumer must have died"
            " without leaving its groups; use TidyConsumer",
            channel,
            self._abandoned_after,
        )
        self._on_abandoned(channel)

    def _say(self, kind: str, text: str, *arguments: Any) -> None:
        now = self._loop.time()
        if now - self._said.get(kind, -REMIND_EVERY) >= REMIND_EVERY:
            self._said[kind] = now
            logger.warning(text, *arguments)

    # Groups

    @property
    def groups(self) -> Iterable[str]:
        """The groups with a member in this process."""
        return self._members.keys()

    def join(self, group: str, channel: str) -> bool:
        """Add a member. Returns whether it is new."""
        members = self._members.setdefault(group, {})
        new = channel not in members
        members[channel] = None
        self._memberships.setdefault(channel, set()).add(group)
        return new

    def leave(self, group: str, channel: str) -> None:
        members = self._members.get(group)
        if members is None or channel not in members:
            return
        del members[channel]
        if not members:
            del self._members[group]
        memberships = self._memberships[channel]
        memberships.remove(group)
        if not memberships:
            del self._memberships[channel]
        box = self._boxes.get(channel)
        if box is not None:
            self._take_out(box, lambda held: held.group == group)
            if not memberships and not box.items and not box.readers:
                del self._boxes[channel]

    def forget(self, channel: str) -> list[str]:
        """Drop the channel's messages and memberships. Returns its groups."""
        groups = list(self._memberships.get(channel, ()))
        for group in groups:
            self.leave(group, channel)
        box = self._boxes.get(channel)
        if box is not None:
            self._take_out(box, lambda held: True)
            if not box.readers:
                del self._boxes[channel]
        return groups
