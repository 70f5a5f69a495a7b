"""Transports to one client: write, count unsent bytes, close.

This package's server (`sluice_updates.server`) passes its protocol object to the application in
`scope["extensions"]["sluice.transport"]`. Stock Daphne does not, but its `send` is bound to the protocol
object. For any other ASGI server there is a bounded queue, and a task that awaits `send`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
from collections import deque
from collections.abc import Mapping
from typing import Any, Protocol

from ..asgi_types import Send
from ..push.frames import Burst, Frame

EXTENSION = "sluice.transport"
CLOSE_SECONDS = 5  # for the client to take the end of a stream
HANDSHAKE = "sluice.handshake"  # the function to call when the handshake is finished


class SocketTransport(Protocol):
    """The transport to a WebSocket client."""

    @property
    def unsent(self) -> int:
        """Bytes written here and not yet taken by the kernel."""

    def send(self, frame: Frame) -> None:
        """Write a frame without waiting. Does nothing if the client is gone."""

    def send_burst(self, burst: Burst) -> None:
        """Write several frames at once, likewise."""

    def close(self, code: int) -> None:
        """Write a close frame after the unsent bytes. Soon after, the connection is cut in any case."""


class StreamTransport(Protocol):
    """The transport to a client of a streamed HTTP response that has begun."""

    @property
    def unsent(self) -> int:
        """Bytes written here and not yet taken by the kernel."""

    def send(self, data: bytes) -> None:
        """Write bytes of the body without waiting. Does nothing if the client is gone."""

    def finish(self) -> None:
        """End the response after the unsent bytes."""


def socket_transport(scope: Mapping[str, Any], send: Send) -> SocketTransport:
    """The transport of a WebSocket connection."""
    protocol = _protocol(scope, send)
    return DaphneSocket(protocol) if protocol is not None else QueuedSocket(send)


def stream_transport(scope: Mapping[str, Any], send: Send) -> StreamTransport:
    """The transport of a streamed HTTP response."""
    request = _protocol(scope, send)
    return DaphneStream(request) if request is not None else QueuedStream(send)


class DaphneSocket:
    """Writes encoded frames to the Twisted transport under Daphne's protocol object."""

    __slots__ = ("_protocol", "_transport")

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._transport = protocol.transport

    @property
    def unsent(self) -> int:
        return unsent(self._transport)

    def send(self, frame: Frame) -> None:
        if self._protocol.state == self._protocol.STATE_OPEN:
            write(self._transport, frame.message)

    def send_burst(self, burst: Burst) -> None:
        if self._protocol.state == self._protocol.STATE_OPEN:
            write(self._transport, burst.message)

    def close(self, code: int) -> None:
        # Not sendClose(): it refuses 1011, 1012 and 1013, which browsers may not send.
        if self._protocol.state == self._protocol.STATE_OPEN:
            self._protocol.sendCloseFrame(code=code)


class DaphneStream:
    """Writes the body of a response to the Twisted request that is Daphne's protocol object."""

    __slots__ = ("_request",)

    def __init__(self, request: Any) -> None:
        self._request = request

    @property
    def unsent(self) -> int:
        return unsent(self._request.transport)

    def send(self, data: bytes) -> None:
        if self._is_open():
            self._request.write(data)

    def finish(self) -> None:
        if self._is_open():
            socket = below(self._request.transport)
            self._request.handle_reply({"type": "http.response.body", "body": b"", "more_body": False})
            if socket is not None and unsent(socket):
                asyncio.get_running_loop().call_later(CLOSE_SECONDS, _cut, socket)

    def _is_open(self) -> bool:
        return not self._request.finished and not self._request._disconnected


def _cut(socket: Any) -> None:
    """Cut the connection if its client has not taken the end: nothing else limits how long it stays."""
    if unsent(socket):
        socket.abortConnection()


_pumps: set[asyncio.Task[None]] = set()  # those that are sending, of this process


