"""Channels as its documentation has it: a consumer that joins a group, and a channel layer."""

from __future__ import annotations

import os
from typing import Any

import messages
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import get_channel_layer
from channels.routing import ProtocolTypeRouter
from django.conf import settings

# Large enough that nothing is dropped: a run in which a client missed a message does not count.
LAYERS: dict[str, dict[str, Any]] = {
    "channels-rabbitmq": {
        "BACKEND": "channels_rabbitmq.core.RabbitmqChannelLayer",
        "CONFIG": {
            "host": f"amqp://guest:guest@{os.environ['BROKER']}/",
            "local_capacity": 10_000,
            "remote_capacity": 10_000,
        },
    },
    "channels-redis": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [f"redis://{os.environ['BROKER']}:6379"], "capacity": 10_000},
    },
}
settings.configure(CHANNEL_LAYERS={"default": LAYERS[os.environ["CHANNEL_LAYER"]]})


class Updates(AsyncWebsocketConsumer):
    """Sends each message of the group."""

    async def connect(self) -> None:
        await self.channel_layer.group_add("updates", self.channel_name)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard("updates", self.channel_name)

    async def update(self, event: dict[str, Any]) -> None:
        await self.send(text_data=event["text"])


async def broadcast(text: str) -> None:
    """Send it to the group."""
    await get_channel_layer().group_send("updates", {"type": "update", "text": text})


async def http(scope: Any, receive: Any, send: Any) -> None:
    """POST /publish."""
    await messages.publish(receive, send, broadcast)


application = ProtocolTypeRouter({"http": http, "websocket": Updates.as_asgi()})
