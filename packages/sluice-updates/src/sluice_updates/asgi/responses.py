"""HTTP responses of the ASGI side, with the header `X-Backend` if the setting asks for it."""

from __future__ import annotations

import functools
from typing import Any, Final

from .. import conf
from ..asgi_types import Send

Header = tuple[bytes, bytes]
PLAIN: Final[Header] = (b"content-type", b"text/plain; charset=utf-8")
NO_STORE: Final[Header] = (b"cache-control", b"no-store")


def backend_headers() -> list[Header]:
    """`X-Backend: asgi` if SLUICE_UPDATES_EXPOSE_BACKEND is on, for tests and debugging."""
    return [(b"x-backend", b"asgi")] if conf.expose_backend() else []


async def respond(send: Send, status: int, body: bytes, *headers: Header) -> None:
    """Send a complete response."""
    length = (b"content-length", str(len(body)).encode())
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [*(headers or (PLAIN,)), length, *backend_headers()],
        }
    )
    await send({"type": "http.response.body", "body": body})


def saying_backend(send: Send) -> Send:
    """A `send` that adds backend_headers() to an application's response."""

    @functools.wraps(send)
    async def wrapped(message: dict[str, Any]) -> None:
        if message["type"] in ("http.response.start", "websocket.accept", "websocket.http.response.start"):
            message = {**message, "headers": [*message.get("headers", ()), *backend_headers()]}
        await send(message)

    return wrapped
