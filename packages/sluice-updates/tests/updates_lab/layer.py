"""A hub's queue on a real broker."""

from __future__ import annotations

from typing import Any

import amqp
import msgpack

from harness.waiting import wait_until


class Layer:
    """A hub's queue, declared as the channel layer declares it."""

    def __init__(self, url: str) -> None:
        host, port = url.rsplit("@")[1].rstrip("/").split(":")
        self.connection = amqp.Connection(f"{host}:{port}")
        self.connection.connect()
        self.channel = self.connection.channel()
        self.channel.exchange_declare("groups", "direct", durable=False, auto_delete=False)
        self.queue = self.channel.queue_declare(exclusive=True).queue
        self.channel.queue_bind(self.queue, "groups", "updates")

    def next(self) -> dict[str, Any] | None:
        """The next message, decoded, or None."""
        message = self.channel.basic_get(self.queue, no_ack=True)
        if message is None:
            return None
        assert message.properties["expiration"] == "60000"
        decoded: dict[str, Any] = msgpack.unpackb(message.body)
        assert decoded["type"] == "updates.committed" and decoded["__asgi_group__"] == "updates"
        return decoded

    def wait(self) -> dict[str, Any]:
        """Wait for the next message."""
        message = wait_until(self.next, 10, "a message", every=0.02)
        assert message is not None
        return message

    def close(self) -> None:
        self.channel.exchange_delete("groups")
        self.connection.close()
