"""An event loop in its own thread, for what runs beside a test."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

_DEADLINE = 10.0  # seconds that a test waits for any result


class Background:
    """An event loop that runs until `close`. Other threads may call its methods."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run the coroutine on the loop and return its result."""
        return self.begin(work).result(_DEADLINE)

    def begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start the coroutine. It runs until `close` at the latest."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def do(self, action: Callable[[], T]) -> T:
        """Call a plain function on the loop and return its result."""

        async def call() -> T:
            return action()

        return self.run(call())

    def close(self) -> None:
        """Cancel all tasks and wait for their end, so that none is destroyed while it is pending."""
        self.run(_end_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_DEADLINE)
        self._loop.close()


async def _end_all() -> None:
    while tasks := asyncio.all_tasks() - {
        asyncio.current_task()
    }:  # tasks accepted in the meantime appear in the next round
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
