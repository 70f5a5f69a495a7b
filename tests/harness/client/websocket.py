"""RFC 6455 on the client's side, strict about what the server sends. The client offers no extension."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from . import http

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
CONTINUATION = 0x0
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Refused(Exception):
    """The response to the handshake was not a correct 101."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(f"handshake refused: {status} {body[:200]!r}")
        self.status = status
        self.headers = headers
        self.body = body


class Closed(Exception):
    """The connection ended. `code`: as a browser reports it (1006 without a close frame, 1005 with an empty
    one).
    """

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"closed with {code} {reason}".rstrip())
        self.code = code
        self.reason = reason


class ProtocolBroken(Exception):
    """The server violated RFC 6455."""


@dataclass(frozen=True)
class Frame:
    """One received frame."""

    final: bool
    opcode: int
    payload: bytes


class WebSocket:
    """An open connection. `receive` responds to protocol pings."""

    def __init__(self, response: http.Response) -> None:
        self.response = response
        self.subprotocol = response.headers.get("sec-websocket-protocol")
        self._reader = response.reader
        self._writer = response.writer

    @classmethod
    async def connect(
        cls,
        place: http.Place,
        target: str,
        *,
        cookies: str = "",
        origin: str | None = "",
        subprotocols: str = "sluice.v1",
        headers: Mapping[str, str] | None = None,
    ) -> WebSocket:
        """Connect and do the handshake. `origin`: "" for the site's own, None for none. Raises Refused,
        OSError, asyncio.IncompleteReadError.
        """
        key = base64.b64encode(os.urandom(16)).decode()
        sent = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": key,
        }
        if origin is not None:
            sent["Origin"] = origin or place.origin
        if subprotocols:
            sent["Sec-WebSocket-Protocol"] = subprotocols
        if cookies:
            sent["Cookie"] = cookies
        response = await http.send(place, "GET", place.prefix + target, sent | dict(headers or {}))
        if response.status != 101:
            async with asyncio.timeout(5):
                body = await response.body()
            response.close()
            raise Refused(response.status, response.headers, body)
        expected = base64.b64encode(hashlib.sha1((key + _GUID).encode()).digest()).decode()
        if response.headers.get("sec-websocket-accept") != expected:
            raise ProtocolBroken(
                f"Sec-WebSocket-Accept {response.headers.get('sec-websocket-accept')!r}, not {expected!r}"
            )
        if response.headers.get("sec-websocket-extensions"):
            raise ProtocolBroken("an extension that was not offered")
        if response.headers.get("sec-websocket-protocol") not in (
            None,
            *subprotocols.replace(" ", "").split(","),
        ):
            raise ProtocolBroken("a subprotocol that was not offered")
        return cls(response)

    async def receive(self) -> str:
        """Return the next text message. Raises Closed, ProtocolBroken."""
        message = b""
        started = False
        while True:
            frame = await self.read_frame()
            if frame.opcode == PING:
                await self.send_frame(PONG, frame.payload)
            elif frame.opcode == CLOSE:
                raise await self._closed(frame)
            elif frame.opcode in (TEXT, CONTINUATION):
                if started == (frame.opcode == TEXT):
                    raise ProtocolBroken("fragments out of order")
                started = True
                message += frame.payload
                if frame.final:
                    return message.decode()
            elif frame.opcode == BINARY:
                raise ProtocolBroken("a binary message")

    async def read_frame(self) -> Frame:
        """Return the next frame, including control frames. Raises Closed(1006) when the connection breaks
        off.
        """
        try:
            first, second = await self._reader.readexactly(2)
            length = second & 0x7F
            if length == 126:
                (length,) = struct.unpack("!H", await self._reader.readexactly(2))
            elif length == 127:
                (length,) = struct.unpack("!Q", await self._reader.readexactly(8))
            if second & 0x80:
                raise ProtocolBroken("a masked frame from the server")
            payload = await self._reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError) as error:
            self.abort()
            raise Closed(1006, repr(error)) from None
        frame = Frame(bool(first & 0x80), first & 0x0F, payload)
        if first & 0x70:
            raise ProtocolBroken("reserved bits set")
        if frame.opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
            raise ProtocolBroken(f"opcode {frame.opcode}")
        if frame.opcode >= CLOSE and (not frame.final or len(payload) > 125):
            raise ProtocolBroken("a fragmented or oversized control frame")
        return frame

    async def send(self, text: str) -> None:
        """Send a text message. Raises OSError."""
        await self.send_frame(TEXT, text.encode())

    async def send_frame(
        self, opcode: int, payload: bytes, *, final: bool = True, masked: bool = True, bits: int = 0
    ) -> None:
        """Send one frame. The arguments allow invalid ones."""
        head = bytes([(0x80 if final else 0) | bits | opcode])
        mask_bit = 0x80 if masked else 0
        if len(payload) < 126:
            head += bytes([mask_bit | len(payload)])
        elif len(payload) < 65536:
            head += bytes([mask_bit | 126]) + struct.pack("!H", len(payload))
        else:
            head += bytes([mask_bit | 127]) + struct.pack("!Q", len(payload))
        if masked:
            mask = os.urandom(4)
            key = int.from_bytes((mask * (len(payload) // 4 + 1))[: len(payload)])
            head += mask
            payload = (int.from_bytes(payload) ^ key).to_bytes(len(payload))
        await self.send_raw(head + payload)

    async def send_raw(self, data: bytes) -> None:
        """Send raw bytes."""
        self._writer.write(data)
        await self._writer.drain()

    async def close(self, code: int = 1000) -> None:
        """Send a close frame, wait at most 5 s for the server's, and drop the connection."""
        try:
            async with asyncio.timeout(5):
                await self.send_frame(CLOSE, struct.pack("!H", code))
                while (await self.read_frame()).opcode != CLOSE:
                    pass
        except (OSError, TimeoutError, Closed, ProtocolBroken):
            pass
        self.abort()

    def abort(self) -> None:
        """Drop the connection without a close frame."""
        self._writer.close()

    async def _closed(self, frame: Frame) -> Closed:
        code = struct.unpack("!H", frame.payload[:2])[0] if len(frame.payload) >= 2 else 1005
        with contextlib.suppress(OSError):
            await self.send_frame(CLOSE, frame.payload[:2])
        self.abort()
        return Closed(code, frame.payload[2:].decode(errors="replace"))
