"""Database calls that do not return."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import threading
import time
from collections.abc import Callable

import pytest
from django.db import OperationalError, connections

from harness.servers import Postgres
from harness.waiting import until, wait_until
from sluice_updates.push.database_thread import DatabaseThread, DatabaseUnavailable
from sluice_updates.push.hub import get_hub, running_hubs


def test_results_and_errors_come_back() -> None:
    async def check() -> None:
        thread = DatabaseThread("test")
        assert await thread.run(lambda a, b: a + b, 1, 2, within=5) == 3
        with pytest.raises(ZeroDivisionError):
            await thread.run(lambda: 1 // 0, within=5)
        with pytest.raises(DatabaseUnavailable, match="gone"):
            await thread.run(_raise, OperationalError("gone"), within=5)
        assert await thread.run(threading.get_ident, within=5) == await thread.run(
            threading.get_ident, within=5
        )
        thread.stop()

    asyncio.run(check())


def test_a_stuck_call_fails_without_delaying_the_next() -> None:
    released = threading.Event()

    async def check() -> None:
        thread = DatabaseThread("test", stall=0.2)
        first = await thread.run(threading.get_ident, within=5)
        stuck = asyncio.ensure_future(thread.run(released.wait, within=5))
        waiting = asyncio.ensure_future(thread.run(threading.get_ident, within=5))
        began = time.monotonic()
        with pytest.raises(DatabaseUnavailable):
            await stuck
        assert await waiting != first
        assert time.monotonic() - began < 2
        thread.stop()

    try:
        asyncio.run(check())
    finally:
        released.set()


def test_a_call_whose_caller_gave_up_is_not_run() -> None:
    done: list[str] = []
    released = threading.Event()

    async def check() -> None:
        thread = DatabaseThread("test")
        busy = asyncio.ensure_future(thread.run(released.wait, within=5))
        await asyncio.sleep(0)  # it starts before the next call
        with pytest.raises(DatabaseUnavailable):
            await thread.run(done.append, "late", within=0.05)
        released.set()
        await busy
        await thread.run(done.append, "in time", within=5)
        thread.stop()

    asyncio.run(check())
    assert done == ["in time"]


def _raise(error: Exception) -> None:
    raise error


def test_a_server_that_stops_answering_leaves_no_files_open(
    postgresql: Postgres, database_on: Callable[[str], str]
) -> None:
    """The files are closed even before a garbage collection: a failed call's traceback keeps nothing
    alive.
    """
    alias = database_on("postgresql")

    async def check() -> None:
        thread = DatabaseThread("test", stall=0.3)
        await thread.run(_ask, alias, within=5)
        before = _sockets()
        postgresql.pause()
        try:
            for _ in range(12):
                with pytest.raises(DatabaseUnavailable):
                    await thread.run(_ask, alias, within=0.5)
        finally:
            postgresql.resume()
        await thread.run(_ask, alias, within=10)
        await until(lambda: _sockets() <= before, 10, "no more sockets than before")
        thread.stop()

    gc.disable()
    try:
        asyncio.run(check())
    finally:
        gc.enable()


def test_a_hubs_threads_end_with_its_loop(database: str) -> None:
    """A test's loop ends without a stop(), and its database is dropped after that."""

    def of_a_hub() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("sluice-")]

    async def check() -> None:
        hub = get_hub()
        await hub.poller.has_polled.wait()
        assert not hub.poller.failures and "sluice-hub" in of_a_hub()

    asyncio.run(check())
    wait_until(lambda: not of_a_hub(), 10, "their end")
    assert running_hubs() == []


def _ask(alias: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT 1")


def _sockets() -> int:
    links = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the folder's own handle
            links.append(os.readlink(f"/proc/self/fd/{name}"))
    return sum(link.startswith("socket:") for link in links)
