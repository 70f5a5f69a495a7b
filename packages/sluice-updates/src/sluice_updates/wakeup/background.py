"""Background work for requests: a bounded queue, and one daemon thread per process that empties it."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Final, Generic, TypeVar

logger = logging.getLogger(__name__)

Item = TypeVar("Item")

# The time for the queue at exit. Losing what remains must be harmless.
FLUSH_SECONDS: Final = 0.25
# The most items in one call of `handle`.
_BATCH: Final = 100


class BackgroundSender(Generic[Item]):
    """Hands items to `handle` in its own thread, which starts at the first put() of each process.

    So it starts after a fork. `handle(items)` gets one or more items in the order of their put(). If it
    raises, the error is logged, its items are counted in `failed`, and the next items follow. `idle()` is
    called in the same thread after each `idle_seconds` without an item. At the interpreter's exit the queue
    is flushed for at most FLUSH_SECONDS.
    """

    def __init__(
        self,
        name: str,
        handle: Callable[[list[Item]], None],
        maxsize: int = 1000,
        *,
        idle: Callable[[], None] | None = None,
        idle_seconds: float = 5.0,
    ) -> None:
        self.name = name
        self.maxsize = maxsize
        self.dropped = 0
        self.failed = 0
        self._handle = handle
        self._idle = idle
        self._idle_seconds = idle_seconds
        self._start_anew()
        _all.add(self)

    def put(self, item: Item) -> bool:
        """Queue an item. Never blocks or raises. False: the queue is full; the item is dropped."""
        if self._queue.qsize() >= self.maxsize or not self._ensure_thread():
            self.dropped += 1
            if self.dropped.bit_count() == 1:  # the 1st, 2nd, 4th, 8th …
                logger.warning(
                    "%s: %d items dropped so far, %d wait", self.name, self.dropped, self._queue.qsize()
                )
            return False
        self._queue.put(item)
        return True

    @property
    def waiting(self) -> int:
        """How many items wait in the queue."""
        return self._queue.qsize()

    def flush(self, timeout: float = FLUSH_SECONDS) -> bool:
        """Wait at most `timeout` seconds until all items so far are handled. Returns whether they are."""
        mark = self._mark()
        return mark.wait(timeout) if mark is not None else self._queue.empty()

    def _mark(self) -> _Mark | None:
        """Put a mark behind all waiting items, if there is a thread that will reach it."""
        if self._thread is None or not self._thread.is_alive():
            return None
        mark = _Mark()
        self._queue.put(mark)
        return mark

    def _start_anew(self) -> None:
        """Forget queue, lock and thread: after a fork they are the parent's, which empties its own queue."""
        self._queue: SimpleQueue[Item | _Mark] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def _ensure_thread(self) -> bool:
        if self._thread is not None and self._thread.is_alive():
            return True
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                thread = threading.Thread(target=self._run, args=(self._queue,), name=self.name, daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # the interpreter is exiting, or the system has no more threads
                    return False
                self._thread = thread
        return True

    def _run(self, queue: SimpleQueue[Item | _Mark]) -> None:
        while True:
            try:
                first = queue.get(timeout=self._idle_seconds)
            except Empty:
                if self._idle is not None:
                    self._guard(self._idle)
                continue
            items: list[Item] = []
            mark = _collect(first, queue, items)
            if items and not self._guard(self._handle, items):
                self.failed += len(items)
            if mark is not None:
                mark.set()

    def _guard(self, work: Callable[..., None], *arguments: object) -> bool:
        try:
            work(*arguments)
        except Exception:
            logger.exception("%s: batch dropped after an error", self.name)
            return False
        return True


class _Mark(threading.Event):
    """Put into the queue by flush(); set when all before it is handled."""


def _collect(first: object, queue: SimpleQueue, items: list) -> _Mark | None:
    """Move waiting items into `items`: at most a batch, and up to a mark, which is returned."""
    following = first
    while True:
        if isinstance(following, _Mark):
            return following
        items.append(following)
        if len(items) >= _BATCH:
            return None
        try:
            following = queue.get_nowait()
        except Empty:
            return None


_all: weakref.WeakSet[BackgroundSender] = weakref.WeakSet()


def _after_fork() -> None:
    for sender in _all:
        sender._start_anew()


def _at_exit() -> None:
    deadline = time.monotonic() + FLUSH_SECONDS  # for all of them together
    for mark in [sender._mark() for sender in _all]:
        if mark is not None:
            mark.wait(max(0.0, deadline - time.monotonic()))


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
