"""Applications with common mistakes, for a stock Daphne: `daphne config.symptoms_field:NAME`."""

from __future__ import annotations

from typing import Any

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="of a site of its own",
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
django.setup()

from channels.consumer import AsyncConsumer  # noqa: E402
from channels.db import database_sync_to_async  # noqa: E402
from channels.generic.websocket import AsyncWebsocketConsumer  # noqa: E402
from channels.routing import URLRouter  # noqa: E402
from channels.security.websocket import OriginValidator  # noqa: E402
from channels_rabbitmq.core import RabbitmqChannelLayer  # noqa: E402
from django.contrib.auth import get_user_model  # noqa: E402
from django.db import connection  # noqa: E402
from django.urls import re_path  # noqa: E402


class Good(AsyncWebsocketConsumer):
    """Accepts and sends a greeting."""

    async def connect(self) -> None:
        await self.accept()
        await self.send(text_data="hello")


class WithoutLayer(AsyncWebsocketConsumer):
    """Returns without a response, as CATMAID's consumer does without CHANNEL_LAYERS."""

    async def connect(self) -> None:
        return


class WithoutBroker(AsyncWebsocketConsumer):
    """Joins a group of the stock layer, whose broker does not exist."""

    async def connect(self) -> None:
        layer = RabbitmqChannelLayer(host="amqp://guest:guest@127.0.0.1:1/asgi")
        await layer.group_add("updates", await layer.new_channel())
        await self.accept()


class AsksTheDatabase(AsyncWebsocketConsumer):
    """Uses Django's ORM on the event loop."""

    async def connect(self) -> None:
        get_user_model().objects.count()
        await self.accept()


class LetsAThreadAsk(AsyncWebsocketConsumer):
    """The fix: uses the ORM in a thread."""

    async def connect(self) -> None:
        await database_sync_to_async(lambda: connection.introspection.table_names())()
        await self.accept()


class Stays(AsyncConsumer):
    """Never raises StopConsumer, so it continues after its socket is closed."""

    async def websocket_connect(self, _: Any) -> None:
        await self.send({"type": "websocket.accept"})

    async def websocket_disconnect(self, _: Any) -> None:
        return


good = Good.as_asgi()
without_layer = WithoutLayer.as_asgi()
without_broker = WithoutBroker.as_asgi()
asks_the_database = URLRouter(
    [
        re_path(r"^channels/updates/$", AsksTheDatabase.as_asgi()),
        re_path(r"^channels/cured/$", LetsAThreadAsk.as_asgi()),
    ]
)
stays = Stays.as_asgi()
routed = URLRouter([re_path(r"^channels/updates/$", good)])
one_stays = URLRouter([re_path(r"^channels/updates/$", stays), re_path(r"^channels/ends/$", good)])
own_pages_only = OriginValidator(good, ["sluice.example.org"])
