"""The first protocol of each connection: it reads the head of the request, and decides who serves it.

Handshakes pass through the Admission. Everything else, such as a health check, is handed to Daphne at once,
so it is answered however many handshakes wait.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ..asgi import origin
from ..asgi.transport import below, write
from ..close_codes import RESTART, TRY_LATER
from ..metrics import count
from ..push.frames import SUBPROTOCOL, close_event
from . import rfc6455, upgrade
from .admission import Admission
from .update_socket import UpdateSocket
from .update_stream import UpdateStream, chunk

REST_BYTES: Final = 4096  # that a client may send after the head while it waits
HEAD_SECONDS: Final = 20  # from the connection to the end of the head

_SWITCH: Final = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n"
_STREAM: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-store\r\n"
)


_OPEN_STREAM: Final = (
    (b"X-Accel-Buffering", b"no"),  # nginx must not buffer it
    (b"Transfer-Encoding", b"chunked"),
    (b"Connection", b"close"),
)


class FrontDoors:
    """Builds the first protocol of each connection, and keeps what they share.

    `daphne` builds Daphne's protocol of a connection. `event_path` is the path of event streams.
    `update_path` is that of the WebSockets that `open_socket` serves: it gets the request's scope, the
    socket, and a function to call when the handshake is finished, and returns the socket's user.
    `open_stream` does the same for event streams. `headers` returns headers for each response.
    """

    def __init__(
        self,
        daphne: Any,
        admission: Admission,
        time: Callable[[], float],
        *,
        event_path: bytes,
        update_path: bytes,
        open_socket: Callable[..., Any] | None,
        open_stream: Callable[..., Any] | None,
        headers: Callable[[], list[tuple[bytes, bytes]]],
    ) -> None:
        self.daphne = daphne
        self.admission = admission
        self.time = time
        self.event_path = event_path
        self.update_path = update_path
        self.open_socket = open_socket
        self.open_stream = open_stream
        self.headers = headers
        self.reading: dict[FrontDoor, float] = {}  # those whose head is incomplete, and since when
        self.sockets: set[UpdateSocket | UpdateStream] = set()
        self._handed: dict[
            Any, FrontDoor
        ] = {}  # by transport: admitted, and not known to the application yet

    # Twisted's factory

    def buildProtocol(self, address: Any) -> FrontDoor:
        return FrontDoor(self, address)

    def doStart(self) -> None:
        self.daphne.doStart()

    def doStop(self) -> None:
        self.daphne.doStop()

    # For the server

    def hand(self, transport: Any, door: FrontDoor) -> None:
        """Note the door of a connection that Daphne serves from now on, until the application or its end."""
        self._handed[transport] = door
        lost = transport.connectionLost

        def connection_lost(reason: Any) -> None:
            transport.__dict__.pop("connectionLost", None)
            self._handed.pop(transport, None)
            lost(reason)
            door.finish()

        transport.connectionLost = (
            connection_lost  # Daphne doesn't tell about a request that it refuses itself
        )

    def finisher(self, transport: Any) -> Callable[[], None] | None:
        """The function to call when the handshake of a connection that Daphne serves is finished."""
        door = self._handed.pop(below(transport), None)
        return None if door is None else door.finish

    def sweep(self) -> None:
        """Call it every second: cut those that are silent for too long."""
        now = self.time()
        for door, since in list(self.reading.items()):
            if now - since > HEAD_SECONDS:
                door.abort()
        for socket in [one for one in self.sockets if one.due < now]:
            socket.watch(now)


class FrontDoor:
    """One connection, until its request is handed over."""

    __slots__ = ("_address", "_doors", "_head", "_received", "_transport")

    def __init__(self, doors: FrontDoors, address: Any) -> None:
        self._doors = doors
        self._address = address
        self._transport: Any = None
        self._received = b""
        self._head: bytes | None = None  # once it is complete

    # Twisted's protocol

    def makeConnection(self, transport: Any) -> None:
        self._transport = transport
        self._doors.reading[self] = self._doors.time()

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        if self._head is not None:  # it waits
            if len(self._received) - len(self._head) > REST_BYTES:
                self.abort()
            return
        end = self._received.find(upgrade.END)
        if end < 0 and len(self._received) <= upgrade.HEAD_BYTES:
            return
        self._doors.reading.pop(self, None)
        self._head = self._received[: max(end, 0)]
        if end <= upgrade.HEAD_BYTES and self._is_handshake():
            self._doors.admission.arrive(self)
        else:
            self._hand_over()

    def connectionLost(self, reason: Any) -> None:
        self._doors.reading.pop(self, None)
        self._doors.admission.leave(self)

    # The admission's visitor

    def admit(self) -> None:
        request = self._update_request()
        if request is not None:
            self._open_socket(request)
            return
        plain = self._event_request()
        if plain is not None:
            self._open_stream(plain)
            return
        self._doors.hand(self._transport, self)
        self._hand_over()

    def _open_socket(self, request: upgrade.Upgrade) -> None:
        socket = UpdateSocket(self._transport, self._doors.sockets, self._doors.time)
        self._transport.protocol = socket
        write(self._transport, self._switch(request))
        assert self._doors.open_socket is not None
        socket.open(self._doors.open_socket(self._scope(request), socket, self.finish))
        rest, self._received = self._rest(), b""
        if rest:
            socket.dataReceived(rest)

    def _open_stream(self, request: upgrade.Request) -> None:
        stream = UpdateStream(self._transport, self._doors.sockets, self._doors.time)
        self._transport.protocol = stream
        write(self._transport, self._lines(_STREAM, *_OPEN_STREAM) + chunk(b":\n\n"))
        assert self._doors.open_stream is not None
        stream.open(self._doors.open_stream(self._scope(request), stream, self.finish))

    def _scope(self, request: upgrade.Request | upgrade.Upgrade) -> dict[str, Any]:
        client = (getattr(self._address, "host", ""), getattr(self._address, "port", 0))
        return {**request.scope, "client": client}

    def refuse(self, milliseconds: int) -> None:
        self._turn_away(TRY_LATER, milliseconds)

    def restart(self) -> None:
        """Tell the client that the server restarts."""
        self._turn_away(RESTART, None)

    def _turn_away(self, code: int, milliseconds: int | None) -> None:
        """Accept, and close with the code and the time to come back: a page can't read a refusal's status."""
        request = self._update_request()
        if request is not None:
            reason = "" if milliseconds is None else f"retry={milliseconds}"
            self._transport.write(self._switch(request) + rfc6455.close_frame(code, reason))
        elif self._wants_events():
            self._transport.write(self._lines(_STREAM, (b"Connection", b"close")))
            self._transport.write(close_event(code, milliseconds))
        else:
            seconds = str(max(1, -(-(milliseconds or 0) // 1000))).encode()
            line = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n"
            self._transport.write(self._lines(line, (b"Retry-After", seconds), (b"Connection", b"close")))
        count("closes", code=code)
        self._transport.loseConnection()

    def finish(self) -> None:
        """The handshake is finished: the client has hello or a close, or is gone."""
        self._doors.admission.finish(self)

    def abort(self) -> None:
        """Cut the connection."""
        self._transport.abortConnection()

    # Requests

    def _is_handshake(self) -> bool:
        assert self._head is not None
        if upgrade.has_body(self._head):  # Daphne would wait for it
            return False
        return upgrade.wants_upgrade(self._head) or self._wants_events()

    def _wants_events(self) -> bool:
        assert self._head is not None
        return bool(self._doors.event_path) and upgrade.path(self._head) == self._doors.event_path

    def _update_request(self) -> upgrade.Upgrade | None:
        """The request, if it is a correct one for the updates' WebSocket, of a page of this site."""
        assert self._head is not None
        if self._doors.open_socket is None or upgrade.path(self._head) != self._doors.update_path:
            return None
        request = upgrade.upgrade(self._head)
        return request if request is not None and origin.may_connect(request.scope) else None

    def _event_request(self) -> upgrade.Request | None:
        """The request, if it is a usual one for an event stream, of a page of this site."""
        assert self._head is not None
        if self._doors.open_stream is None or not self._wants_events():
            return None
        request = upgrade.plain(self._head)
        return request if request is not None and origin.may_stream(request.scope) else None

    def _switch(self, request: upgrade.Upgrade) -> bytes:
        headers = [(b"Sec-WebSocket-Accept", request.accept)]
        if SUBPROTOCOL in request.subprotocols:
            headers.append((b"Sec-WebSocket-Protocol", SUBPROTOCOL.encode()))
        return self._lines(_SWITCH, *headers)

    def _lines(self, start: bytes, *headers: tuple[bytes, bytes]) -> bytes:
        lines = [name + b": " + value + b"\r\n" for name, value in (*headers, *self._doors.headers())]
        return start + b"".join(lines) + b"\r\n"

    def _hand_over(self) -> None:
        protocol = self._doors.daphne.buildProtocol(self._address)
        self._transport.protocol = protocol
        protocol.makeConnection(self._transport)
        received, self._received = self._received, b""
        protocol.dataReceived(received)

    def _rest(self) -> bytes:
        assert self._head is not None
        return self._received[len(self._head) + len(upgrade.END) :]
