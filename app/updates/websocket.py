"""Updates over a WebSocket (PROTOCOL: WebSocket): an ASGI application for one path."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

from . import closes, limits, origin
from .backend import backend_headers
from .connection import Connection
from .counters import count
from .follow import Subscription
from .frames import PING, PONG, Frame, UpdateFrame, error
from .hub import Hub, get_hub
from .origin import Scope
from .transport import Send, SocketTransport, socket_transport

Receive = Callable[[], Awaitable[dict[str, Any]]]
SUBPROTOCOL: Final = "sluice.v1"


async def websocket(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one WebSocket. A foreign Origin is refused before the upgrade; all else is said after it."""
    await receive()
    if not origin.may_connect(scope):
        count("origins_refused")
        await send({"type": "websocket.close"})
        return
    speaks = SUBPROTOCOL in scope.get("subprotocols", ())
    await send(
        {
            "type": "websocket.accept",
            "subprotocol": SUBPROTOCOL if speaks else None,
            "headers": backend_headers(),
        }
    )
    connection = WebSocketConnection(get_hub(), socket_transport(scope, send), speaks=speaks)
    try:
        connection.open(scope)
        while (message := await receive())["type"] == "websocket.receive":
            connection.read(message.get("text"))
    finally:
        connection.leave()


class WebSocketConnection(Connection):
    """A client on a WebSocket. One that doesn't speak our subprotocol is sent updates and nothing else."""

    __slots__ = ("_bad_frames", "_messages", "_second", "_speaks", "_transport")

    def __init__(self, hub: Hub, transport: SocketTransport, *, speaks: bool) -> None:
        super().__init__(hub)
        self._transport = transport
        self._speaks = speaks
        self._bad_frames = 0
        self._second = 0
        self._messages = 0  # in that second

    def unsent(self) -> int:
        return self._transport.unsent

    def write_hello(self, frame: Frame) -> None:
        self._say(frame)

    def write_frame(self, subscription: Subscription, frame: UpdateFrame) -> None:
        self._transport.send(frame)

    def write_ping(self) -> None:
        self._say(PING)

    def write_close(self, code: int) -> None:
        self._transport.close(code)

    def read(self, text: str | None) -> None:
        """Answer a message of the client; None: it was binary."""
        if not self._speaks or self.closed_with is not None:
            return
        problem = self._is_too_many() or _problem(text)
        if problem is None:
            self._say(PONG)
            return
        count("bad_frames", code=problem[0])
        self._say(error(*problem))
        self._bad_frames += 1
        if self._bad_frames >= limits.BAD_FRAMES:
            self.close(closes.BAD_REQUEST)

    def _is_too_many(self) -> tuple[str, str] | None:
        """Whether the client says more than any pinging needs: each message costs all others some time."""
        second = int(self.hub.loop.time())
        if second != self._second:
            self._second, self._messages = second, 0
        self._messages += 1
        if self._messages <= limits.MESSAGES_PER_SECOND:
            return None
        return "too-many", f"more than {limits.MESSAGES_PER_SECOND} messages in a second"

    def _say(self, frame: Frame) -> None:
        """Write a frame that only speakers of our subprotocol understand."""
        if self._speaks:
            self._transport.send(frame)
            self.last_frame_at = self.hub.loop.time()
            if self.unsent() > limits.UNSENT_BYTES:
                self.close(closes.TOO_SLOW)


def _problem(text: str | None) -> tuple[str, str] | None:
    """What is wrong with a message, as code and detail; None: it is a ping, the only one there is."""
    if text is None:
        return "binary", "binary messages are not understood; send JSON text"
    try:
        message = json.loads(text)
    except RecursionError:
        return "malformed", "the message is nested too deeply"
    except ValueError:
        return "malformed", "the message is not JSON"
    if not isinstance(message, dict):
        return "malformed", "the message is not a JSON object"
    if message.get("type") != "ping":
        return "unknown-type", 'the only message that a client may send is {"type": "ping"}'
    return None
