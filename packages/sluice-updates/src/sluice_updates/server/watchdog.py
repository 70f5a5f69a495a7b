"""Ends a process whose event loop is stuck, from a thread: nothing on the loop itself can."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import sys
import threading
import time

from .. import limits

EXIT_STATUS = 70  # EX_SOFTWARE


class Watchdog(threading.Thread):
    """Checks every second whether the loop runs. Exits after LOOP_STUCK_SECONDS failed checks in a row.

    It counts checks, not time: a stopped process, or a suspended machine, is not stuck.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(name="sluice-watchdog", daemon=True)
        self._loop = loop
        self._came_round = threading.Event()

    def run(self) -> None:
        missed = 0
        while not self._loop.is_closed():
            self._came_round.clear()
            try:
                self._loop.call_soon_threadsafe(self._came_round.set)
            except RuntimeError:  # the loop was closed
                return
            time.sleep(1)
            missed = 0 if self._came_round.is_set() else missed + 1
            if missed >= limits.LOOP_STUCK_SECONDS:
                print(f"sluice: the event loop is stuck for {missed} s; exiting", file=sys.stderr, flush=True)
                faulthandler.dump_traceback(all_threads=True)
                os._exit(EXIT_STATUS)
