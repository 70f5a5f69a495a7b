"""An event loop on a thread of its own, for what goes on beside a test."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

_DEADLINE = 10.0  # seconds for whatever a test waits for


class Background:
    """The loop, running until `close`. Its methods may be called from any other thread."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What it comes to."""
        return self.begin(work).result(_DEADLINE)

    def begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Let it go on, until `close` at most."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def do(self, action: Callable[[], T]) -> T:
        """What a plain function returns when it is called there."""

        async def call() -> T:
            return action()

        return self.run(call())

    def close(self) -> None:
        """Cancel all that goes on, and return when it has ended: nothing of it is left to be destroyed."""
        self.run(_end_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_DEADLINE)
        self._loop.close()


async def _end_all() -> None:
    while tasks := asyncio.all_tasks() - {
        asyncio.current_task()
    }:  # one that is accepted meanwhile comes later
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
