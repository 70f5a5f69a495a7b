"""Watches an SQLite file for commits, by `PRAGMA data_version` on a connection of its own.

The number changes when another connection has committed, of this or another process. Reading it takes a few
microseconds, and waits for nobody. https://www.sqlite.org/pragma.html#pragma_data_version
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from .. import history, limits
from ..metrics import count
from ..wakeup import notifications
from .way import Way

logger = logging.getLogger(__name__)


class DataVersion(Way):
    """Has the database polled when something was committed. `poll_soon` is called in the hub's loop."""

    name = "data_version"

    def __init__(self, poll_soon: Callable[[], None]) -> None:
        super().__init__()
        self.configured = notifications.is_watched()
        self._poll_soon = poll_soon
        self._stopped = False

    def tasks(self) -> list[Callable[[], Awaitable[None]]]:
        return [self.watch] if self.configured else []

    def stop(self) -> None:
        self._stopped = True

    async def watch(self) -> None:
        """Keep a thread that watches; after an error, a new one with a new connection."""
        loop = asyncio.get_running_loop()
        while True:
            ended: asyncio.Future[Exception] = loop.create_future()
            threading.Thread(
                target=self._watch, args=(loop, ended), name="sluice-data-version", daemon=True
            ).start()
            error = await ended
            self.failures += 1
            if self.failures == 1:
                logger.warning("the database can't be watched for commits: %s; it is polled", error)
            self.trouble = str(error)
            await asyncio.sleep(limits.POLL_SECONDS)

    def _watch(self, loop: asyncio.AbstractEventLoop, ended: asyncio.Future[Exception]) -> None:
        """In the thread."""
        database: Any = history.database()
        version = None
        try:
            database.ensure_connection()
            # The driver's connection: with DEBUG, Django's would keep each query in memory.
            connection: sqlite3.Connection = database.connection
            connection.execute("PRAGMA busy_timeout = 0")
            while not self._stopped:
                now = _version(connection)
                if now is not None:
                    self.returned_at = time.monotonic()
                    if now != version:
                        version = now
                        loop.call_soon_threadsafe(self._changed)
                time.sleep(limits.DATA_VERSION_SECONDS)
        except Exception as error:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(ended.set_result, error)
        finally:
            database.close()

    def _changed(self) -> None:
        if self.failures:
            logger.info("the database can be watched for commits again")
        self.failures = 0
        self.trouble = None
        count("hints")
        self._poll_soon()


def _version(connection: sqlite3.Connection) -> int | None:
    """The data version; None while a writer has the whole file locked, which is rare with WAL."""
    try:
        (version,) = connection.execute("PRAGMA data_version").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return None
        raise
    return int(version)
