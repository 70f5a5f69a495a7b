"""Closes all connections when another ASGI server is told to stop.

The package's own server does this itself. Other servers wait for connections to end, which those of updates
never do, or cut them. Their `lifespan.shutdown` comes too late: after the connections ended. So the signal to
stop is held back until all clients have a close with 1012, and the server hears of it then.

Some servers stop a process without a signal (hypercorn's workers, a limit of requests). All of them close
their listening socket first, which is noticed within WATCH_SECONDS.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading
import time
from typing import Any, Final
from weakref import WeakKeyDictionary

from ..asgi_types import Scope
from ..push.hub import Hub, running_hubs
from . import transport
from .draining import DRAIN_SECONDS, end_all
from .sockets import is_listening

logger = logging.getLogger(__name__)

LINGER_SECONDS: Final = 1.0  # after the last close, for what is not sent yet
WATCH_SECONDS: Final = 0.5
SAME_SECONDS: Final = 1.0  # a signal within this time is the same one, sent to the process and to its group

_stops: WeakKeyDictionary[asyncio.AbstractEventLoop, Stop] = WeakKeyDictionary()


def notice(scope: Scope) -> None:
    """Take notice of the server's stop. Called for every scope, since servers install their handlers late."""
    if transport.EXTENSION in (scope.get("extensions") or {}):  # the package's own server
        return
    loop = asyncio.get_running_loop()
    stop = _stops.get(loop)
    if stop is None:
        stop = _stops[loop] = Stop(loop)
    if scope["type"] == "lifespan":
        stop.hold_signals(is_server=True)
    else:
        stop.hold_signals()
        stop.watch_listeners(scope)  # not at lifespan: a server may not listen yet


