"""The AMQP connection: carehare's, but with calls that may be cancelled.

carehare completes its futures without checking that they are still pending. If one was cancelled, for example
by a time-out, carehare raises in the middle of the connection's clean-up. So nothing here awaits such a
future directly: see `outcome`.
"""

from __future__ import annotations

import asyncio
import logging
import platform
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import carehare
import pamqp.base
import pamqp.body
import pamqp.commands
import pamqp.header
from carehare._channel import Channel
from carehare._connection import url_path_to_vhost
from carehare._consume_channel import ConsumeChannel
from carehare._exchange_channel import ExchangeChannel
from carehare._frame_writer import FrameWriter
from carehare._protocol import Protocol as CarehareProtocol

from .errors import OLDEST_RABBITMQ, BrokerTooOld, NotSent, Unroutable

logger = logging.getLogger(__name__)

MAX_CALLS = 1000  # declarations and bindings in flight
MAX_UNCONFIRMED = 1000  # publishes in flight; this limits the buffer while RabbitMQ stalls

# At DEBUG carehare logs every frame, including payloads and the password in the handshake. To get that,
# configure the loggers of its modules (carehare._protocol, ...).
if logging.getLogger("carehare").level == logging.NOTSET:
    logging.getLogger("carehare").setLevel(logging.INFO)


@dataclass(frozen=True)
class Address:
    """RabbitMQ's address and our account. `str` and `repr` never contain the password."""

    host: str
    port: int
    vhost: str
    username: str
    password: str = field(repr=False)
    tls: bool = False

    @classmethod
    def parse(cls, url: str) -> Address:
        """Parse `amqp://user:password@host:port/vhost`, each part percent-encoded. Raises ValueError."""
        try:
            parts = urlsplit(url)
            port = parts.port
            vhost = url_path_to_vhost(parts.path)
        except ValueError:
            # Not `from error`: its text may contain the password.
            raise ValueError(
                "host is not a valid URL: it must be amqp://user:password@host:port/vhost,"
                " with the special characters of each part percent-encoded"
            ) from None
        if parts.scheme not in ("amqp", "amqps") or not parts.hostname:
            raise ValueError(
                "host must be a URL like amqp://user:password@host:5672/vhost, or amqps:// for TLS"
            )
        tls = parts.scheme == "amqps"
        return cls(
            host=parts.hostname,
            port=port or (5671 if tls else 5672),
            vhost=vhost,
            username=unquote(parts.username) if parts.username is not None else "guest",
            password=unquote(parts.password) if parts.password is not None else "guest",
            tls=tls,
        )

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"RabbitMQ at {host}:{self.port} (vhost {self.vhost}, user {self.username})"


async def outcome(future: asyncio.Future[Any]) -> Any:
    """Await a carehare future without ever cancelling it. Returns its result or raises its exception."""
    await asyncio.wait({future})
    return future.result()


