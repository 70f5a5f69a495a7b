"""The frames of the protocol. Each is encoded once, for all connections."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from ..positions import Position

if TYPE_CHECKING:
    from ..history import Update


class Frame:
    """One frame: its JSON text, and its bytes for a WebSocket or an event stream."""

    __slots__ = ("_event", "_message", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._message: bytes | None = None
        self._event: bytes | None = None

    @property
    def message(self) -> bytes:
        """The bytes of a complete, unmasked WebSocket text frame."""
        if self._message is None:
            self._message = _websocket_frame(self.text.encode())
        return self._message

    @property
    def event(self) -> bytes:
        """The bytes of a server-sent event, without an id."""
        if self._event is None:
            self._event = b"data: " + self.text.encode() + b"\n\n"
        return self._event


class UpdateFrame(Frame):
    """The frame of one update of a stream."""

    __slots__ = ("offset", "published", "stream", "tag")

    def __init__(self, stream: str, offset: int, tag: str, text: str, published: float = 0.0) -> None:
        super().__init__(text)
        self.published = published  # Unix time, for metrics only; 0: unknown
        self.stream = stream
        self.offset = offset
        self.tag = tag

    @classmethod
    def of(cls, update: Update) -> UpdateFrame:
        """The frame of an update from history."""
        position = update.position
        return cls(update.stream, position.offset, position.tag, update.frame, update.published)

    @property
    def position(self) -> Position:
        """Just after this update."""
        return Position(self.offset, self.tag)


class Burst:
    """Consecutive updates of one stream that are written at once."""

    __slots__ = ("_message", "frames")

    def __init__(self, frames: list[UpdateFrame]) -> None:
        self.frames = frames
        self._message: bytes | None = None

    @property
    def message(self) -> bytes:
        """The bytes of their WebSocket frames."""
        if self._message is None:
            self._message = b"".join([frame.message for frame in self.frames])
        return self._message

    def after(self, offset: int) -> Burst:
        """The part that follows an offset."""
        return Burst([frame for frame in self.frames if frame.offset > offset])


def bursts(frames: list[UpdateFrame], size: int) -> Iterator[Burst]:
    """Consecutive updates in bursts of about `size` characters."""
    part: list[UpdateFrame] = []
    length = 0
    for frame in frames:
        part.append(frame)
        length += len(frame.text)
        if length >= size:
            yield Burst(part)
            part, length = [], 0
    if part:
        yield Burst(part)


SUBPROTOCOL: Final = "sluice.v1"

PING: Final = Frame('{"event": "ping"}')
PONG: Final = Frame('{"event": "pong"}')


def hello(streams: Mapping[str, Mapping[str, object]], *, ping: int, retry: int) -> Frame:
    """The first frame. `ping` in seconds, `retry` in milliseconds."""
    return _frame("hello", {"streams": streams, "ping": ping, "retry": retry})


def error(code: str, detail: str) -> Frame:
    """The response to a frame that no correct client sends."""
    return _frame("error", {"code": code, "detail": detail})


def close_event(code: int, retry: int | None = None) -> bytes:
    """The last event of an event stream, in place of a close frame. `retry`: when to come back, in ms."""
    data = {"code": code} if retry is None else {"code": code, "retry": retry}
    return f"event: close\ndata: {json.dumps(data)}\n\n".encode()


def _frame(event: str, payload: Mapping[str, Any]) -> Frame:
    return Frame(json.dumps({"event": event, "payload": payload}, ensure_ascii=False))


def _websocket_frame(payload: bytes) -> bytes:
    """RFC 6455, 5.2: FIN and opcode 1, then the length in as few bytes as possible."""
    length = len(payload)
    if length < 126:
        return struct.pack("!BB", 0x81, length) + payload
    if length < 1 << 16:
        return struct.pack("!BBH", 0x81, 126, length) + payload
    return struct.pack("!BBQ", 0x81, 127, length) + payload