class Stop:
    """The stop of the server that runs this event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._drain_task: asyncio.Task[None] | None = None
        self._signal: int | None = None  # the signal that is held back
        self._signalled_at = 0.0
        self._is_server = False  # this process has no other purpose
        self._handlers: dict[int, Any] = {}  # the server's own, by signal
        self._wakeup: Wakeup | None = None
        self._listeners: dict[int, int] | None = None  # inodes of the listening sockets, by descriptor

    # Signals

    def hold_signals(self, *, is_server: bool = False) -> None:
        """Put our handler before the server's, unless it is there.

        A process that has no handler of SIGTERM gets none either, unless it certainly is a server.
        """
        self._is_server |= is_server
        if self._drain_task is not None or self._signal is not None:
            return
        if threading.current_thread() is not threading.main_thread():
            return
        terminates = signal.getsignal(signal.SIGTERM)
        if not callable(terminates) and not (self._is_server and terminates == signal.SIG_DFL):
            return
        if terminates != self._on_signal:
            self._hold(signal.SIGTERM, terminates)
            interrupts = signal.getsignal(signal.SIGINT)
            if callable(interrupts) and interrupts not in (self._on_signal, signal.default_int_handler):
                self._hold(signal.SIGINT, interrupts)
        if self._wakeup is None:
            self._wakeup = Wakeup(self._loop, self._handlers)
        self._wakeup.put_in_place()

    def _hold(self, number: int, handler: Any) -> None:
        self._handlers[number] = handler
        signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: object) -> None:
        now = time.monotonic()
        if self._loop.is_closed() or (self._drain_task is not None and self._drain_task.done()):
            self._pass_on(number)
        elif self._signal is None:
            self._signal, self._signalled_at = number, now
            self._loop.call_soon_threadsafe(self._start)
        elif now - self._signalled_at >= SAME_SECONDS:
            self._pass_on(number)

    def _pass_on(self, number: int) -> None:
        """Let the server have the signal, and all later ones."""
        if self._wakeup is not None:
            self._wakeup.close()
            self._wakeup = None
        handlers, self._handlers = self._handlers, {}
        for held, handler in handlers.items():
            signal.signal(held, handler)
        server: Any = getattr(handlers.get(number), "__self__", None)
        if hasattr(server, "should_exit"):
            # uvicorn: after its own handler, it would end by the signal instead of with status 0.
            server.should_exit = True
        elif number in handlers:
            os.kill(os.getpid(), number)

    # Without a signal

    def watch_listeners(self, scope: Scope) -> None:
        """Watch the sockets on which the server accepts connections."""
        if self._listeners is None:
            self._listeners = _listeners((scope.get("server") or (None, None))[1])
            if self._listeners:
                self._loop.call_later(WATCH_SECONDS, self._watch)

    def _watch(self) -> None:
        if self._drain_task is not None or self._listeners is None:
            return
        if all(_inode(number) == inode for number, inode in self._listeners.items()):
            self._loop.call_later(WATCH_SECONDS, self._watch)
        else:
            self._start()

    # The drain

    def _start(self) -> None:
        if self._drain_task is None:
            self._drain_task = self._loop.create_task(self._drain())

    async def _drain(self) -> None:
        try:
            hub = next((hub for hub in running_hubs() if hub.loop is self._loop), None)
            if hub is not None:
                await _close_all(hub)
        except Exception:
            logger.exception("the drain failed; stopping anyway")
        if self._signal is not None:
            if self._handlers.get(self._signal) == signal.SIG_DFL:
                # It kills. The server may still have to write, or may end by other means (hypercorn).
                await asyncio.sleep(LINGER_SECONDS)
            self._pass_on(self._signal)


class Wakeup:
    """Keeps held signals from the event loop, which learns of them by a descriptor (signal.set_wakeup_fd).

    An event loop's own handlers (loop.add_signal_handler) are called for what arrives there, whatever the
    handler of the signal itself does.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, held: dict[int, Any]) -> None:
        self._loop = loop
        self._held = held
        self._loops = -1  # the loop's own descriptor, if it has one
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        loop.add_reader(self._reader, self._forward)

    def put_in_place(self) -> None:
        """Set our descriptor. A loop sets its own each time that it starts to run (uvloop)."""
        before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        if before != self._writer.fileno():
            self._loops = before

    def close(self) -> None:
        """Give the loop its own descriptor back, unless it has set one since."""
        current = signal.set_wakeup_fd(-1)
        theirs = self._loops if current == self._writer.fileno() else current
        with contextlib.suppress(ValueError, OSError):  # it is closed
            signal.set_wakeup_fd(theirs, warn_on_full_buffer=False)
        if not self._loop.is_closed():
            self._loop.remove_reader(self._reader)
        self._reader.close()
        self._writer.close()

    def _forward(self) -> None:
        with contextlib.suppress(BlockingIOError):
            others = bytes(number for number in self._reader.recv(4096) if number not in self._held)
            if others and self._loops != -1:
                os.write(self._loops, others)


async def _close_all(hub: Hub) -> None:
    began = time.monotonic()
    hub.draining = True
    ends = [connection.restart for connection in hub.people.connections]
    logger.info("stopping: %d connections to close", len(ends))
    await end_all(ends, began=began, at_most=DRAIN_SECONDS)
    await transport.flush(LINGER_SECONDS)
    logger.info("all connections closed after %.1f s", time.monotonic() - began)


def _listeners(port: object) -> dict[int, int]:
    """The listening sockets of this process, those on this port if there are any: inodes by descriptor."""
    try:
        numbers = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:  # not Linux
        return {}
    listening = [number for number in numbers if is_listening(number)]
    on_port = [number for number in listening if _port(number) == port]
    found = {number: _inode(number) for number in on_port or listening}
    return {number: inode for number, inode in found.items() if inode is not None}


def _port(number: int) -> object:
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(number)) as held:
        name = held.getsockname()
        return name[1] if isinstance(name, tuple) else None
    return None


def _inode(number: int) -> int | None:
    try:
        return os.fstat(number).st_ino
    except OSError:
        return None
