"""Updates over a WebSocket (PROTOCOL: WebSocket): an ASGI application for one path."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import ClassVar

from .. import close_codes, limits
from ..asgi_types import Receive, Scope, Send
from ..metrics import count
from ..push.frames import PING, PONG, SUBPROTOCOL, Burst, Frame, UpdateFrame, error
from ..push.hub import Hub, get_hub
from ..push.window import Subscription
from . import origin
from .connection import Connection
from .responses import backend_headers
from .transport import HANDSHAKE, SocketTransport, socket_transport


async def websocket(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one WebSocket. A foreign Origin is refused before the upgrade; other errors close it after."""
    await receive()
    finished = scope.get("extensions", {}).pop(HANDSHAKE, None)
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
        connection.open(scope, finished)
        while (message := await receive())["type"] == "websocket.receive":
            connection.read(message.get("text"))
    finally:
        connection.leave()


def open_socket(
    scope: Scope, transport: SocketTransport, finished: Callable[[], None]
) -> WebSocketConnection:
    """Serve a WebSocket that the server has accepted already. The caller passes on what the client sends.

    `finished` is called once the client has hello or a close, or is gone.
    """
    speaks = SUBPROTOCOL in scope["subprotocols"]
    connection = WebSocketConnection(get_hub(), transport, speaks=speaks)
    connection.open(scope, finished)
    return connection


class WebSocketConnection(Connection):
    """A client on a WebSocket. Without the subprotocol `sluice.v1` it is sent updates only."""

    TRANSPORT: ClassVar[str] = "websocket"
    __slots__ = ("_bad_frames", "_owed", "_paying", "_pongs", "_second", "_speaks", "_transport")

    def __init__(self, hub: Hub, transport: SocketTransport, *, speaks: bool) -> None:
        super().__init__(hub)
        self._transport = transport
        self._speaks = speaks
        self._bad_frames = 0
        self._second = 0
        self._pongs = 0  # sent in that second
        self._owed = 0  # pongs that are delayed
        self._paying: asyncio.TimerHandle | None = None

    def unsent(self) -> int:
        return self._transport.unsent

    def write_hello(self, frame: Frame) -> None:
        self._say(frame)

    def write_frame(self, subscription: Subscription, frame: UpdateFrame) -> None:
        self._transport.send(frame)

    def write_burst(self, subscription: Subscription, burst: Burst) -> None:
        self._transport.send_burst(burst)

    def write_ping(self) -> None:
        self._say(PING)

    def write_close(self, code: int) -> None:
        self._transport.close(code)

    def read(self, text: str | None) -> None:
        """Answer a message of the client. None: it was binary."""
        if not self._speaks or self.closed_with is not None:
            return
        problem = _problem(text) or self._pong()
        if problem is None:
            return
        count("bad_frames", code=problem[0])
        self._say(error(*problem))
        self._bad_frames += 1
        if self._bad_frames >= limits.BAD_FRAMES:
            self.close(close_codes.BAD_REQUEST)

    def leave(self) -> None:
        super().leave()
        if self._paying is not None:
            self._paying.cancel()

    def _pong(self) -> tuple[str, str] | None:
        """Answer a ping, later if there are many: each pong takes time from the other clients.

        Returns code and detail of the error if there are too many.
        """
        second = int(self.hub.loop.time())
        if second != self._second:
            self._second, self._pongs = second, 0
        if not self._owed and self._pongs < limits.PONGS_PER_SECOND:
            self._pongs += 1
            self._say(PONG)
            return None
        if self._owed >= limits.PONGS_OWED:
            return "too-many", f"{limits.PONGS_OWED} pings are still to be answered"
        self._owed += 1
        if self._paying is None:
            self._paying = self.hub.loop.call_at(second + 1, self._pay)
        return None

    def _pay(self) -> None:
        """Send some of the delayed pongs."""
        self._paying = None
        now = min(self._owed, limits.PONGS_PER_SECOND)
        self._owed -= now
        for _ in range(now):
            self._say(PONG)
        if self._owed and self.closed_with is None:
            self._paying = self.hub.loop.call_later(1, self._pay)

    def _say(self, frame: Frame) -> None:
        """Write a frame, if the client offered the subprotocol."""
        if self._speaks:
            self._transport.send(frame)
            self.last_frame_at = self.hub.loop.time()
            if self.unsent() > limits.UNSENT_BYTES:
                self.close(close_codes.TOO_SLOW)


def _problem(text: str | None) -> tuple[str, str] | None:
    """Code and detail of what is wrong with a message. None: it is a ping, the only message allowed."""
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
