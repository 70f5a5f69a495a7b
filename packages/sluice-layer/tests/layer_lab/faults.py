"""A TCP proxy in front of the broker that simulates network faults."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable


class FaultProxy:
    """Forwards to the broker, on a loopback port that stays the same through `refuse` and `accept`.

    `strand` makes the open connections half-open: they stay open, but carry nothing any more.
    The other faults are attributes and act while they are set:
    - fin_on_accept: this many new connections are closed with a FIN before the broker sends anything
    - silent_on_accept: this many new connections are accepted, and carry nothing
    - reset_on_accept: new connections are reset at once
    - cut_on: when the client next sends these octets, its connection is reset instead
    - delay: seconds by which each piece towards the client is delayed
    """

    def __init__(self, target: Callable[[], tuple[str, int]], listen: str = "127.0.0.1") -> None:
        self._target = target
        self._listen = listen
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stranded: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.accepted = 0
        self.fin_on_accept = 0
        self.silent_on_accept = 0
        self.reset_on_accept = False
        self.cut_on: bytes | None = None
        self.delay = 0.0
        self._watched: list[tuple[bytes, asyncio.Event]] = []

    @property
    def open(self) -> int:
        """Number of open client connections."""
        return sum(not writer.is_closing() for writer in self._writers) // 2

    async def accept(self) -> None:
        self._server = await asyncio.start_server(self._serve, self._listen, self.port, reuse_address=True)
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Close the port and reset all connections, as a broker's death does."""
        assert self._server is not None
        self._server.close()
        self.reset()

    def reset(self) -> None:
        """Reset all connections."""
        for writer in list(self._writers):
            _reset(writer)

    def strand(self) -> None:
        self._stranded |= self._writers

    def watch(self, octets: bytes) -> asyncio.Event:
        """An event that is set when the broker has sent these octets in one piece."""
        seen = asyncio.Event()
        self._watched.append((octets, seen))
        return seen

    async def close(self) -> None:
        await self.refuse()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.accepted += 1
        if self.reset_on_accept:
            _reset(writer)
            return
        if self.fin_on_accept:
            self.fin_on_accept -= 1
            await reader.readexactly(8)  # closing with unread data would send a reset
            writer.close()
            return
        if self.silent_on_accept:
            self.silent_on_accept -= 1
            with contextlib.suppress(OSError):
                while await reader.read(65536):
                    pass
            _reset(writer)
            return
        try:
            there_reader, there_writer = await asyncio.open_connection(*self._target())
        except OSError:
            _reset(writer)
            return
        pair = {writer, there_writer}
        self._writers |= pair
        try:
            await asyncio.gather(
                self._pump(reader, there_writer, from_client=True),
                self._pump(there_reader, writer, from_client=False),
            )
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._writers -= pair
            for end in pair:
                _reset(end)

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, from_client: bool
    ) -> None:
        while piece := await source.read(65536):
            if sink in self._stranded:
                continue
            if from_client:
                if self.cut_on is not None and self.cut_on in piece:
                    self.cut_on = None
                    raise ConnectionResetError
            else:
                for octets, seen in self._watched:
                    if octets in piece:
                        seen.set()
                if self.delay:
                    await asyncio.sleep(self.delay)
            sink.write(piece)
            await sink.drain()
        sink.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextlib.asynccontextmanager
async def proxy_to(target: Callable[[], tuple[str, int]]) -> AsyncIterator[FaultProxy]:
    proxy = FaultProxy(target)
    await proxy.accept()
    try:
        yield proxy
    finally:
        await proxy.close()
