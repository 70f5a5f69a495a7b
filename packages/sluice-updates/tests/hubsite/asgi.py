"""The application, with an ordinary consumer beside the updates."""

import json
import os
import time
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hubsite.settings")
django.setup()

from asgiref.sync import async_to_sync  # noqa: E402
from channels.consumer import SyncConsumer  # noqa: E402
from channels.generic.websocket import AsyncJsonWebsocketConsumer  # noqa: E402
from channels.layers import get_channel_layer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.urls import path, re_path  # noqa: E402

from hubsite import tracing  # noqa: E402
from sluice_updates import limits  # noqa: E402
from sluice_updates.asgi import application as updates_application  # noqa: E402
from sluice_updates.asgi import guarded  # noqa: E402
from sluice_updates.asgi.responses import respond  # noqa: E402

tracing.set_up()

# Shorter intervals, for tests that don't measure them.
for name, seconds in json.loads(os.environ.get("HUBSITE_LIMITS", "{}")).items():
    setattr(limits, name, seconds)


class Echo(AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        await self.accept()
        await self.send_json({"user": self.scope["user"].get_username()})

    async def receive_json(self, content: dict[str, Any]) -> None:
        if "fail" in content:
            raise RuntimeError("told to fail")
        if "block" in content:
            time.sleep(content["block"])  # a programming mistake that blocks the whole process
        await self.send_json(content)

    async def disconnect(self, code: int) -> None:
        print("echo disconnected", code, flush=True)


pages = get_asgi_application()


async def otherwise(scope: Any, receive: Any, send: Any) -> None:
    """Polling, which the WSGI side serves in a real site, and the relay."""
    polls = scope["path"] in ("/push/news/", "/updates/")
    await (pages if polls else relay)(scope, receive, send)


class Open(Echo):
    """For everybody: nothing checks who connects."""

    async def connect(self) -> None:
        await self.accept()
        await self.send_json({"user": None})


async def relay(scope: Any, receive: Any, send: Any) -> None:
    """Send a request's JSON body to the group, as another process does through the broker."""
    if scope["path"] == "/spans":
        await respond(send, 200, json.dumps(tracing.spans()).encode())
        return
    if scope["path"] != "/relay":
        await respond(send, 404, b"Not found.\n")
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message["body"], message["more_body"]
    await get_channel_layer().group_send("updates", json.loads(body))
    await respond(send, 200, b"")


class Asker(AsyncJsonWebsocketConsumer):
    """Sends what it receives to a worker, and the worker's answer to the browser."""

    async def receive_json(self, content: dict[str, Any]) -> None:
        message = {"type": "double", "reply_to": self.channel_name, "number": content["number"]}
        await self.channel_layer.send("doubling", message)

    async def doubled(self, message: dict[str, Any]) -> None:
        await self.send_json({"number": message["number"]})


class Doubler(SyncConsumer):
    """The worker."""

    def double(self, message: dict[str, Any]) -> None:
        reply = {"type": "doubled", "number": 2 * message["number"]}
        async_to_sync(self.channel_layer.send)(message["reply_to"], reply)


application = updates_application(
    websocket_urlpatterns=[
        path("channels/echo/", Echo.as_asgi()),
        path("channels/asker/", Asker.as_asgi()),
    ],
    channels={"doubling": Doubler.as_asgi()},
    otherwise=ProtocolTypeRouter({"http": otherwise}),
)

# A project with WebSockets of its own below /ws/.
own_sockets = URLRouter(
    [
        path("ws/open/", Open.as_asgi()),
        re_path(r"^ws/guarded/", guarded(URLRouter([path("echo/", Echo.as_asgi())]))),
        path("channels/own/", Open.as_asgi()),
    ]
)
with_sockets = updates_application(otherwise=ProtocolTypeRouter({"http": relay, "websocket": own_sockets}))

# A project whose whole site is served, as in development.
with_site = updates_application(otherwise=get_asgi_application())


async def wrapped(scope: Any, receive: Any, send: Any) -> None:
    """As if in a middleware: the server doesn't see what it is, so Daphne serves its WebSockets."""
    await application(scope, receive, send)
