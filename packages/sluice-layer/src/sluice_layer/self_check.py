"""The self-check of a worker: every few seconds it sends a ping, a message to each channel that it serves.

Workers that serve the same channel share its messages, so a ping proves that the worker works that receives
it. Each worker sends as many pings as it can expect to receive. It touches the file of the health check after
a round trip. It also does so if pings are missing for a known reason: RabbitMQ is down, a handler is busy, or
the process was suspended.
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
PING_TIMEOUT = 3.0  # seconds for RabbitMQ to accept one
FAILED_PINGS = 3  # in a row: then an idle worker no longer receives
STOPPED_FOR = 2 * PING_EVERY  # seconds; one round of the loop takes less, unless the process was suspended


class Reader(Protocol):
    """Reads one channel and handles its messages."""

    channel: str
    changed_at: float  # loop time at which it last took or finished a message, pings included

    @property
    def busy(self) -> bool:
        """Whether it is handling a message."""


class SelfCheck:
    """Sends pings, and decides whether the worker works. Call `heard()` each time a reader has changed.

    A worker is stuck if a handler takes more than `busy_limit` seconds for one message.
    """

    def __init__(
        self, channel_layer: Any, readers: Sequence[Reader], *, alive_file: str, busy_limit: float
    ) -> None:
        self._channel_layer = channel_layer
        self._readers = readers
        self._alive_file = alive_file
        self._busy_limit = busy_limit
        self._loop = asyncio.get_running_loop()
        self._touched_at = self._loop.time()
        self._excused_at = 0.0  # when RabbitMQ was last known to be down, or the process had been stopped

    async def run(self) -> str:
        """Check until the worker is beyond recovery, then return the reason, as a clause."""
        awake_at = self._loop.time()
        while True:
            sent = await self._ping()
            if self._loop.time() - awake_at > STOPPED_FOR:
                # The process was suspended or moved to another machine, or its loop was blocked.
                self._excuse()
            elif not sent and not await self._broker_works():
                self._excuse()
            elif self._deaf():
                if not await self._broker_works():
                    self._excuse()
                elif deaf := self._deaf():  # again, since a message may have arrived meanwhile
                    return self._why(deaf[0])
            self.heard()
            awake_at = self._loop.time()
            await asyncio.sleep(PING_EVERY)

    def heard(self) -> None:
        """Touch the file if every reader has received something since the last touch, or is busy."""
        if all(
            reader.changed_at > self._touched_at or (reader.busy and not self._is_deaf(reader))
            for reader in self._readers
        ):
            self._touch()

    def _deaf(self) -> list[Reader]:
        return [reader for reader in self._readers if self._is_deaf(reader)]

    def _is_deaf(self, reader: Reader) -> bool:
        limit = self._busy_limit if reader.busy else FAILED_PINGS * PING_EVERY
        return self._loop.time() - max(reader.changed_at, self._excused_at) > limit

    def _why(self, reader: Reader) -> str:
        seconds = self._loop.time() - reader.changed_at
        if reader.busy:
            return f"a handler has worked on a message of channel {reader.channel} for {seconds:.0f} s"
        return f"channel {reader.channel} received nothing for {seconds:.0f} s, although RabbitMQ works"

    def _excuse(self) -> None:
        self._excused_at = self._loop.time()
        self._touch()

    async def _ping(self) -> bool:
        """Whether RabbitMQ accepted a ping for each channel, or its queue was full."""
        sent = await asyncio.gather(*(self._send(reader.channel) for reader in self._readers))
        return all(sent)

    async def _send(self, channel: str) -> bool:
        sending = self._channel_layer.send(channel, {"type": PING})
        try:
            await within(PING_TIMEOUT, sending, lambda: "no answer in time")
        except ChannelFull:
            pass  # the messages that fill the queue are as good as a ping
        except Exception as error:  # a layer may raise anything
            logger.debug("No ping to %s: %s", channel, error)
            return False
        return True

    async def _broker_works(self) -> bool:
        """Whether a new connection works. For a layer without such a test: no."""
        works = getattr(self._channel_layer, "broker_works", None)
        return works is not None and bool(await works())

    def _touch(self) -> None:
        self._touched_at = self._loop.time()
        if not self._alive_file:
            return
        try:
            # O_NOFOLLOW: the default is in /tmp, where anybody may create a symbolic link.
            handle = os.open(self._alive_file, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            try:
                os.utime(handle)
            finally:
                os.close(handle)
        except OSError as error:
            logger.error("Cannot touch %s: %s", self._alive_file, error.strerror)
