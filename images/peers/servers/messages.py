"""What all peers in Python share: the message, as large as an update frame, and the order to publish it."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from typing import Any


def message(number: int, size: int) -> str:
    """The message with this number, and the time at which it was made (client.c)."""
    mark = f"#{number}:{time.monotonic_ns() // 1000}#"
    payload = {"mark": mark, "pad": "x" * size}
    position = f"{number}-0123456789abcdef"
    return json.dumps({"event": "bench", "payload": payload, "stream": "all", "position": position})


async def publish(
    receive: Callable[[], Awaitable[Any]],
    send: Callable[[Any], Awaitable[None]],
    broadcast: Callable[[str], Awaitable[None]],
) -> None:
    """Answer POST /publish with {"number", "times", "size"}: that many messages, in a row."""
    body, more = b"", True
    while more:
        part = await receive()
        body += part.get("body", b"")
        more = part.get("more_body", False)
    order = json.loads(body or b'{"number": 0, "times": 0, "size": 0}')
    for number in range(order["number"], order["number"] + order["times"]):
        await broadcast(message(number, order["size"]))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"{}"})
