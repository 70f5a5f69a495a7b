"""An HTTP proxy between a browser and a site, which misbehaves by a test's rules.

Real proxies do all of this: remove upgrade headers, accept a WebSocket and hold back its frames, buffer a
stream, replace the Host header, respond in the site's place, or drop packets silently.
"""

from __future__ import annotations

import asyncio
import re
import socket
from contextlib import suppress
from dataclasses import dataclass

from .loopback import LoopbackServer

NARROW = 4096  # bytes that the kernel buffers for a connection, approximately


@dataclass
class Rules:
    """How the proxy treats new connections."""

    strip_upgrade: bool = False
    """Remove Upgrade and Connection, as HTTP requires of proxies that don't support them."""
    swallow_frames: bool = False
    """Forward the upgrade, but none of the data after it."""
    buffer_streams: bool = False
    """Hold back the body of an event stream."""
    block: str = ""
    """Respond to requests below this path with the proxy's own 404 page."""
    host: str = ""
    """Replace the Host header."""
    narrow: bool = False
    """Buffer almost nothing of what the browser doesn't read."""


@dataclass(eq=False)
class _Pair:
    """A browser's connection and the matching one to the site."""

    browser: asyncio.StreamWriter
    site: asyncio.StreamWriter
    silent: bool = False


class Meddler(LoopbackServer):
    """The proxy, on a loopback port, in front of the site at `host` and `port`. It serves one request per
    connection.
    """

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        super().__init__("meddler")
        self.rules = Rules()
        self.down = False
        self._target = (host, port)
        self._pairs: set[_Pair] = set()

    def cut(self) -> None:
        """Break off all connections."""

        def abort() -> None:
            for pair in self._pairs:
                pair.browser.transport.abort()
                pair.site.transport.abort()

        self._background.do(abort)

    def go_silent(self) -> None:
        """Forward nothing more on the open connections, in either direction. Neither side is told."""

        def silence() -> None:
            for pair in self._pairs:
                pair.silent = True

        self._background.do(silence)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._answer(reader, writer)
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        if self.down:
            writer.transport.abort()
            return
        if self.rules.block and head.split()[1].startswith(self.rules.block):
            body = "<h1>Not Found</h1>"
            writer.write(
                f"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\n"
                f"Connection: close\r\n\r\n{body}".encode()
            )
            await writer.drain()
            return
        wire = socket.socket()
        wire.setblocking(False)
        if self.rules.narrow:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, NARROW)
        try:
            await asyncio.get_running_loop().sock_connect(wire, self._target)
        except BaseException:
            wire.close()
            raise
        site_reader, site_writer = await asyncio.open_connection(sock=wire)
        pair = _Pair(writer, site_writer)
        self._pairs.add(pair)
        try:
            site_writer.write(self._rewritten(head).encode("latin-1"))
            await self._relay(pair, reader, site_reader)
            await writer.drain()
        finally:
            self._pairs.discard(pair)
            site_writer.close()

    def _rewritten(self, head: str) -> str:
        """The request as it is forwarded. Only an upgrade keeps its connection; others end with their
        response.
        """
        upgrade = re.search(r"(?im)^upgrade: *websocket", head) is not None
        if self.rules.strip_upgrade or not upgrade:
            head = re.sub(r"(?im)^(upgrade|connection):.*\r\n", "", head)
            head = head.replace("\r\n", "\r\nConnection: close\r\n", 1)
        if self.rules.host:
            head = re.sub(r"(?im)^host:.*\r\n", f"Host: {self.rules.host}\r\n", head)
        return head

    async def _relay(self, pair: _Pair, browser: asyncio.StreamReader, site: asyncio.StreamReader) -> None:
        head = await site.readuntil(b"\r\n\r\n")
        pair.browser.write(head)
        held_back = (self.rules.swallow_frames and head.startswith(b"HTTP/1.1 101")) or (
            self.rules.buffer_streams and b"text/event-stream" in head
        )
        ways = [
            asyncio.ensure_future(self._pass_on(pair, browser, pair.site, held_back)),
            asyncio.ensure_future(self._pass_on(pair, site, pair.browser, held_back)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    @staticmethod
    async def _pass_on(
        pair: _Pair, source: asyncio.StreamReader, target: asyncio.StreamWriter, held_back: bool
    ) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                if not (pair.silent or held_back):
                    target.write(data)
                    await target.drain()
            if pair.silent:  # nor does it forward that the other side closed
                await asyncio.Event().wait()
