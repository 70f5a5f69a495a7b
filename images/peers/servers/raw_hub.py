"""The smallest hub in Python: ASGI without a framework, a list of connections."""

from __future__ import annotations

from typing import Any

import messages

connections: set[Any] = set()


async def broadcast(text: str) -> None:
    """Send it to every connection."""
    frame = {"type": "websocket.send", "text": text}
    for send in list(connections):
        await send(frame)


async def application(scope: Any, receive: Any, send: Any) -> None:
    """ASGI: WebSockets, and POST /publish."""
    if scope["type"] == "http":
        await messages.publish(receive, send, broadcast)
        return
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    connections.add(send)
    try:
        while (await receive())["type"] != "websocket.disconnect":
            pass
    finally:
        connections.discard(send)
