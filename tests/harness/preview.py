"""A client of the preview's WebSocket (docs/reference/previews.md)."""

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
    """A WebSocket that requests one box after another."""

    def __init__(self, socket: WebSocket) -> None:
        self.socket = socket
        self.number = 0

    async def ask(self, box: Box) -> int:
        self.number += 1
        await self.socket.send(json.dumps({"request": self.number, "box": box}))
        return self.number

    async def answer(self) -> dict[str, Any]:
        """Return the next frame."""
        async with asyncio.timeout(5):
            frame: dict[str, Any] = json.loads(await self.socket.receive())
        return frame

    async def of(self, box: Box) -> dict[str, Any]:
        """Request the box and return the response."""
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
    """Run the scenario with a WebSocket of that user, by default for the sample volume, and return its
    result.
    """
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

    # A separate thread, because a Chromium opened by other tests keeps an event loop running in this one.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, play()).result()
