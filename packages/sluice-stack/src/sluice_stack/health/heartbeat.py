"""The heartbeat of a process without a port: a file that it touches.

images/app/heartbeat checks the file's age. Beat touches its file from its loop. For a Celery worker, the
processes that run tasks touch the file: see sluice_stack.celery.self_check.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from pathlib import Path
from typing import Final


class Heartbeat:
    """The heartbeat file `/tmp/<service>.alive`."""

    SECONDS: Final = 5.0

    def __init__(self, service: str, directory: Path | None = None) -> None:
        self.path = (directory or Path(tempfile.gettempdir())) / f"{service}.alive"
        self._next = 0.0

    def beat(self) -> None:
        """Touch the file, about every SECONDS at most. Never raises: a full disk must not stop the work."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + self.SECONDS * 0.9
        self.touch()

    def touch(self) -> None:
        """Touch the file now. Never raises."""
        with contextlib.suppress(OSError):
            # Symbolic links are not followed: on a host, other users may write to the directory.
            handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            try:
                os.utime(handle)
            finally:
                os.close(handle)

    def last(self) -> int:
        """The time of the last touch, by any process, in nanoseconds; 0 if there was none."""
        try:
            return self.path.stat().st_mtime_ns
        except OSError:
            return 0
