"""A TCP proxy that delays some of the traffic, on a free loopback port."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from .loopback import LoopbackServer


class SlowLine(LoopbackServer):
    """A proxy in front of `port` of this machine. Data that contains `mark`, and all data after it, arrives
    `seconds` later. A context manager.
    """

    def __init__(self, port: int, mark: bytes, seconds: float) -> None:
        super().__init__("slow line")
        self._target = port
        self._mark = mark
        self._seconds = seconds

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target)
        await asyncio.gather(self._pass(reader, there_writer, self._mark), self._pass(there_reader, writer))

    async def _pass(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, mark: bytes | None = None
    ) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65536):
                if mark is not None and mark in data:
                    await asyncio.sleep(self._seconds)
                target.write(data)
                await target.drain()
        target.close()