class Connection(carehare.Connection):
    """One connection. After `abort` or a failure it is `lost` and can't be used again."""

    def __init__(self, address: Address, *, ssl_context: ssl.SSLContext | None, heartbeat: int) -> None:
        self._address = address
        self._ssl_context = ssl_context
        self._heartbeat = heartbeat
        self._protocol: Protocol

    async def connect(self) -> None:
        """Connect, handshake included. It has no time limit: the caller sets one, and may cancel it."""
        address = self._address
        transport, protocol = await asyncio.get_running_loop().create_connection(
            lambda: Protocol(
                username=address.username,
                password=address.password,
                virtual_host=address.vhost,
                heartbeat=self._heartbeat,
            ),
            host=address.host,
            port=address.port,
            ssl=(self._ssl_context or True) if address.tls else None,
            happy_eyeballs_delay=0.25,
        )
        self._protocol = protocol
        try:
            await outcome(self._protocol.open)
        except BaseException:
            transport.abort()
            raise
        _retrieve(self.closed)
        self._calls = asyncio.Semaphore(MAX_CALLS)
        self._unconfirmed = asyncio.Semaphore(MAX_UNCONFIRMED)

    @property
    def lost(self) -> bool:
        return self.closed.done() or self._protocol.ending

    @property
    def blocked(self) -> str | None:
        """The reason why RabbitMQ blocks publishers now (an alarm of memory or disk), or None."""
        return self._protocol.blocked

    @property
    def last_heard(self) -> float:
        """The loop time at which the last byte arrived."""
        return self._protocol.last_heard

    async def call(self, frame: pamqp.base.Frame) -> None:
        """Send a declaration or binding and wait for RabbitMQ's response.

        Raises carehare's ChannelClosedByServer if RabbitMQ refuses it, and ConnectionClosed.
        """
        while True:
            try:
                return await self._take(self._calls, self._protocol.command, frame)
            except carehare.ChannelClosed:
                continue  # RabbitMQ refused the previous call, and so ignored this one

    async def publish_confirmed(
        self, body: bytes, *, exchange_name: str, routing_key: str, durable: bool = False
    ) -> None:
        """Publish and wait for the confirm.

        `durable`: RabbitMQ stores the message on disk; raises Unroutable if its queue doesn't exist. Also
        raises NotSent, and carehare's ServerSentNack, ConnectionClosed (outcome unknown) and
        ChannelClosedByServer.
        """
        await self._protocol.unblocked.wait()
        await self._take(
            self._unconfirmed,
            self._protocol.publish,
            body,
            exchange_name=exchange_name,
            routing_key=routing_key,
            durable=durable,
        )

    async def _take(
        self,
        slots: asyncio.Semaphore,
        method: Callable[..., asyncio.Future[None]],
        *args: Any,
        **options: Any,
    ) -> None:
        await slots.acquire()
        try:
            if self.lost:
                raise NotSent
            future = method(*args, **options)
        except BaseException:
            slots.release()
            raise
        # Released when RabbitMQ has responded, even if the caller has given up: the call is in flight until
        # then.
        future.add_done_callback(lambda _: slots.release())
        _retrieve(future)
        await outcome(future)

    def subscribe(
        self, queue_name: str, *, prefetch: int, deliver: Callable[[bytes, Callable[[], None]], None]
    ) -> Subscription:
        """Consume `queue_name`. Calls `deliver(body, ack)` for each message, which must not raise."""
        if self.lost:
            raise carehare.ConnectionClosed
        return self._protocol.subscribe(queue_name, prefetch=prefetch, deliver=deliver)

    async def leave(self, seconds: float) -> None:
        """Close the connection in an orderly way. After `seconds`, `abort` it."""
        try:
            if not self.lost:
                self._protocol.send_close_if_allowed()
                await asyncio.wait({self.closed}, timeout=seconds)
        finally:
            self.abort()

    def abort(self, reason: Exception | None = None) -> None:
        """Close the socket at once. May be called at any time, and repeatedly."""
        protocol = getattr(self, "_protocol", None)
        if protocol is not None:
            if reason is not None and not protocol.ending:
                protocol._crash_exc = reason
            protocol.ending = True
            protocol._transport.abort()


