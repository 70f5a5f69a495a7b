"""Whether a worker works: every few seconds it sends a message to each channel that it serves.

Workers that serve the same channel share its messages, so a ping tells about whoever gets it; each sends as
many as it should get. Only round trips touch the file that a health check looks at, and what excuses their
absence: a broker that is down, a handler at work, a process that stood still as a whole.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from typing import Any, Protocol

from channels.exceptions import ChannelFull

from .waiting import within

logger = logging.getLogger(__name__)

PING = "sluice_layer.ping"  # the type of a message that no application sees
PING_EVERY = 5.0  # seconds
PING_TIMEOUT = 3.0  # seconds for RabbitMQ to take one
FAILED_PINGS = 3  # in a row: then a worker that isn't busy is deaf
STOOD_STILL = 2 * PING_EVERY  # seconds: a pause and the ping after it never take so long


class Hand(Protocol):
    """What works on one channel."""

    channel: str
    changed_at: float  # when it last took a message or was done with one, pings included; the loop's time

    @property
    def busy(self) -> bool:
        """Whether it has a message in hand."""


class Pulse:
    """Sends the pings and judges by what came back. `heard()` is to be called whenever a hand has changed.

    A handler may take `busy_limit` seconds for a message before its worker counts as stuck.
    """

    def __init__(
        self, channel_layer: Any, hands: Sequence[Hand], *, alive_file: str, busy_limit: float
    ) -> None:
        self._channel_layer = channel_layer
        self._hands = hands
        self._alive_file = alive_file
        self._busy_limit = busy_limit
        self._loop = asyncio.get_running_loop()
        self._touched_at = self._loop.time()
        self._excused_at = 0.0  # when the broker was last known to be down, or the process had stood still

    async def run(self) -> str:
        """Returns only when the worker is past help; in words, why."""
        awake_at = self._loop.time()
        while True:
            sent = await self._ping()
            if self._loop.time() - awake_at > STOOD_STILL:
                # Suspended, moved to another machine, or its loop was kept: nobody listened.
                self._excuse()
            elif not sent and not await self._broker_works():
                self._excuse()
            elif self._deaf():
                if not await self._broker_works():
                    self._excuse()
                elif deaf := self._deaf():  # still: what came meanwhile counts
                    return self._why(deaf[0])
            self.heard()
            awake_at = self._loop.time()
            await asyncio.sleep(PING_EVERY)

    def heard(self) -> None:
        """Touch the file if every channel's hand was heard of since it was last touched."""
        if all(
            hand.changed_at > self._touched_at or (hand.busy and not self._is_deaf(hand))
            for hand in self._hands
        ):
            self._touch()

    def _deaf(self) -> list[Hand]:
        return [hand for hand in self._hands if self._is_deaf(hand)]

    def _is_deaf(self, hand: Hand) -> bool:
        limit = self._busy_limit if hand.busy else FAILED_PINGS * PING_EVERY
        return self._loop.time() - max(hand.changed_at, self._excused_at) > limit

    def _why(self, hand: Hand) -> str:
        seconds = self._loop.time() - hand.changed_at
        if hand.busy:
            return f"a message of channel {hand.channel} has been in hand for {seconds:.0f} s"
        return f"nothing has come on channel {hand.channel} for {seconds:.0f} s, though RabbitMQ works"

    def _excuse(self) -> None:
        self._excused_at = self._loop.time()
        self._touch()

    async def _ping(self) -> bool:
        """Whether a ping was taken for each channel, or there was no room for one."""
        sent = await asyncio.gather(*(self._send(hand.channel) for hand in self._hands))
        return all(sent)

    async def _send(self, channel: str) -> bool:
        sending = self._channel_layer.send(channel, {"type": PING})
        try:
            await within(PING_TIMEOUT, sending, lambda: "no answer in time")
        except ChannelFull:
            pass  # then there are other messages to be heard of by
        except Exception as error:  # a layer may raise anything
            logger.debug("no ping to %s: %s", channel, error)
            return False
        return True

    async def _broker_works(self) -> bool:
        """Whether a fresh connection works. A layer that can't tell is believed to be right about its own."""
        works = getattr(self._channel_layer, "broker_works", None)
        return works is not None and bool(await works())

    def _touch(self) -> None:
        self._touched_at = self._loop.time()
        if not self._alive_file:
            return
        try:
            # Not through a symbolic link: the default lies in a directory that others may write to.
            handle = os.open(self._alive_file, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            try:
                os.utime(handle)
            finally:
                os.close(handle)
        except OSError as error:
            logger.error("Cannot touch %s: %s", self._alive_file, error.strerror)
