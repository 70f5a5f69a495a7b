"""A channel layer that sends to groups and does nothing else, for programs that serve no sockets.

Their account at RabbitMQ may only publish to the exchange of the groups. Messages have the format of
channels_rabbitmq and sluice_layer, which receive them.
"""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any, NoReturn

from channels.layers import BaseChannelLayer

from sluice_layer import LayerUnavailable
from sluice_updates.broker.connection import Broker, BrokerDown

EXCHANGE = "groups"
EXPIRATION_MILLISECONDS = "60000"


class GroupSender(BaseChannelLayer):
    """`CONFIG`: `host`, the broker's URL, and `password_file`, read at each connect."""

    extensions = ("groups",)

    def __init__(self, host: str, password_file: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._password_file = password_file
        self._broker = Broker(host, self._password)
        self._lock = threading.Lock()

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Send to all members. Raises LayerUnavailable within seconds if RabbitMQ does not accept it."""
        import msgpack

        self.require_valid_group_name(group)
        body = msgpack.packb({**message, "__asgi_group__": group})
        await asyncio.to_thread(self._publish, group, body)

    def _publish(self, group: str, body: bytes) -> None:
        try:
            with self._lock:
                # False: no member, or one that is full. Channels wants no error for either.
                self._broker.publish(EXCHANGE, group, body, {"expiration": EXPIRATION_MILLISECONDS})
        except BrokerDown as error:
            raise LayerUnavailable(f"group_send to {group}: {error}") from None

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        _refuse("send to a channel")

    async def receive(self, channel: str) -> dict[str, Any]:
        _refuse("receive")

    async def new_channel(self, prefix: str = "specific") -> str:
        _refuse("create a channel")

    async def group_add(self, group: str, channel: str) -> None:
        _refuse("join a group")

    async def group_discard(self, group: str, channel: str) -> None:
        _refuse("leave a group")

    def _password(self) -> str | None:
        if not self._password_file:
            return None
        return Path(self._password_file).read_text(encoding="utf-8").rstrip("\r\n")


def _refuse(what: str) -> NoReturn:
    raise LayerUnavailable(f"this program may only send to groups, not {what}: do that in asgi or worker")
