"""The server's end of one event stream of updates: the transport that a connection of the hub writes to.

Daphne's request object makes a handshake slow, and keeps much memory for as long as the stream is open. All
unusual requests are left to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from ..asgi.transport import unsent, write
from ..close_codes import RESTART
from ..push.frames import close_event

CLOSE_SECONDS: Final = 5  # for the client to take the last bytes and to close
IGNORED_BYTES: Final = 4096  # that a client may send, although nothing is expected from it

_END: Final = b"0\r\n\r\n"


class User(Protocol):
    """The connection that uses a stream."""

    def leave(self) -> None:
        """The stream is closed."""


class UpdateStream:
    """One event stream whose head is written: a response in chunks (RFC 9112, 7.1)."""

    __slots__ = ("_closing_since", "_ignored", "_streams", "_time", "_transport", "_user", "due")

    def __init__(self, transport: Any, streams: set[Any], time: Callable[[], float]) -> None:
        self._transport = transport
        self._streams = streams
        self._time = time
        self._user: User | None = None
        self._closing_since: float | None = None  # when the end was written
        self._ignored = 0
        self.due = float("inf")  # when watch() must be called
        streams.add(self)

    def open(self, user: User) -> None:
        """Tell `user` when the stream is closed."""
        self._user = user

    def watch(self, now: float) -> None:
        """It is due. Cut a client that does not take the end."""
        self.abort()

    def restart(self) -> None:
        """Send 1012, unless a close was sent before."""
        if self._closing_since is None:
            self.send(close_event(RESTART))
            self.finish()

    def abort(self) -> None:
        """Cut the connection."""
        self._transport.abortConnection()

    # The hub's transport

    @property
    def unsent(self) -> int:
        return unsent(self._transport)

    def send(self, data: bytes) -> None:
        if self._closing_since is None:
            write(self._transport, chunk(data))

    def finish(self) -> None:
        if self._closing_since is None:
            self._closing_since = self._time()
            self.due = self._closing_since + CLOSE_SECONDS
            write(self._transport, _END)
            self._transport.loseConnection()

    # Twisted's protocol

    def dataReceived(self, data: bytes) -> None:
        self._ignored += len(data)
        if self._ignored > IGNORED_BYTES:
            self.abort()

    def connectionLost(self, reason: Any) -> None:
        self._streams.discard(self)
        user, self._user = self._user, None
        if user is not None:
            user.leave()


def chunk(data: bytes) -> bytes:
    """Bytes of the body in a chunk of their own."""
    return b"%x\r\n%b\r\n" % (len(data), data)
