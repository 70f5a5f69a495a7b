"""A Channels worker that finishes what it has in hand, and that knows whether it works (pulse.py)."""

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

from .pulse import PING, Pulse

logger = logging.getLogger(__name__)

PAST_HELP = 70  # EX_SOFTWARE


class GracefulWorker(Worker):
    """Handles one message at a time per channel, and acknowledges it when the application comes for the next.

    So a message whose worker dies is given to another worker; one whose handler raises is not given out
    again. On SIGTERM or SIGINT it takes no more, lets the handlers finish for at most `stop_timeout` seconds,
    and returns.
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
        hands = [_Hand(self.application, self.channel_layer, channel) for channel in self.channels]
        tasks = [hand.task for hand in hands]
        pulse = Pulse(self.channel_layer, hands, alive_file=self._alive_file, busy_limit=self._busy_limit)
        for hand in hands:
            hand.on_change = pulse.heard
        beating = loop.create_task(pulse.run())
        stopping: asyncio.Task[Any] = loop.create_task(stop.wait())
        try:
            await asyncio.wait([*tasks, beating, stopping], return_when=asyncio.FIRST_COMPLETED)
            if beating.done() and not stopping.done():
                _die(beating)
            beating.cancel()
            await self._finish(hands)
            for task in tasks:
                if task.done() and not task.cancelled():
                    task.result()  # a worker that cannot go on says so by its exit code
        finally:
            for task in [*tasks, beating, stopping]:
                task.cancel()
            await asyncio.gather(*tasks, beating, stopping, return_exceptions=True)
            close = getattr(self.channel_layer, "close", None)
            if close is not None:
                await close()

    async def _finish(self, hands: list[_Hand]) -> None:
        for hand in hands:
            hand.stop()
        busy = [hand for hand in hands if not hand.idle.is_set()]
        if not busy:
            return
        logger.info("Stopping when %d messages in hand are dealt with", len(busy))
        idle = [asyncio.ensure_future(hand.idle.wait()) for hand in busy]
        _, late = await asyncio.wait(idle, timeout=self._stop_timeout)
        for task in late:
            task.cancel()
        if late:
            logger.warning("%d messages took longer than %g s; they go back", len(late), self._stop_timeout)


class _Hand:
    """What works on one channel: an application instance after another, a message after another."""

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
        """Whether there is a message in hand."""
        return not self.idle.is_set()

    def stop(self) -> None:
        """Take no more messages."""
        self._stopping = True
        if self.idle.is_set():
            self.task.cancel()

    async def _work(self) -> None:
        while True:
            # The first message is waited for here, so that an application that fails at once doesn't spin.
            self._next = await self._take()
            try:
                await self._application(
                    {"type": "channel", "channel": self.channel}, self._receive, _send_nothing
                )
            except Exception as error:
                logger.error(
                    "Exception inside application: %s\n%s",
                    error,
                    "".join(traceback.format_tb(error.__traceback__)),
                )
            self._dealt_with()

    async def _receive(self) -> dict[str, Any]:
        """The application's `receive`: its coming back means that it has dealt with the one before."""
        if self._next is None:
            self._dealt_with()
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

    def _dealt_with(self) -> None:
        # Also one that an application was made for, and that it never fetched.
        if self._next is not None:
            self._acknowledge, self._next = self._next[1], None
        if self._acknowledge is not None:
            with contextlib.suppress(Exception):
                self._acknowledge()
            self._acknowledge = None
            self._changed()

    def _changed(self) -> None:
        self.changed_at = asyncio.get_running_loop().time()
        self.on_change()


def _die(beating: asyncio.Task[str]) -> None:
    """At once: an orderly end would wait for the handler that is stuck."""
    logger.critical("Exiting: %s", beating.result())
    logging.shutdown()
    os._exit(PAST_HELP)


async def _send_nothing(message: Any) -> None:
    raise RuntimeError("a worker has nobody to send to; use the channel layer")
