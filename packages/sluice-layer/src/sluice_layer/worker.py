"""A Channels worker that finishes its current messages before it stops, with a self-check (self_check.py)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import traceback
from collections.abc import Callable
from typing import Any

from asgiref.compatibility import guarantee_single_callable
from channels.worker import Worker

from . import metrics
from .self_check import PING, SelfCheck

logger = logging.getLogger(__name__)

EX_SOFTWARE = 70  # of sysexits.h: the worker can't recover


class GracefulWorker(Worker):
    """Handles one message at a time per channel. Acknowledges it when the application asks for the next one.

    So if a worker dies, its message goes to another worker. If a handler raises, its message is not delivered
    again. On SIGTERM or SIGINT the worker takes no more messages, gives its handlers `stop_timeout` seconds
    to finish, and returns.
    """

    def __init__(
        self,
        application: Any,
        channels: list[str],
        channel_layer: Any,
        *,
        alive_file: str,
        stop_timeout: float,
        busy_limit: float = 600.0,
    ) -> None:
        super().__init__(application, channels, channel_layer)
        self._alive_file = alive_file
        self._stop_timeout = stop_timeout
        self._busy_limit = busy_limit

    def run(self) -> None:
        asyncio.run(self.arun())

    async def arun(self) -> None:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        readers = [_ChannelReader(self.application, self.channel_layer, channel) for channel in self.channels]
        tasks = [reader.task for reader in readers]
        self_check = SelfCheck(
            self.channel_layer, readers, alive_file=self._alive_file, busy_limit=self._busy_limit
        )
        for reader in readers:
            reader.on_change = self_check.heard
        checking = loop.create_task(self_check.run())
        stopping: asyncio.Task[Any] = loop.create_task(stop.wait())
        try:
            await asyncio.wait([*tasks, checking, stopping], return_when=asyncio.FIRST_COMPLETED)
            if checking.done() and not stopping.done():
                _exit(checking)
            checking.cancel()
            await self._finish(readers)
            for task in tasks:
                if task.done() and not task.cancelled():
                    task.result()  # raises the error of a reader that failed, for the exit status
        finally:
            for task in [*tasks, checking, stopping]:
                task.cancel()
            await asyncio.gather(*tasks, checking, stopping, return_exceptions=True)
            close = getattr(self.channel_layer, "close", None)
            if close is not None:
                await close()

    async def _finish(self, readers: list[_ChannelReader]) -> None:
        for reader in readers:
            reader.stop()
        busy = [reader for reader in readers if reader.busy]
        if not busy:
            return
        logger.info("Stopping: waiting for %d unfinished messages", len(busy))
        idle = [asyncio.ensure_future(reader.idle.wait()) for reader in busy]
        _, late = await asyncio.wait(idle, timeout=self._stop_timeout)
        for task in late:
            task.cancel()
        if late:
            logger.warning(
                "%d messages took longer than %g s; they go back to the queue", len(late), self._stop_timeout
            )


class _ChannelReader:
    """Reads one channel: one message at a time, with one instance of the application at a time."""

    def __init__(self, application: Any, channel_layer: Any, channel: str) -> None:
        self._application = guarantee_single_callable(application)
        self._channel_layer = channel_layer
        self.channel = channel
        self.changed_at = asyncio.get_running_loop().time()
        self.on_change: Callable[[], None] = lambda: None
        self._acknowledge: Callable[[], None] | None = None
        self._next: tuple[dict[str, Any], Callable[[], None]] | None = None
        self._stopping = False
        self.idle = asyncio.Event()
        self.task = asyncio.get_running_loop().create_task(self._work())

    @property
    def busy(self) -> bool:
        """Whether it is handling a message."""
        return not self.idle.is_set()

    def stop(self) -> None:
        """Take no more messages."""
        self._stopping = True
        if self.idle.is_set():
            self.task.cancel()

    async def _work(self) -> None:
        while True:
            # Start no application before there is a message: one that fails at once would make this loop
            # spin.
            self._next = await self._take()
            try:
                await self._application(
                    {"type": "channel", "channel": self.channel}, self._receive, _send_nothing
                )
            except Exception as error:
                metrics.failed[self.channel] += 1
                logger.error(
                    "Exception inside application: %s\n%s",
                    error,
                    "".join(traceback.format_tb(error.__traceback__)),
                )
            self._finished()

    async def _receive(self) -> dict[str, Any]:
        """The application's `receive`. A second call means that the previous message is finished."""
        if self._next is None:
            self._finished()
            self._next = await self._take()
        (message, self._acknowledge), self._next = self._next, None
        return message

    async def _take(self) -> tuple[dict[str, Any], Callable[[], None]]:
        self.idle.set()
        if self._stopping:
            await asyncio.get_running_loop().create_future()  # until cancelled
        while True:
            message, acknowledge = await self._receive_from_layer()
            if message.get("type") == PING:
                acknowledge()
                self._changed()
                continue
            if message.get("type"):
                self.idle.clear()
                self._changed()
                return message, acknowledge
            logger.error("Dropped a message without a type on channel %s", self.channel)
            acknowledge()

    async def _receive_from_layer(self) -> tuple[dict[str, Any], Callable[[], None]]:
        receive = getattr(self._channel_layer, "receive_unacknowledged", None)
        if receive is not None and "!" not in self.channel:
            taken: tuple[dict[str, Any], Callable[[], None]] = await receive(self.channel)
            return taken
        return await self._channel_layer.receive(self.channel), lambda: None

    def _finished(self) -> None:
        # An application may end without asking for the message for which it was started. That is finished
        # too.
        if self._next is not None:
            self._acknowledge, self._next = self._next[1], None
        if self._acknowledge is not None:
            with contextlib.suppress(Exception):
                self._acknowledge()
            self._acknowledge = None
            metrics.handled[self.channel] += 1
            metrics.seconds[self.channel] += asyncio.get_running_loop().time() - self.changed_at
            self._changed()

    def _changed(self) -> None:
        self.changed_at = asyncio.get_running_loop().time()
        self.on_change()


def _exit(checking: asyncio.Task[str]) -> None:
    """Exit at once. An orderly stop would wait for the stuck handler."""
    logger.critical("Exiting: %s", checking.result())
    logging.shutdown()
    os._exit(EX_SOFTWARE)


async def _send_nothing(message: Any) -> None:
    raise RuntimeError("a worker has no client to send to; use the channel layer")
