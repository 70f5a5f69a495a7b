"""Database calls for an event loop: one thread, one connection, every wait bounded here.

A frozen server cannot enforce `statement_timeout`, and its client waits forever. So a call that takes longer
than `stall` seconds is abandoned: its socket is shut down, which ends the blocked thread, and a new thread
with its own connection takes the next call.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import queue
import socket
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

from django.db import InterfaceError, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from .. import limits
from ..metrics import count

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

CONNECT_SECONDS = 2


class DatabaseUnavailable(Exception):
    """The database did not respond in time, or refused. The result of the call is unknown."""


class DatabaseThread:
    """Runs functions that use Django's database, one at a time, in a thread that is replaced when stuck."""

    def __init__(self, name: str, *, stall: float = limits.STALL_SECONDS) -> None:
        self.name = name
        self._stall = stall
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._worker: _Worker | None = None
        self._watch: asyncio.TimerHandle | None = None

    async def run(self, function: Callable[..., Result], *arguments: Any, within: float) -> Result:
        """Call the function in the thread. Returns what it returns and raises what it raises.

        Raises DatabaseUnavailable if the database refuses or stalls, or after `within` seconds.
        """
        loop = asyncio.get_running_loop()
        job = _Job(function, arguments, loop)
        if self._worker is None:
            self._worker = _Worker(self.name, self._jobs)
            self._worker.start()
        self._jobs.put(job)
        self._keep_watch(loop)
        try:
            async with asyncio.timeout(within):
                return await job.future
        except TimeoutError:
            raise DatabaseUnavailable(f"no answer within {within:g} s") from None
        except (OperationalError, InterfaceError) as error:
            raise DatabaseUnavailable(str(error).strip()) from error

    def stop(self) -> None:
        """The thread finishes its jobs, closes its connection and ends."""
        if self._watch is not None:
            self._watch.cancel()
        self._jobs.put(None)

    def _keep_watch(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._watch is None:
            self._watch = loop.call_later(self._stall / 4, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Abandon the thread if it is stuck. Check again while it has work."""
        self._watch = None
        worker = self._worker
        if worker is None:
            return
        job, since = worker.job, worker.since
        if job is not None and time.monotonic() - since > self._stall:
            count("database_stalls")
            logger.warning("%s: no answer from the database for %g s; reconnecting", self.name, self._stall)
            worker.abandon()
            job.fail(DatabaseUnavailable(f"no answer for {self._stall:g} s"))
            self._worker = _Worker(self.name, self._jobs)
            self._worker.start()
        if job is not None or not self._jobs.empty():
            self._keep_watch(loop)


class _Job:
    __slots__ = ("arguments", "function", "future", "loop")

    def __init__(
        self, function: Callable[..., Any], arguments: tuple[Any, ...], loop: asyncio.AbstractEventLoop
    ) -> None:
        self.function = function
        self.arguments = arguments
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()

    def succeed(self, result: object) -> None:
        if not self.future.done():
            self.future.set_result(result)

    def fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class _Worker(threading.Thread):
    def __init__(self, name: str, jobs: queue.SimpleQueue[_Job | None]) -> None:
        super().__init__(name=name, daemon=True)
        self.job: _Job | None = None
        self.since = 0.0  # when the job began
        self._jobs = jobs
        self._wrappers: list[BaseDatabaseWrapper] = []  # of each database: a router may choose any
        self._abandoned = False

    def run(self) -> None:
        self._wrappers = connections.all()
        for wrapper in self._wrappers:
            _bound(wrapper)
        while not self._abandoned and (job := self._jobs.get()) is not None:
            if job.future.done():  # the caller has stopped waiting
                continue
            self.since = time.monotonic()
            self.job = job
            self._do(job)
            self.job = None
        for wrapper in self._wrappers:
            with contextlib.suppress(Exception):
                wrapper.close()

    def abandon(self) -> None:
        """Interrupt the thread's wait, so that it ends. Called from another thread."""
        self._abandoned = True
        for wrapper in self._wrappers:
            raw: Any = wrapper.connection
            with contextlib.suppress(Exception):
                if hasattr(raw, "interrupt"):
                    raw.interrupt()
                elif raw is not None:
                    with socket.socket(fileno=os.dup(raw.fileno())) as held:
                        held.shutdown(socket.SHUT_RDWR)

    def _do(self, job: _Job) -> None:
        done: Callable[[], None]
        try:
            result = self._call(job)
        except BaseException as error:
            self._close(all_of_them=isinstance(error, (OperationalError, InterfaceError)))
            _let_go(error)
            failure = error
            done = lambda: job.fail(failure)  # noqa: E731
        else:
            done = lambda: job.succeed(result)  # noqa: E731
        with contextlib.suppress(RuntimeError):  # the loop is closed: no caller waits
            job.loop.call_soon_threadsafe(done)

    def _call(self, job: _Job) -> Any:
        """Call the function, and once more if an open connection had died, as in a restart of the server.

        So the function may run twice: all functions here only read.
        """
        before = [wrapper.connection for wrapper in self._wrappers if wrapper.connection is not None]
        try:
            return job.function(*job.arguments)
        except (OperationalError, InterfaceError) as error:
            if self._abandoned or not any(getattr(raw, "closed", False) for raw in before):
                raise
            _let_go(error)
        self._close(all_of_them=True)
        return job.function(*job.arguments)

    def _close(self, *, all_of_them: bool) -> None:
        """Close all connections, or those that a failure left in a transaction."""
        for wrapper in self._wrappers:
            if all_of_them or wrapper.in_atomic_block:
                with contextlib.suppress(Exception):
                    wrapper.close()


def _let_go(error: BaseException) -> None:
    """Release what the frames of a failed call hold, such as the socket of a failed connection.

    Error, frames, job and future refer to each other, so all would stay until the next garbage collection.
    """
    link: BaseException | None = error
    while link is not None:
        traceback.clear_frames(link.__traceback__)
        link = link.__cause__ or link.__context__


def _bound(wrapper: BaseDatabaseWrapper) -> None:
    """Bound connecting by the driver: no other thread can interrupt it. A pool would connect by itself."""
    if wrapper.vendor == "postgresql":
        options = {**wrapper.settings_dict["OPTIONS"], "connect_timeout": CONNECT_SECONDS}
        options.pop("pool", None)
        wrapper.settings_dict = {**wrapper.settings_dict, "OPTIONS": options, "CONN_MAX_AGE": None}
