"""Many raw connections that misbehave, in one thread."""

from __future__ import annotations

import contextlib
import resource
import selectors
import socket
import time
from types import TracebackType


class Crowd:
    """Connections that send `data` once they are open, then nothing. They keep what they receive."""

    def __init__(self, address: str, port: int, count: int, data: bytes) -> None:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        self.received: dict[socket.socket, bytes] = {}
        self.ended: set[socket.socket] = set()
        self._data = data
        self._selector = selectors.DefaultSelector()
        for _ in range(count):
            one = socket.socket()
            one.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                one.connect((address, port))
            self.received[one] = b""
            self._selector.register(one, selectors.EVENT_WRITE)

    def __enter__(self) -> Crowd:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in self.received:
            one.close()
        self._selector.close()

    def run(self, seconds: float) -> None:
        """Handle what happens in so many seconds."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            for key, events in self._selector.select(min(left, 0.5)):
                one = key.fileobj
                assert isinstance(one, socket.socket)
                try:
                    if events & selectors.EVENT_WRITE:
                        one.sendall(self._data)
                        self._selector.modify(one, selectors.EVENT_READ)
                    else:
                        got = one.recv(65536)
                        self.received[one] += got
                        if not got:
                            self._end(one)
                except OSError:
                    self._end(one)

    def _end(self, one: socket.socket) -> None:
        self._selector.unregister(one)
        self.ended.add(one)