async def flush(seconds: float) -> None:
    """Wait until all queues are sent, for so many seconds at most."""
    if _pumps:
        await asyncio.wait(_pumps, timeout=seconds)


class _Queue:
    """ASGI messages that wait for an awaited `send`."""

    def __init__(self, send: Send) -> None:
        self.unsent = 0
        self._send = send
        self._messages: deque[tuple[dict[str, Any], int]] = deque()
        self._pump: asyncio.Task[None] | None = None
        self._ended = False

    def put(self, message: dict[str, Any], size: int, *, last: bool = False) -> None:
        if self._ended:
            return
        self._ended = last
        self._messages.append((message, size))
        self.unsent += size
        if self._pump is None:
            self._pump = asyncio.ensure_future(self._run())
            _pumps.add(self._pump)
            self._pump.add_done_callback(_pumps.discard)

    async def _run(self) -> None:
        try:
            while self._messages:
                message, size = self._messages.popleft()
                await self._send(message)
                self.unsent -= size
        except Exception:  # the client is gone: servers raise different errors
            self._ended = True
            self._messages.clear()
        finally:
            self._pump = None


class QueuedSocket:
    """A WebSocket connection behind plain ASGI."""

    __slots__ = ("_queue",)

    def __init__(self, send: Send) -> None:
        self._queue = _Queue(send)

    @property
    def unsent(self) -> int:
        return self._queue.unsent

    def send(self, frame: Frame) -> None:
        self._queue.put({"type": "websocket.send", "text": frame.text}, len(frame.text))

    def send_burst(self, burst: Burst) -> None:
        for frame in burst.frames:
            self.send(frame)

    def close(self, code: int) -> None:
        self._queue.put({"type": "websocket.close", "code": code}, 0, last=True)


class QueuedStream:
    """A streamed response behind plain ASGI."""

    __slots__ = ("_queue",)

    def __init__(self, send: Send) -> None:
        self._queue = _Queue(send)

    @property
    def unsent(self) -> int:
        return self._queue.unsent

    def send(self, data: bytes) -> None:
        self._queue.put({"type": "http.response.body", "body": data, "more_body": True}, len(data))

    def finish(self) -> None:
        self._queue.put({"type": "http.response.body", "body": b"", "more_body": False}, 0, last=True)


def _protocol(scope: Mapping[str, Any], send: Send) -> Any | None:
    """Daphne's protocol object (a WebSocket protocol or a request), if Daphne serves this connection."""
    given = scope.get("extensions", {}).get(EXTENSION)
    if given is not None:
        return given
    send = inspect.unwrap(send)
    if isinstance(send, functools.partial) and len(send.args) == 1:
        with contextlib.suppress(ImportError):
            from daphne.http_protocol import WebRequest
            from daphne.ws_protocol import WebSocketProtocol

            if isinstance(send.args[0], (WebRequest, WebSocketProtocol)):
                return send.args[0]
    return None


def unsent(transport: Any) -> int:
    """Bytes that Twisted holds for a connection: those being written, and those queued after them."""
    transport = below(transport)
    if transport is None:
        return 0
    return len(transport.dataBuffer) - transport.offset + transport._tempDataLen


def below(transport: Any) -> Any | None:
    """The transport that has the socket, below TLS and HTTP."""
    # Its class has the attribute. Wrappers, such as TLS, pass unknown attributes on to what is below them.
    while transport is not None and not hasattr(type(transport), "dataBuffer"):
        transport = getattr(transport, "transport", None)
    return transport


def write(transport: Any, data: bytes) -> None:
    """Write bytes to the kernel at once if none are queued, else queue them.

    Twisted would hold them until the loop's next turn and have epoll watch the socket for it, which is most
    of the cost of a write.
    """
    # Only to the socket itself: below TLS, the bytes would not be encrypted.
    if hasattr(type(transport), "writeSomeData") and transport.connected and not unsent(transport):
        taken = transport.writeSomeData(data)
        if isinstance(taken, int):
            data = data[taken:]
    if data:
        transport.write(data)
