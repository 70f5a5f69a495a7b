"""The proxy in front of a site leaves nothing behind, whatever it was doing."""

from __future__ import annotations

import contextlib
import gc
import socket
import threading
from collections.abc import Iterator

import pytest

from harness.meddler import Meddler

REQUEST = b"GET /channels/updates/ HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"
ANSWER = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"


@pytest.fixture
def site() -> Iterator[int]:
    """The port of a site that accepts every upgrade and then sends nothing."""
    with contextlib.ExitStack() as open_ones:
        listener = open_ones.enter_context(socket.create_server(("127.0.0.1", 0)))

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    wire = open_ones.enter_context(listener.accept()[0])
                    wire.sendall(ANSWER)

        threading.Thread(target=serve, name="site", daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("silent", [False, True])
def test_connections_in_progress_are_ended(site: int, caplog: pytest.LogCaptureFixture, silent: bool) -> None:
    with Meddler(site) as meddler, socket.create_connection(("127.0.0.1", meddler.port)) as browser:
        browser.sendall(REQUEST)
        assert browser.recv(len(ANSWER), socket.MSG_WAITALL) == ANSWER
        if silent:
            meddler.go_silent()
    gc.collect()  # asyncio warns about a pending task when it is destroyed
    assert not caplog.records
