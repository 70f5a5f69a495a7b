"""Channel layers with a fault: subclasses of Channels' own in-memory layer."""

import asyncio
from typing import Any

from channels.layers import InMemoryChannelLayer


class StuckLayer(InMemoryChannelLayer):
    """Every call hangs, as with a frozen broker."""

    async def new_channel(self, prefix: str = "specific") -> str:
        return await asyncio.Future()

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        await asyncio.Event().wait()


class DeadLayer(InMemoryChannelLayer):
    """The first layer of a process stops receiving; a new one works."""

    made = 0

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        DeadLayer.made += 1
        self.dead = DeadLayer.made == 1

    async def receive(self, channel: str) -> dict[str, Any]:
        message = await super().receive(channel)
        if self.dead:
            await asyncio.Event().wait()
        return message


class ReturningLayer(InMemoryChannelLayer):
    """A broker that returns when the first layer of the process sends for the third time. New layers reach it
    at once. The first layer reaches it two sends later, like one that waits between attempts.
    """

    made = 0
    sent = 0

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        ReturningLayer.made += 1
        self.first = ReturningLayer.made == 1

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        ReturningLayer.sent += self.first
        if ReturningLayer.sent < (5 if self.first else 3):
            await asyncio.Event().wait()
        await super().group_send(group, message)
