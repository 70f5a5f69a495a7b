"""A base for a test's own server, on a free loopback port."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from .background import Background


class LoopbackServer(ABC):
    """Serves TCP connections in the background during the `with` block."""

    port: int

    def __init__(self, name: str) -> None:
        self._background = Background(name)

    def __enter__(self) -> Self:
        self._server = self._background.run(asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**20))
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._background.do(self._server.close)
        self.cut()
        self._background.close()

    def cut(self) -> None:  # noqa: B027  (what is not broken off ends with the background)
        """Break off all connections."""

    @abstractmethod
    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
