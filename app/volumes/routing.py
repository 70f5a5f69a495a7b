"""Consumers for mysite/asgi.py: WebSockets below channels/, and channels that `runworker` reads."""

from typing import Any

from django.urls import path

from . import previews

websocket_urlpatterns: list[Any] = [
    path("channels/volumes/<int:volume_id>/preview/", previews.PreviewConsumer.as_asgi()),
]
channel_consumers: dict[str, Any] = {previews.CHANNEL: previews.PreviewWorker.as_asgi()}
