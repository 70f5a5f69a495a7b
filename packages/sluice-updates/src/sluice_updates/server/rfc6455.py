"""Reads the frames of a WebSocket client (RFC 6455, 5). No input or output here."""

from __future__ import annotations

from typing import Final, NamedTuple

from .. import limits

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

PROTOCOL_ERROR: Final = 1002
NOT_UTF8: Final = 1007
TOO_BIG: Final = 1009

_DATA: Final = frozenset({CONTINUATION, TEXT, BINARY})
_CONTROL: Final = frozenset({CLOSE, PING, PONG})
_LARGEST_CONTROL: Final = 125


class Violation(Exception):
    """The client broke the protocol. The connection is closed with this code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Message(NamedTuple):
    """A complete message, or a control frame."""

    opcode: int
    payload: bytes


class Reader:
    """Puts messages together from the bytes of one client. `is_empty`: nothing has begun."""

    __slots__ = ("_buffer", "_fragments", "_opcode", "_size")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._opcode: int | None = None  # of the fragmented message that has begun
        self._fragments: list[bytes] = []
        self._size = 0  # of those fragments

    @property
    def is_empty(self) -> bool:
        return not self._buffer and self._opcode is None

    def feed(self, data: bytes) -> None:
        """Add received bytes."""
        self._buffer += data

    def next(self) -> Message | None:
        """The next complete message; None if more bytes are needed. Raises Violation."""
        while (frame := self._frame()) is not None:
            message = self._assemble(*frame)
            if message is not None:
                return message
        return None

    def _frame(self) -> tuple[int, bool, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        final, opcode, size = bool(buffer[0] & 0x80), buffer[0] & 0x0F, buffer[1] & 0x7F
        is_control = opcode in _CONTROL
        if (
            buffer[0] & 0x70
            or not buffer[1] & 0x80  # not masked
            or not (is_control or opcode in _DATA)
            or (is_control and (size > _LARGEST_CONTROL or not final))
            or (opcode == CONTINUATION and self._opcode is None)
            or (opcode in (TEXT, BINARY) and self._opcode is not None)
        ):
            raise Violation(PROTOCOL_ERROR)
        start = 2
        if size >= 126:
            start += 2 if size == 126 else 8
            if len(buffer) < start:
                return None
            smallest = 126 if size == 126 else 1 << 16
            size = int.from_bytes(buffer[2:start])
            if size < smallest or size >= 1 << 63:
                raise Violation(PROTOCOL_ERROR)
        if self._size + size > limits.MESSAGE_BYTES and not is_control:
            raise Violation(TOO_BIG)
        end = start + 4 + size
        if len(buffer) < end:
            return None
        payload = _unmask(bytes(buffer[start : start + 4]), bytes(buffer[start + 4 : end]))
        del buffer[:end]
        return opcode, final, payload

    def _assemble(self, opcode: int, final: bool, payload: bytes) -> Message | None:
        if opcode in _CONTROL:
            return Message(opcode, payload)
        if final and self._opcode is None:
            return Message(opcode, payload)
        self._opcode = opcode if self._opcode is None else self._opcode
        if payload:  # empty fragments would cost memory without counting
            self._fragments.append(payload)
        self._size += len(payload)
        if not final:
            return None
        message = Message(self._opcode, b"".join(self._fragments))
        self._opcode, self._fragments, self._size = None, [], 0
        return message


def close_code(payload: bytes) -> int:
    """The code of a close frame; 1005 if it has none. Raises Violation."""
    if not payload:
        return 1005
    code = int.from_bytes(payload[:2])
    is_allowed = code in range(1000, 1004) or code in range(1007, 1015) or code in range(3000, 5000)
    if len(payload) == 1 or not is_allowed:
        raise Violation(PROTOCOL_ERROR)
    text(payload[2:])
    return code


def text(payload: bytes) -> str:
    """Raises Violation if it is not UTF-8."""
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise Violation(NOT_UTF8) from None


def control_frame(opcode: int, payload: bytes) -> bytes:
    """A frame of the server. The payload has at most 125 bytes."""
    return bytes((0x80 | opcode, len(payload))) + payload


def close_frame(code: int, reason: str = "") -> bytes:
    """A close frame of the server. The reason is ASCII, of at most 123 characters."""
    return control_frame(CLOSE, code.to_bytes(2) + reason.encode("ascii"))


def _unmask(mask: bytes, payload: bytes) -> bytes:
    size = len(payload)
    pattern = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload) ^ int.from_bytes(pattern)).to_bytes(size)
