"""Updates as server-sent events (PROTOCOL: Server-sent events): an ASGI application for one path."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from .. import limits
from ..asgi_types import Receive, Scope, Send, headers
from ..close_codes import TOO_SLOW
from ..metrics import count
from ..positions import Position, format_positions, parse_positions
from ..push.frames import PING, Burst, Frame, UpdateFrame, close_event
from ..push.hub import Hub, get_hub
from ..push.window import Subscription
from . import origin
from .connection import Connection
from .responses import NO_STORE, PLAIN, backend_headers, respond
from .transport import HANDSHAKE, StreamTransport, stream_transport

EVENT_STREAM = (b"content-type", b"text/event-stream; charset=utf-8")
UNBUFFERED = (b"x-accel-buffering", b"no")  # nginx must not buffer this response


async def server_sent_events(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one event stream. The status is 200 for all errors except a foreign page (403)."""
    if scope["method"] != "GET":
        await respond(send, 405, b"Only GET is allowed here.\n", PLAIN, (b"allow", b"GET"))
        return
    if not origin.may_stream(scope):
        count("origins_refused")
        await respond(send, 403, b"This page may not connect here: its origin is foreign.\n")
        return
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [EVENT_STREAM, NO_STORE, UNBUFFERED, *backend_headers()],
        }
    )
    await send(
        {"type": "http.response.body", "body": b":\n\n", "more_body": True}
    )  # sends the headers at once
    connection = EventStreamConnection(get_hub(), stream_transport(scope, send))
    try:
        connection.open(scope, scope.get("extensions", {}).pop(HANDSHAKE, None))
        while (await receive())["type"] != "http.disconnect":
            pass
    finally:
        connection.leave()


def open_stream(
    scope: Scope, transport: StreamTransport, finished: Callable[[], None]
) -> EventStreamConnection:
    """Serve an event stream whose response the server has begun already.

    `finished` is called once the client has hello or a close, or is gone.
    """
    connection = EventStreamConnection(get_hub(), transport)
    connection.open(scope, finished)
    return connection


class EventStreamConnection(Connection):
    """A client that reads an event stream."""

    TRANSPORT: ClassVar[str] = "sse"
    __slots__ = ("_transport",)

    def __init__(self, hub: Hub, transport: StreamTransport) -> None:
        super().__init__(hub)
        self._transport = transport

    def since(self, scope: Scope) -> dict[str, Position]:
        # An EventSource reconnects to its first URL; only this header has its current position.
        last = headers(scope, b"last-event-id")
        return parse_positions(last[0]) if last and last[0] else super().since(scope)

    def unsent(self) -> int:
        return self._transport.unsent

    def write_hello(self, frame: Frame) -> None:
        self._transport.send(self._id() + frame.event)

    def write_frame(self, subscription: Subscription, frame: UpdateFrame) -> None:
        self._transport.send(self._id() + frame.event)

    def write_burst(self, subscription: Subscription, burst: Burst) -> None:
        # Each event has the client's position after it, so only the last of them has the current one.
        parts = []
        for frame in burst.frames:
            subscription.offset, subscription.tag = frame.offset, frame.tag
            parts.append(self._id() + frame.event)
        self._transport.send(b"".join(parts))

    def write_ping(self) -> None:
        self._transport.send(PING.event)
        if self.unsent() > limits.UNSENT_BYTES:
            self.close(TOO_SLOW)

    def write_close(self, code: int) -> None:
        self._transport.send(close_event(code))
        self._transport.finish()

    def _id(self) -> bytes:
        positions = {name: subscription.position for name, subscription in self.subscriptions.items()}
        return f"id: {format_positions(positions)}\n".encode()
