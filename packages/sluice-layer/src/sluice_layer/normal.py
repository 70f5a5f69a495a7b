"""Normal channels: each has a durable queue, shared by all processes that read the channel."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any

import carehare
from channels.exceptions import StopConsumer
from channels_rabbitmq.util import deserialize_message

from .errors import LayerUnavailable, explain
from .link import FIRST_DELAY, REMIND_EVERY, STABLE_AFTER, Link
from .waiting import Box
from .wire import Connection

logger = logging.getLogger(__name__)

IDLE_AFTER = 5.0  # seconds without a reader, after which fetched messages return to the queue
LONGEST_DELAY = 5.0  # seconds between attempts to read

Delivery = tuple[dict[str, Any], Callable[[], None]]


def queue_name(channel: str) -> str:
    return f"asgi.normal.{channel}"


class NormalChannel:
    """Consumes the queue of one normal channel while there is a reader."""

    def __init__(
        self, channel: str, link: Link, declare: Callable[[Connection, str], Awaitable[None]], prefetch: int
    ) -> None:
        self._queue_name = queue_name(channel)
        self._link = link
        self._declare = declare
        self._prefetch = prefetch
        self._box: Box[Delivery] = Box()
        self._unacknowledged = 0
        self._closed = False
        self._task: asyncio.Task[None] | None = None

    async def get(self) -> Delivery:
        """The next message, and the function that acknowledges it.

        If this process or its connection ends, RabbitMQ delivers unacknowledged messages again, to any
        reader.
        """
        if self._closed:
            raise StopConsumer("the channel layer is closed")
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._consume_while_read())
        message, ack = await self._box.get()
        self._unacknowledged += 1

        def done() -> None:
            nonlocal ack
            ack, was = _nothing, ack
            if was is not _nothing:
                self._unacknowledged -= 1
                was()

        return message, done

    def close(self) -> None:
        self._closed = True
        self._box.close(lambda: StopConsumer("the channel layer was closed"))
        if self._task is not None:
            self._task.cancel()

    def _deliver(self, body: bytes, ack: Callable[[], None]) -> None:
        try:
            message = deserialize_message(body).data
        except Exception as error:
            logger.error(
                "Dropped a message of %d bytes in %s: %s", len(body), self._queue_name, type(error).__name__
            )
            ack()
        else:
            self._box.put((message, ack))

    async def _consume_while_read(self) -> None:
        loop = asyncio.get_running_loop()
        delay, said_at = FIRST_DELAY, -REMIND_EVERY
        while True:
            began = loop.time()
            try:
                if await self._consume():
                    return
            except (carehare.ConnectionClosed, LayerUnavailable):
                pass  # the link logs it, and reconnects
            except Exception as error:
                if loop.time() - said_at >= REMIND_EVERY:
                    said_at = loop.time()
                    logger.error("Cannot read %s: %s; trying again", self._queue_name, explain(error))
            if loop.time() - began >= STABLE_AFTER:
                delay = FIRST_DELAY
            await asyncio.sleep(random.uniform(0, delay))
            delay = min(delay * 2, LONGEST_DELAY)

    async def _consume(self) -> bool:
        """Consume until there is no reader, then return True.

        Raises if the queue or the connection is gone.
        """
        connection = await self._link.connection()
        await self._declare(connection, self._queue_name)
        subscription = connection.subscribe(self._queue_name, prefetch=self._prefetch, deliver=self._deliver)
        try:
            while not subscription.closed.done():
                if self._idle():
                    return True
                await asyncio.wait({subscription.closed}, timeout=IDLE_AFTER / 2)
            subscription.closed.result()
            raise LookupError("the queue was deleted")
        finally:
            self._box.items.clear()  # RabbitMQ delivers them again
            subscription.close()

    def _idle(self) -> bool:
        box = self._box
        return (
            not box.readers
            and not self._unacknowledged
            and asyncio.get_running_loop().time() - box.read_at > IDLE_AFTER
        )


def _nothing() -> None:
    pass
