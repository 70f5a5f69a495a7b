"""Sending under an ASGI server other than Daphne."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

from harness.waiting import until
from sluice_updates.asgi.transport import socket_transport, stream_transport
from sluice_updates.push.frames import Frame
from updates_lab.site import environment


def test_a_slow_server_is_not_waited_for() -> None:
    async def check() -> None:
        taken: list[dict[str, Any]] = []
        may = asyncio.Event()

        async def send(message: dict[str, Any]) -> None:
            await may.wait()
            taken.append(message)

        transport = socket_transport({}, send)
        transport.send(Frame("one"))
        transport.send(Frame("two"))
        transport.close(4008)
        transport.send(Frame("too late"))
        assert transport.unsent == 6
        may.set()
        await until(lambda: len(taken) == 3, 5, "all three")
        assert transport.unsent == 0
        assert [message.get("text") or message["code"] for message in taken] == ["one", "two", 4008]

    asyncio.run(check())


def test_a_client_that_is_gone_is_no_error() -> None:
    async def check() -> None:
        tried: list[dict[str, Any]] = []

        async def send(message: dict[str, Any]) -> None:
            tried.append(message)
            raise OSError("gone")

        transport = stream_transport({}, send)
        transport.send(b"one")
        await until(lambda: tried, 5, "the attempt")
        await asyncio.sleep(0)
        transport.send(b"two")
        transport.finish()
        await asyncio.sleep(0)
        assert len(tried) == 1

    asyncio.run(check())


def test_below_tls_frames_are_encrypted() -> None:
    """A write to the socket itself would bypass TLS."""
    done = subprocess.run(
        [sys.executable, "-m", "hubsite.tls"], env=environment(), capture_output=True, text=True, timeout=30
    )
    assert (done.stdout, done.returncode) == ("encrypted\n", 0), done.stderr