class Protocol(CarehareProtocol):
    """carehare's protocol with corrected limits, alarms, and a handshake that fails when the peer closes."""

    def __init__(self, *, username: str, password: str, virtual_host: str, heartbeat: int) -> None:
        super().__init__(username=username, password=password, virtual_host=virtual_host)
        self._heartbeat_wanted = heartbeat
        self._loop = asyncio.get_running_loop()
        self._commands: CommandChannel | None = None
        self.ending = False
        self.blocked: str | None = None
        self.unblocked = asyncio.Event()
        self.unblocked.set()
        self.last_heard = self._loop.time()
        _retrieve(self.open)

    def data_received(self, data: bytes) -> None:
        self.last_heard = self._loop.time()
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ending = True
        self.unblocked.set()
        if exc is None and not self.open.done():
            # A FIN during the handshake, from a proxy or a booting node: carehare would fail an assertion,
            # and `open` would never complete.
            exc = ConnectionResetError("closed during the handshake")
        super().connection_lost(exc)

    def accept_frame(self, frame: Any, channel_id: int) -> None:
        if isinstance(frame, pamqp.commands.Connection.Start):
            self._accept_start(frame)
        elif isinstance(frame, pamqp.commands.Connection.Tune):
            self._accept_tune(frame)
        elif isinstance(frame, pamqp.commands.Connection.Blocked):
            self.blocked = frame.reason or "no reason given"
            self.unblocked.clear()
        elif isinstance(frame, pamqp.commands.Connection.Unblocked):
            self.blocked = None
            self.unblocked.set()
        elif isinstance(frame, pamqp.commands.Basic.Cancel):
            channel = self._channels.get(channel_id)
            if isinstance(channel, Subscription):
                channel.close()  # the queue was deleted; the caller waits for `closed` and subscribes again
        else:
            super().accept_frame(frame, channel_id)

    def _accept_start(self, start: pamqp.commands.Connection.Start) -> None:
        refusal = refuse_version(start.server_properties or {})
        if refusal is not None:
            self._crash_exc = BrokerTooOld(refusal)
            self._transport.abort()
            return
        self._lifecycle[pamqp.commands.Connection.Start] = start
        self._frame_writer.send_frame(
            pamqp.commands.Connection.StartOk(
                client_properties={
                    "product": "sluice_layer",
                    "platform": f"{platform.python_implementation()} {platform.python_version()}",
                    "capabilities": {
                        "authentication_failure_close": True,
                        "publisher_confirms": True,
                        "connection.blocked": True,
                        "consumer_cancel_notify": True,
                    },
                },
                mechanism="PLAIN",
                response=f"\x00{self._username}\x00{self._password}",
            )
        )

    def _accept_tune(self, tune: pamqp.commands.Connection.Tune) -> None:
        # RabbitMQ's 0 means "no limit". carehare would take it literally.
        tune.channel_max = tune.channel_max or 65535
        tune.frame_max = tune.frame_max or 131072
        tune.heartbeat = min(self._heartbeat_wanted, tune.heartbeat or self._heartbeat_wanted)
        super().accept_frame(tune, 0)

    def command(self, frame: pamqp.base.Frame) -> asyncio.Future[None]:
        if self._commands is None or self._commands.over:
            channel_id = self._channel_id_store.acquire()
            self._commands = CommandChannel(FrameWriter(self._transport, channel_id))
            self._channels[channel_id] = self._commands
        return self._commands.send(frame)

    def publish(
        self, message: bytes, *, exchange_name: str, routing_key: str, durable: bool = False
    ) -> asyncio.Future[None]:
        channel = cast(PublishChannel, self._get_exchange_channel(exchange_name))
        if durable:
            return channel.publish_durable(message, routing_key)
        return channel.publish(message, routing_key)

    def _get_exchange_channel(self, exchange_name: str) -> ExchangeChannel:
        channel = self._exchange_channels.get(exchange_name)
        if channel is None:
            tune = cast(pamqp.commands.Connection.Tune, self._lifecycle[pamqp.commands.Connection.Tune])
            channel_id = self._channel_id_store.acquire()
            channel = PublishChannel(
                exchange_name, frame_writer=FrameWriter(self._transport, channel_id), frame_max=tune.frame_max
            )
            self._channels[channel_id] = self._exchange_channels[exchange_name] = channel
        return channel

    def subscribe(
        self, queue_name: str, *, prefetch: int, deliver: Callable[[bytes, Callable[[], None]], None]
    ) -> Subscription:
        channel_id = self._channel_id_store.acquire()

        def on_closing() -> None:
            self._closing_channels[channel_id] = None

        subscription = Subscription(
            FrameWriter(self._transport, channel_id, on_closing=on_closing), queue_name, prefetch, deliver
        )
        self._channels[channel_id] = subscription
        return subscription


class CommandChannel(Channel):
    """One AMQP channel for all declarations and bindings. RabbitMQ responds to them in order.

    carehare opens a channel for each one. It fails with more than 2,046 at once, and opening them costs more
    than the calls.
    """

    def __init__(self, frame_writer: FrameWriter) -> None:
        self._frame_writer = frame_writer
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.over = False
        frame_writer.send_frame(pamqp.commands.Channel.Open())

    def send(self, frame: pamqp.base.Frame) -> asyncio.Future[None]:
        self._frame_writer.send_frame(frame)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        return future

    def accept_frame(self, frame: Any) -> None:
        if not isinstance(frame, pamqp.commands.Channel.OpenOk):
            self._waiting.popleft().set_result(None)

    def accept_channel_closed_by_server(self, frame: pamqp.commands.Channel.Close) -> None:
        self._end(
            carehare.ChannelClosedByServer(frame.reply_code or 0, frame.reply_text), carehare.ChannelClosed()
        )

    def accept_connection_closed(self, exc: carehare.ConnectionClosed) -> None:
        self._end(exc, exc)

    def _end(self, first: Exception, others: Exception) -> None:
        self.over = True
        for future in self._waiting:
            future.set_exception(first)
            first = others
        self._waiting.clear()


