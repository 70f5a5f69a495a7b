"""One event loop's part of the layer: its two connections, its queue, its mailboxes.

There are two connections, because RabbitMQ stops reading from a publishing connection during an alarm. On the
other one, channels can still join groups and messages are acknowledged. Each is opened at first use, so a
loop that only sends has no queue.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import string
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import carehare
from channels.exceptions import ChannelFull, StopConsumer
from channels_rabbitmq.util import ChannelRecipient, deserialize_message
from pamqp.commands import Exchange, Queue

from .errors import LayerRefused, LayerUnavailable, NotSent, Unroutable, explain, is_refusal
from .link import Link, LinkSettings
from .mailboxes import Mailboxes
from .normal import Delivery, NormalChannel, queue_name
from .waiting import within
from .wire import Connection

logger = logging.getLogger(__name__)

BIND_CHUNK = 256


@dataclass(frozen=True)
class EndpointSettings:
    """The options of the layer: README.md. Times are in seconds."""

    link: LinkSettings
    operation_timeout: float
    local_capacity: int
    remote_capacity: int | None
    expiry: float | None
    local_expiry: float
    abandoned_after: float
    groups_exchange: str
    normal_prefetch: int


class Endpoint:
    """The connections, the queue and the mailboxes of one event loop."""

    def __init__(self, settings: EndpointSettings) -> None:
        self._settings = settings
        self.queue_name = f"channels_{random_letters(12)}"
        self.closed = False
        self.mailboxes = Mailboxes(
            capacity=settings.local_capacity,
            expiry=settings.local_expiry,
            abandoned_after=settings.abandoned_after,
            on_abandoned=self.forget_channel,
        )
        self.inbox = Link("receiving", settings.link, prepare=self._prepare_inbox, serve=self._serve_inbox)
        self.outbox = Link("sending", settings.link, prepare=self._declare_exchange, serve=_serve_outbox)
        self._normals: dict[str, NormalChannel] = {}
        self._declared: tuple[Connection, set[str]] | None = None
        self._bound_on: Connection | None = None
        self._bound: set[str] = set()  # the groups bound on that connection
        self._binding: dict[str, asyncio.Task[None]] = {}
        self._unbinding: set[asyncio.Task[None]] = set()
        self._warned_about: set[str] = set()

    # The layer's operations, each with a time limit

    async def publish(self, body: bytes, *, exchange_name: str, routing_key: str, what: str) -> None:
        """Publish a message.

        Raises ChannelFull if a queue is full, LayerUnavailable for any other failure.
        """
        await self._bounded(self.outbox, what, self._publish(body, exchange_name, routing_key))

    async def publish_normal(self, body: bytes, *, channel: str, what: str) -> None:
        """Publish to a normal channel's queue, which is declared if it is missing. Raises as `publish`."""
        await self._bounded(self.outbox, what, self._publish_normal(body, queue_name(channel)))

    async def group_add(self, group: str, channel: str, *, what: str) -> None:
        """Join a group. Returns when RabbitMQ has bound it, so that every later message arrives."""
        new = self.mailboxes.join(group, channel)
        try:
            await self._bounded(self.inbox, what, self._settle(group))
        except BaseException:
            if new:
                self._leave(group, channel)
            raise

    async def group_discard(self, group: str, channel: str, *, what: str) -> None:
        """Leave a group.

        Takes effect in this process at once. RabbitMQ unbinds the group if it is reachable.
        """
        unbinding = self._leave(group, channel)
        if unbinding is not None:
            await asyncio.wait({unbinding}, timeout=self._settings.operation_timeout)

    def forget_channel(self, channel: str) -> None:
        """Drop the messages and memberships of a channel that has no reader any more. Does not wait."""
        for group in self.mailboxes.forget(channel):
            self._unbind_if_unused(group)

    def normal(self, channel: str) -> NormalChannel:
        normal = self._normals.get(channel)
        if normal is None:
            normal = self._normals[channel] = NormalChannel(
                channel, self.inbox, self._declare_normal, self._settings.normal_prefetch
            )
        return normal

    async def receive_normal(self, channel: str) -> Delivery:
        return await self.normal(channel).get()

    async def close(self) -> None:
        self.closed = True
        self.mailboxes.close()
        for normal in self._normals.values():
            normal.close()
        await asyncio.gather(self.inbox.close(), self.outbox.close())

    # Publishing

    async def _publish(
        self, body: bytes, exchange_name: str, routing_key: str, durable: bool = False
    ) -> None:
        if self.inbox.started and self.inbox.connects == 0:
            await self.inbox.connection()  # declares our queue, to which the receiver may reply
        while True:
            connection = await self.outbox.connection()
            try:
                await connection.publish_confirmed(
                    body, exchange_name=exchange_name, routing_key=routing_key, durable=durable
                )
                return
            except NotSent:
                continue
            except carehare.ServerSentNack:
                raise ChannelFull from None
            except carehare.ConnectionClosed:
                # Sending it again could deliver it twice.
                raise LayerUnavailable(
                    "the connection was lost before RabbitMQ confirmed it; it may or may not arrive"
                ) from None
            except carehare.ChannelClosedByServer as error:
                if is_refusal(error):
                    raise LayerRefused(explain(error)) from None
                connection.abort(error)  # the exchange is gone: the next connection declares it
                raise LayerUnavailable(explain(error)) from None

    async def _publish_normal(self, body: bytes, queue: str) -> None:
        for _ in range(2):
            connection = await self.outbox.connection()
            if self._declared is None or self._declared[0] is not connection:
                self._declared = (connection, set())
            declared = self._declared[1]
            try:
                if queue not in declared:
                    await self._declare_normal(connection, queue)
                    declared.add(queue)
                return await self._publish(body, "", queue, durable=True)
            except Unroutable:
                declared.discard(queue)  # it was deleted meanwhile
            except carehare.ChannelClosedByServer as error:
                raise LayerRefused(explain(error)) from None
        raise LayerUnavailable("RabbitMQ returned the message twice: something deletes its queue")

    # Groups

    async def _settle(self, group: str) -> None:
        """Return when the binding matches the membership. Only this method binds and unbinds."""
        while True:
            connection = await self.inbox.connection()
            task = self._binding.get(group)
            if task is None:
                if (group in self.mailboxes.groups) == (group in self._bound):
                    return
                # A task of its own: it may take longer than its caller waits.
                task = asyncio.get_running_loop().create_task(self._bind_or_unbind(connection, group))
                self._binding[group] = task
            await asyncio.wait({task})
            error = task.exception()
            if isinstance(error, carehare.ChannelClosedByServer):
                raise LayerRefused(explain(error))
            if error is not None and not isinstance(error, carehare.ConnectionClosed):
                raise error

    async def _bind_or_unbind(self, connection: Connection, group: str) -> None:
        try:
            bind = group in self.mailboxes.groups
            command = Queue.Bind if bind else Queue.Unbind
            await connection.call(
                command(queue=self.queue_name, exchange=self._settings.groups_exchange, routing_key=group)
            )
            if connection is self._bound_on:
                (self._bound.add if bind else self._bound.discard)(group)
        finally:
            del self._binding[group]

    def _leave(self, group: str, channel: str) -> asyncio.Task[None] | None:
        self.mailboxes.leave(group, channel)
        return self._unbind_if_unused(group)

    def _unbind_if_unused(self, group: str) -> asyncio.Task[None] | None:
        # Without a connection there is no binding; the next connection binds only groups with members.
        if self.closed or not self.inbox.up or group in self.mailboxes.groups:
            return None

        async def unbind() -> None:
            try:
                await within(
                    self._settings.operation_timeout, self._settle(group), lambda: "no answer in time"
                )
            except Exception as error:  # harmless: the messages of a needless binding are dropped
                logger.debug("Could not unbind group %s: %s", group, explain(error))

        task = asyncio.get_running_loop().create_task(unbind())
        self._unbinding.add(task)  # the loop keeps no reference
        task.add_done_callback(self._unbinding.discard)
        return task

    # The two connections

    async def _prepare_inbox(self, connection: Connection) -> None:
        settings = self._settings
        await self._declare_exchange(connection)
        declare = Queue.Declare(queue=self.queue_name, exclusive=True, arguments=self._queue_arguments())
        await self._step(connection.call(declare))
        groups = list(self.mailboxes.groups)
        self._bound_on, self._bound = connection, set(groups)
        for start in range(0, len(groups), BIND_CHUNK):
            await self._step(self._bind_all(connection, groups[start : start + BIND_CHUNK]))
        self._subscription = connection.subscribe(
            self.queue_name, prefetch=settings.local_capacity, deliver=self._deliver
        )

    async def _bind_all(self, connection: Connection, groups: Iterable[str]) -> None:
        exchange = self._settings.groups_exchange
        results = await asyncio.gather(
            *(
                connection.call(Queue.Bind(queue=self.queue_name, exchange=exchange, routing_key=group))
                for group in groups
            ),
            return_exceptions=True,
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _serve_inbox(self, connection: Connection) -> None:
        for group in self._bound.difference(self.mailboxes.groups):
            self._unbind_if_unused(group)  # its last member left during the set-up
        subscription = self._subscription
        await asyncio.wait({connection.closed, subscription.closed}, return_when=asyncio.FIRST_COMPLETED)
        if connection.closed.done():
            connection.closed.result()
        elif subscription.closed.done():
            subscription.closed.result()
            raise ConnectionError("our queue was deleted")

    async def _declare_exchange(self, connection: Connection) -> None:
        declare = Exchange.Declare(exchange=self._settings.groups_exchange, exchange_type="direct")
        await self._step(connection.call(declare))

    async def _declare_normal(self, connection: Connection, queue: str) -> None:
        declare = Queue.Declare(queue=queue, durable=True, arguments=self._queue_arguments())
        try:
            await self._step(connection.call(declare))
        except carehare.ChannelClosedByServer as error:
            if error.reply_code != 406:
                raise
            # 406: the queue exists with another capacity or expiry. Deleting it would lose its messages.
            if queue not in self._warned_about:
                self._warned_about.add(queue)
                logger.warning(
                    "Queue %s keeps its old remote_capacity and expiry until it is deleted",
                    queue,
                )
            await self._step(connection.call(Queue.Declare(queue=queue, passive=True)))

    def _queue_arguments(self) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        if self._settings.remote_capacity is not None:
            arguments["x-max-length"] = self._settings.remote_capacity
            arguments["x-overflow"] = "reject-publish"
        if self._settings.expiry is not None:
            arguments["x-message-ttl"] = int(self._settings.expiry * 1000)
        return arguments

    async def _step(self, operation: Any) -> None:
        seconds = self._settings.link.connect_timeout
        await within(seconds, operation, lambda: f"no answer within {seconds:g} s")

    def _deliver(self, body: bytes, ack: Callable[[], None]) -> None:
        try:
            recipient, message = deserialize_message(body)
            if not isinstance(recipient[0], str):
                raise TypeError("a name that is not text")
        except Exception as error:  # no message may stop the reader
            logger.error(
                "Dropped a message of %d bytes: not in Channels' format (%s)", len(body), type(error).__name__
            )
            ack()
            return
        if isinstance(recipient, ChannelRecipient):
            self.mailboxes.put_for_channel(recipient.channel, message, ack)
        else:
            self.mailboxes.put_for_group(recipient.group, message, ack)

    async def _bounded(self, link: Link, what: str, operation: Any) -> None:
        if self.closed:
            operation.close()
            raise StopConsumer("the channel layer is closed")
        seconds = self._settings.operation_timeout
        began = asyncio.get_running_loop().time()

        def why() -> str:
            trouble = link.trouble
            if trouble is None and link is self.outbox:
                link.suspect(began)
            return (
                f"no answer within {seconds:g} s"
                if trouble is None
                else f"{trouble}; gave up after {seconds:g} s"
            )

        try:
            await within(seconds, operation, why)
        except LayerUnavailable as error:
            kind = LayerRefused if link.refused else type(error)
            raise kind(f"{what} failed: {error}") from None


async def _serve_outbox(connection: Connection) -> None:
    await asyncio.wait({connection.closed})
    connection.closed.result()


def random_letters(count: int) -> str:
    return "".join(secrets.choice(string.ascii_letters) for _ in range(count))
