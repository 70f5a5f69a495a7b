"""How CATMAID pushes to a user's pages: in a Celery task over Celery's own connection, else by the layer."""

from __future__ import annotations

import json

import msgpack
from asgiref.sync import async_to_sync
from celery import current_app, current_task
from channels.layers import get_channel_layer


def is_in_celery_task() -> bool:
    return bool(current_task)


def push(user_id: int, event: str, payload: object) -> None:
    group = f"updates-{user_id}"
    message = {"type": "user.message", "data": json.dumps({"event": event, "payload": payload})}
    if is_in_celery_task():
        _publish_over_celerys_connection(group, message)
    else:
        layer = get_channel_layer()
        assert layer is not None
        async_to_sync(layer.group_send)(group, message)


def _publish_over_celerys_connection(group: str, message: dict[str, str]) -> None:
    body = msgpack.packb(message | {"__asgi_group__": group})
    with current_app.producer_pool.acquire(block=True) as producer:
        producer.publish(body, exchange="groups", routing_key=group, content_encoding="binary", retry=False)
