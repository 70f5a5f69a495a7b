"""The channel layer that Django Channels sees."""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from channels.exceptions import ChannelFull
from channels.layers import BaseChannelLayer
from channels_rabbitmq.core import RabbitmqChannelLayer as UpstreamChannelLayer
from channels_rabbitmq.util import ChannelRecipient, GroupRecipient, serialize_message

from .endpoint import Endpoint, EndpointSettings, random_letters
from .link import LinkSettings, takes_messages
from .wire import Address, Connection

logger = logging.getLogger(__name__)

# Seconds; RabbitMQ closes a channel that leaves a message unacknowledged for 30 minutes.
LONGEST_LOCAL_EXPIRY = 900.0


class RabbitmqChannelLayer(UpstreamChannelLayer):
    """channels_rabbitmq's layer without its faults. README.md explains the options and the differences.

    Each event loop that uses the layer has its own connections. They are opened at first use and closed with
    the loop or by `close`. So the layer may be created anywhere, even without a loop, and `async_to_sync`
    works in every thread.
    """

    extensions = ["groups"]

    def __init__(
        self,
        host: str = "amqp://guest:guest@127.0.0.1/asgi",
        local_capacity: int = 2000,
        remote_capacity: int | None = 10000,
        expiry: float | None = 60,
        local_expiry: float | None = 30,
        group_expiry: float | None = None,
        ssl_context: ssl.SSLContext | None = None,
        groups_exchange: str = "groups",
        *,
        password_file: str | None = None,
        operation_timeout: float = 3.0,
        connect_timeout: float = 5.0,
        heartbeat: int = 10,
        reconnect_delay: float = 5.0,
        abandoned_after: float = 600.0,
        normal_prefetch: int = 16,
    ) -> None:
        # Not super().__init__: upstream's needs a running event loop.
        BaseChannelLayer.__init__(self, expiry=expiry, capacity=remote_capacity)
        if group_expiry is not None:
            warnings.warn("group_expiry is ignored; see abandoned_after", DeprecationWarning, stacklevel=2)
        if local_expiry is None:  # upstream's "never": unread messages would fill the process
            local_expiry = 30
        _check("local_capacity", local_capacity, 1, 65535)
        _check("local_expiry", local_expiry, 0.1, LONGEST_LOCAL_EXPIRY)
        _check("operation_timeout", operation_timeout, 0.05, 3600)
        _check("connect_timeout", connect_timeout, 0.05, 3600)
        _check("heartbeat", heartbeat, 1, 3600)
        _check("reconnect_delay", reconnect_delay, 0.1, 3600)
        _check("abandoned_after", abandoned_after, 1, 10**9)
        _check("normal_prefetch", normal_prefetch, 1, 65535)
        address = Address.parse(host)
        if ssl_context is not None and not address.tls:
            raise ValueError("ssl_context needs a host that begins with amqps://")

        self.local_capacity = local_capacity
        self.remote_capacity = remote_capacity
        self.local_expiry = local_expiry
        self.groups_exchange = groups_exchange
        self._settings = EndpointSettings(
            link=LinkSettings(
                address=_address_reader(address, password_file),
                ssl_context=ssl_context,
                heartbeat=heartbeat,
                connect_timeout=connect_timeout,
                longest_delay=reconnect_delay,
            ),
            operation_timeout=operation_timeout,
            local_capacity=local_capacity,
            remote_capacity=remote_capacity,
            expiry=expiry,
            local_expiry=local_expiry,
            abandoned_after=abandoned_after,
            groups_exchange=groups_exchange,
            normal_prefetch=normal_prefetch,
        )
        self._endpoints: dict[asyncio.AbstractEventLoop, Endpoint] = {}
        self._lock = threading.Lock()

    # Channels' interface

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """Send to a specific or a normal channel. Raises ChannelFull or LayerUnavailable."""
        self._require_channel(channel)
        body = serialize_message(ChannelRecipient(channel), message)
        what = f"send to {channel}"
        if "!" in channel:
            queue = channel.partition("!")[0]
            await self._endpoint().publish(body, exchange_name="", routing_key=queue, what=what)
        else:
            await self._endpoint().publish_normal(body, channel=channel, what=what)

    async def receive(self, channel: str) -> dict[str, Any]:
        """The next message. Waits without limit. Raises StopConsumer when the layer is closed."""
        self._require_channel(channel)
        if "!" in channel:
            return await self._own(channel).mailboxes.get(channel)
        message, acknowledge = await self._endpoint().receive_normal(channel)
        acknowledge()
        return message

    async def receive_unacknowledged(self, channel: str) -> tuple[dict[str, Any], Callable[[], None]]:
        """The next message of a normal channel, and the function that acknowledges it.

        Until it is acknowledged, RabbitMQ keeps the message, and delivers it to another process if this one
        dies.
        """
        self._require_channel(channel)
        if "!" in channel:
            raise ValueError(f"{channel} is not a normal channel: its messages die with its process anyway")
        return await self._endpoint().receive_normal(channel)

    async def new_channel(self, prefix: str = "") -> str:
        """The name of a new channel, from which only this event loop of this process can receive."""
        endpoint = self._endpoint()
        endpoint.inbox.start()
        return f"{endpoint.queue_name}!{random_letters(12)}"

    async def group_add(self, group: str, channel: str) -> None:
        """Add one of this loop's channels. After that, the channel gets every message to the group.

        If it raises LayerUnavailable, the channel is not in the group.
        """
        self._require_group(group)
        self._require_channel(channel)
        await self._own(channel).group_add(group, channel, what=f"group_add to {group}")

    async def group_discard(self, group: str, channel: str) -> None:
        """Remove a channel from a group, if it is a member.

        Takes effect at once, even if RabbitMQ is down.
        """
        self._require_group(group)
        self._require_channel(channel)
        await self._own(channel).group_discard(group, channel, what=f"group_discard from {group}")

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Send to all members.

        Members in a process at its capacity miss the message. Raises LayerUnavailable.
        """
        self._require_group(group)
        body = serialize_message(GroupRecipient(group), message)
        try:
            await self._endpoint().publish(
                body, exchange_name=self.groups_exchange, routing_key=group, what=f"group_send to {group}"
            )
        except ChannelFull:
            # The specification forbids raising it for a group:
            # https://channels.readthedocs.io/en/stable/channel_layer_spec.html#capacity
            logger.warning("A process is at capacity and missed a message to group %s", group)

    # Beyond Channels' interface

    def forget_channel(self, channel: str) -> None:
        """Drop the messages of a channel that has no reader any more, and remove it from its groups."""
        self._own(channel).forget_channel(channel)

    async def broker_works(self) -> bool:
        """Whether RabbitMQ accepts a message on a new connection. Then only the old connection is broken."""
        return await takes_messages(self._settings.link)

    def status(self) -> dict[str, Any]:
        """The state of the running loop's connections, for health checks and metrics. Does not wait."""
        with self._lock:
            endpoint = self._endpoints.get(asyncio.get_running_loop())
        return _status(endpoint)

    def statuses(self) -> list[dict[str, Any]]:
        """The same of every loop that uses this layer, from any thread."""
        with self._lock:
            endpoints = list(self._endpoints.values())
        return [_status(endpoint) for endpoint in endpoints]

    async def close(self) -> None:
        """Close the running loop's connections.

        Pending calls of `receive` and later calls raise StopConsumer.
        """
        await self._endpoint().close()

    @property
    def carehare_connection(self) -> asyncio.Task[Connection]:
        """Upstream's attribute: an awaitable of the receiving connection."""
        return asyncio.ensure_future(self._endpoint().inbox.connection())

    # Names and loops

    def _endpoint(self) -> Endpoint:
        loop = asyncio.get_running_loop()
        endpoint = self._endpoints.get(loop)
        if endpoint is None:
            with self._lock:
                for other in [other for other in self._endpoints if other.is_closed()]:
                    del self._endpoints[other]
                endpoint = self._endpoints.setdefault(loop, Endpoint(self._settings))
        return endpoint

    def _own(self, channel: str) -> Endpoint:
        endpoint = self._endpoint()
        if channel.partition("!")[0] != endpoint.queue_name:
            raise ValueError(
                f"channel {channel} was not created by new_channel() on this event loop of this process:"
                " only that loop can receive from it or add it to groups"
            )
        return endpoint

    def _require_channel(self, channel: str) -> None:
        # Channels 4.2.2 renamed the method, and warns about the old name.
        check: Any = getattr(self, "require_valid_channel_name", None) or self.valid_channel_name
        check(channel)

    def _require_group(self, group: str) -> None:
        check: Any = getattr(self, "require_valid_group_name", None) or self.valid_group_name
        check(group)


def _status(endpoint: Endpoint | None) -> dict[str, Any]:
    if endpoint is None:
        return {
            "receiving": False,
            "sending": False,
            "trouble": None,
            "held": 0,
            "dropped": 0,
            "connects": 0,
        }
    links = [link for link in (endpoint.inbox, endpoint.outbox) if link.started]
    return {
        "receiving": endpoint.inbox.up,
        "sending": endpoint.outbox.up,
        "trouble": next((link.trouble for link in links if link.trouble), None),
        "held": endpoint.mailboxes.held,
        "dropped": endpoint.mailboxes.dropped,
        "connects": endpoint.inbox.connects + endpoint.outbox.connects,
    }


def _address_reader(address: Address, password_file: str | None) -> Callable[[], Address]:
    if password_file is None:
        return lambda: address

    def read() -> Address:
        password = Path(password_file).read_text().rstrip("\r\n")
        return Address(address.host, address.port, address.vhost, address.username, password, address.tls)

    return read


def _check(name: str, value: float, least: float, most: float) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{name} must be a number from {least:g} to {most:g}, not {value!r}")
