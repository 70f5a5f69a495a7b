"""The preview's socket: asks for one box after another (docs/reference/previews.md)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from .client.http import Place
from .client.websocket import WebSocket
from .stack import Stack
from .volume import Box, sample

T = TypeVar("T")


class Preview:
    """A socket that asks for one box after another."""

    def __init__(self, socket: WebSocket) -> None:
        self.socket = socket
        self.number = 0

    async def ask(self, box: Box) -> int:
        self.number += 1
        await self.socket.send(json.dumps({"request": self.number, "box": box}))
        return self.number

    async def answer(self) -> dict[str, Any]:
        """The next frame."""
        async with asyncio.timeout(5):
            frame: dict[str, Any] = json.loads(await self.socket.receive())
        return frame

    async def of(self, box: Box) -> dict[str, Any]:
        """The answer to a request for the box."""
        number = await self.ask(box)
        frame = await self.answer()
        assert frame["payload"]["request"] == number
        return frame


def previewing(
    stack: Stack,
    scenario: Callable[[Preview], Awaitable[T]],
    user: str | None = "alice",
    volume: int | None = None,
) -> T:
    """The scenario's result, with a socket of that user's; by default for the sample volume."""
    cookies = stack.browser(user).cookies if user else ""
    target = f"/channels/volumes/{volume or sample(stack).id}/preview/"

    async def play() -> T:
        socket = await WebSocket.connect(
            Place.of(stack.url, stack.certificate), target, cookies=cookies, subprotocols=""
        )
        try:
            return await scenario(Preview(socket))
        finally:
            await socket.close()

    # In a thread of its own: a Chromium that other tests have opened keeps a loop running in this one.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, play()).result()
