"""Database calls that don't come back."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from django.db import OperationalError

from updates.database_thread import DatabaseThread, DatabaseUnavailable


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


def test_a_call_that_is_stuck_costs_its_own_caller_and_nobody_after_it() -> None:
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


def test_who_no_longer_waits_is_not_worked_for() -> None:
    done: list[str] = []
    released = threading.Event()

    async def check() -> None:
        thread = DatabaseThread("test")
        busy = asyncio.ensure_future(thread.run(released.wait, within=5))
        await asyncio.sleep(0)  # it is in hand before the next
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
