"""A time limit for coroutines, and the queue on which the mailboxes are based."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from .errors import LayerUnavailable

T = TypeVar("T")


async def within(seconds: float, operation: Coroutine[Any, Any, T], why: Callable[[], str]) -> T:
    """The operation's result, or LayerUnavailable(why()) after `seconds`.

    Unlike asyncio.wait_for, it never waits until the cancelled operation has ended.
    """
    task = asyncio.ensure_future(operation)
    try:
        await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            raise LayerUnavailable(why())
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            task.add_done_callback(lambda done: None if done.cancelled() else done.exception() and None)


class Box(Generic[T]):
    """A queue for one event loop that counts its readers.

    Like with asyncio.Queue, a cancelled `get` loses nothing. In addition, waiting items can be inspected and
    removed.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiters: deque[asyncio.Future[None]] = deque()
        self.items: deque[T] = deque()
        self.readers = 0
        self.read_at = self._loop.time()  # loop time of the last read

    def put(self, item: T) -> None:
        self.items.append(item)
        self._wake_one()

    async def get(self) -> T:
        self.readers += 1
        try:
            while not self.items:
                waiter = self._loop.create_future()
                self._waiters.append(waiter)
                try:
                    await waiter
                except BaseException:
                    if waiter in self._waiters:
                        self._waiters.remove(waiter)
                    if self.items:
                        self._wake_one()  # this reader may have consumed the only wake-up
                    raise
            return self.items.popleft()
        finally:
            self.readers -= 1
            self.read_at = self._loop.time()

    def close(self, error: Callable[[], BaseException]) -> None:
        """Make all pending calls of `get` raise."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(error())

    def _wake_one(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