class PublishChannel(ExchangeChannel):
    """carehare's publishing channel, with messages that fail if their queue doesn't exist."""

    def __init__(self, exchange_name: str, *, frame_writer: FrameWriter, frame_max: int) -> None:
        super().__init__(exchange_name, frame_writer=frame_writer, frame_max=frame_max)
        self._returned: set[int] = set()

    def publish_durable(self, message: bytes, routing_key: str) -> asyncio.Future[None]:
        """Publish a message that RabbitMQ stores on disk. Without its queue, the future raises Unroutable."""
        tag = self._next_delivery_tag
        self._next_delivery_tag += 1
        # A returned message has no delivery tag, but keeps its id.
        properties = pamqp.commands.Basic.Properties(delivery_mode=2, message_id=str(tag))
        pieces = range(0, len(message), self._frame_max)
        self._frame_writer.send_frames(
            [
                pamqp.commands.Basic.Publish(
                    exchange=self.exchange_name, routing_key=routing_key, mandatory=True
                ),
                pamqp.header.ContentHeader(body_size=len(message), properties=properties),
                *(pamqp.body.ContentBody(message[start : start + self._frame_max]) for start in pieces),
            ]
        )
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._delivering[tag] = done
        return done

    def accept_frame(self, frame: Any) -> None:
        if isinstance(frame, pamqp.commands.Basic.Return | pamqp.body.ContentBody):
            return  # only the header of a returned message matters
        if isinstance(frame, pamqp.header.ContentHeader):
            self._returned.add(int(cast(str, frame.properties.message_id)))
        elif isinstance(frame, pamqp.commands.Basic.Ack):
            # RabbitMQ returns a message before it confirms the message.
            for tag in self._find_delivery_tags(frame.delivery_tag, bool(frame.multiple)):
                if tag in self._returned:
                    self._returned.remove(tag)
                    self._delivering.pop(tag).set_exception(Unroutable())
                else:
                    self._delivering.pop(tag).set_result(None)
        else:
            super().accept_frame(frame)


class Subscription(ConsumeChannel):
    """carehare's consumer with a callback for each message. Late acknowledgements are ignored.

    `closed` completes when no more messages will arrive.
    """

    def __init__(
        self,
        frame_writer: FrameWriter,
        queue_name: str,
        prefetch: int,
        deliver: Callable[[bytes, Callable[[], None]], None],
    ) -> None:
        self._deliver = deliver
        self._delivery: Any
        super().__init__(frame_writer, queue_name=queue_name, prefetch_size=0, prefetch_count=prefetch)
        _retrieve(self.closed)

    def ack(self, delivery_tag: int) -> None:
        # RabbitMQ closes the connection after an ack on a closed channel.
        if not self.closed.done():
            super().ack(delivery_tag)

    def _enqueue_delivery_if_complete(self) -> None:
        delivery = self._delivery
        assert delivery is not None and delivery.header is not None
        if sum(len(piece.value) for piece in delivery.body) < (delivery.header.body_size or 0):
            return
        self._delivery = None
        tag = delivery.deliver.delivery_tag
        self._deliver(b"".join(piece.value for piece in delivery.body), lambda: self.ack(tag))


def refuse_version(server_properties: dict[str, Any]) -> str | None:
    """The reason to refuse a broker with these properties, or None. Unknown products are accepted."""
    if server_properties.get("product") != "RabbitMQ":
        return None
    version = str(server_properties.get("version", ""))
    try:
        major, minor = (int(part) for part in version.split(".")[:2])
    except ValueError:
        return None
    if (major, minor) >= OLDEST_RABBITMQ:
        return None
    oldest = ".".join(map(str, OLDEST_RABBITMQ))
    return f"it is RabbitMQ {version}, and the layer needs {oldest} or newer; upgrade RabbitMQ"


def _retrieve(future: asyncio.Future[Any]) -> None:
    """Keep asyncio from logging an exception of the future that nothing retrieves."""
    future.add_done_callback(lambda done: None if done.cancelled() else done.exception() and None)
