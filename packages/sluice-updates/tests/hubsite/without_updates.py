"""A project that only wants the server: neither updates nor Channels nor Daphne is among its apps."""

from typing import Any

import django
from django.conf import settings

settings.configure(SECRET_KEY="for these tests only", INSTALLED_APPS=[])
django.setup()

from channels.generic.websocket import AsyncJsonWebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import path  # noqa: E402


class Echo(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: dict[str, Any]) -> None:
        await self.send_json(content)

    async def disconnect(self, code: int) -> None:
        print("echo disconnected", code, flush=True)


async def alive(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"alive"})


application = ProtocolTypeRouter({"http": alive, "websocket": URLRouter([path("ws/echo/", Echo.as_asgi())])})
