"""The server's end of one WebSocket for updates: the transport that a connection of the hub writes to.

Daphne's own protocol object makes a handshake slow, and keeps much memory for as long as the socket is open.
Updates need little of what it can do. Other WebSockets, and all malformed requests, are left to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from .. import close_codes, limits
from ..asgi.transport import unsent, write
from ..push.frames import Burst, Frame
from . import rfc6455

CLOSE_SECONDS: Final = 5  # for the client's reply to a close frame
CLOSING_BYTES: Final = 256 * 1024  # that a client may send after the close frame
NO_CODE: Final = 1005
NORMAL: Final = 1000


class User(Protocol):
    """The connection that uses a socket."""

    def read(self, text: str | None) -> None:
        """Take a message of the client; None: it was binary."""

    def leave(self) -> None:
        """The socket is closed."""


class UpdateSocket:
    """One WebSocket after its upgrade."""

    __slots__ = (
        "_closing_since",
        "_ignored",
        "_is_deaf",
        "_ping",
        "_pinged",
        "_reader",
        "_sockets",
        "_time",
        "_transport",
        "_user",
        "due",
    )

    def __init__(self, transport: Any, sockets: set[Any], time: Callable[[], float]) -> None:
        self._transport = transport
        self._sockets = sockets
        self._time = time
        self._user: User | None = None
        self._reader: rfc6455.Reader | None = None  # while a message is incomplete
        self.due = time() + limits.PROTOCOL_PING_SECONDS  # when watch() must be called
        self._ping: bytes | None = None  # the payload of a ping that is not answered yet
        self._pinged = False  # since the client was heard last
        self._closing_since: float | None = None  # when a close frame was sent
        self._is_deaf = False  # what the client sends can no longer be understood, or matters no longer
        self._ignored = 0  # bytes received after the close frame
        sockets.add(self)

    def open(self, user: User) -> None:
        """Give the client's messages to `user`."""
        self._user = user

    def watch(self, now: float) -> None:
        """It is due. Ping a silent client. Cut one that doesn't answer, or doesn't reply to a close."""
        if self._closing_since is not None or self._pinged:
            self.abort()
        else:
            self._pinged = True
            self.due += limits.PONG_SECONDS
            write(self._transport, rfc6455.control_frame(rfc6455.PING, b""))

    def restart(self) -> None:
        """Send 1012, unless a close frame was sent before."""
        self.close(close_codes.RESTART)

    def abort(self) -> None:
        """Cut the connection."""
        self._transport.abortConnection()

    # The hub's transport

    @property
    def unsent(self) -> int:
        return unsent(self._transport)

    def send(self, frame: Frame) -> None:
        if self._closing_since is None:
            write(self._transport, frame.message)

    def send_burst(self, burst: Burst) -> None:
        if self._closing_since is None:
            write(self._transport, burst.message)

    def close(self, code: int) -> None:
        if self._closing_since is None:
            self._closing_since = self._time()
            self.due = self._closing_since + CLOSE_SECONDS
            write(self._transport, rfc6455.close_frame(code))

    # Twisted's protocol

    def dataReceived(self, data: bytes) -> None:
        if self._closing_since is None:
            self.due = self._time() + limits.PROTOCOL_PING_SECONDS
            self._pinged = False
        else:
            self._ignored += len(data)
            if self._ignored > CLOSING_BYTES:
                self.abort()
                return
        if self._is_deaf:
            return
        reader = self._reader or rfc6455.Reader()
        reader.feed(data)
        try:
            while not self._is_deaf and (message := reader.next()) is not None:
                self._take(message)
        except rfc6455.Violation as violation:
            self._is_deaf = True
            self.close(violation.code)
            self._leave()
        self._reader = None if self._is_deaf or reader.is_empty else reader
        self._pong()

    def connectionLost(self, reason: Any) -> None:
        self._sockets.discard(self)
        self._leave()

    # Messages

    def _take(self, message: rfc6455.Message) -> None:
        opcode, payload = message
        if opcode == rfc6455.CLOSE:
            code = rfc6455.close_code(payload)
            self.close(NORMAL if code == NO_CODE else code)  # the reply, unless it is the reply
            self._is_deaf = True
            self._transport.loseConnection()
            self._leave()
        elif self._closing_since is not None:
            pass
        elif opcode == rfc6455.PING:
            self._ping = payload
        elif opcode in (rfc6455.TEXT, rfc6455.BINARY) and self._user is not None:
            self._user.read(rfc6455.text(payload) if opcode == rfc6455.TEXT else None)

    def _pong(self) -> None:
        """Answer the last of the pings that arrived together, as RFC 6455 (5.5.3) allows."""
        payload, self._ping = self._ping, None
        if payload is None or self._closing_since is not None:
            return
        write(self._transport, rfc6455.control_frame(rfc6455.PONG, payload))
        if self.unsent > limits.UNSENT_BYTES:
            self.close(close_codes.TOO_SLOW)
            self._leave()

    def _leave(self) -> None:
        user, self._user = self._user, None
        if user is not None:
            user.leave()
