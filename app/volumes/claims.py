"""A lock per crop, held by the process that cuts it and released when that process dies.

On PostgreSQL: an advisory lock, held by the worker's connection. The server releases it with the connection,
so the crop of a killed worker is free at once. (If the worker's machine vanished: after the connection's
keep-alives.) On SQLite, so on one host: a lock on a file, which the kernel releases with the process.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from django.conf import settings
from django.db import Error, OperationalError, connection

# The advisory locks of a database share one space of 64-bit numbers. Ours begin here.
_SPACE: Final = 0x51CE << 40
# The server may need a moment to notice that a worker was killed.
PATIENCE_SECONDS: Final = 2


@contextmanager
def claim(crop_id: int) -> Iterator[bool]:
    """Take the crop's lock for the block, if it is free.

    Yields whether it was. Use it outside transactions.
    """
    held = _lock_row if connection.vendor == "postgresql" else _lock_file
    with held(crop_id) as mine:
        yield mine


def claimed(crop_ids: Collection[int]) -> set[int]:
    """Those of the crops whose lock is taken."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks"
                " WHERE locktype = 'advisory' AND objsubid = 1 AND granted"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            locks = {row[0] for row in cursor.fetchall()}
        return {crop_id for crop_id in crop_ids if _SPACE + crop_id in locks}
    return {crop_id for crop_id in crop_ids if _is_file_locked(crop_id)}


@contextmanager
def _lock_row(crop_id: int) -> Iterator[bool]:
    number = _SPACE + crop_id
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, false)", [f"{PATIENCE_SECONDS}s"])
        try:
            cursor.execute("SELECT pg_advisory_lock(%s)", [number])
            mine = True
        except OperationalError as error:
            if getattr(error.__cause__, "sqlstate", "") != "55P03":  # lock_not_available
                raise
            mine = False
        finally:
            with suppress(Error):
                cursor.execute("RESET lock_timeout")
    try:
        yield mine
    finally:
        if mine:
            # If the connection is lost, so is the lock.
            with suppress(Error), connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [number])


@contextmanager
def _lock_file(crop_id: int) -> Iterator[bool]:
    path = _file(crop_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(handle)


def _is_file_locked(crop_id: int) -> bool:
    try:
        handle = os.open(_file(crop_id), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _file(crop_id: int) -> Path:
    return Path(settings.MEDIA_ROOT) / "claims" / str(crop_id)
