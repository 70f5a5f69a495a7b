"""Gunicorn's worker with threads, which on a stop still serves those who have come in before it.

Gunicorn's own stops accepting at once and keeps the listening socket until the last request in hand is
finished: whoever connects meanwhile waits in the kernel's queue, and is cut off when the socket closes.
nginx repeats a GET elsewhere then, but not a POST that it has sent: that is a 502. Here, when the master is
told to stop,

1. the kernel refuses further connections (`turn_away`), and nginx tries another container;
2. each worker takes whom it finds in the queue, and closes the socket;
3. the requests in hand are finished, as ever.

A socket that supervisor or systemd made stays open for the other processes that serve it: nothing of
this is needed there. Nor is a worker forgotten that is just being made when the master is told to stop.
"""

from __future__ import annotations

import ipaddress
import logging
import mmap
import selectors
import socket
from typing import Any, Final

from gunicorn.workers.gthread import ThreadWorker

logger = logging.getLogger(__name__)

# Longer than a connection needs that was half made when the kernel began to refuse others.
QUIET_SECONDS: Final = 0.05

_stopping = mmap.mmap(-1, 1)  # shared with the workers, who can't tell a stop from a replacement of their own


def when_ready(arbiter: Any) -> None:
    """Gunicorn's hook, in the master. It has none for the moment before a stop, so that one is made here."""
    stop = arbiter.stop

    def turn_away_and_stop(graceful: bool = True) -> None:
        if graceful:
            for listener in [] if _is_shared(arbiter.cfg) else arbiter.LISTENERS:
                turn_away(listener.sock)
            _stopping[0] = 1
        stop(graceful)

    arbiter.stop = turn_away_and_stop


def post_worker_init(worker: Any) -> None:
    """Gunicorn's hook, in a worker that hears signals from here on: one that came after its fork and before
    this is lost, and the master would wait for it as long as for a request in hand.
    """
    if _stopping[0]:
        worker.alive = False


def turn_away(listener: socket.socket) -> None:
    """Let nobody new into the queue of a listening TCP socket; who is in it, or half in it, stays.

    It is bound to a network interface by which nobody comes: the loopback, or for one that listens there,
    any other. Needs no privilege from Linux 5.7 on. https://man7.org/linux/man-pages/man7/socket.7.html
    """
    if listener.family not in (socket.AF_INET, socket.AF_INET6):
        return
    local = ipaddress.ip_address(listener.getsockname()[0]).is_loopback
    try:
        interface = next(name for _, name in socket.if_nameindex() if (name != "lo") is local)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
    except (OSError, StopIteration) as error:  # somebody may then be cut off, as by Gunicorn's own worker
        logger.warning("newcomers can't be refused while stopping: %r", error)


class Worker(ThreadWorker):
    """`worker_class` in configuration.py, together with `when_ready` and `post_worker_init`."""

    sockets: list[Any]

    def set_accept_enabled(self, enabled: bool) -> None:
        super().set_accept_enabled(enabled)
        if not enabled and not self.alive and _stopping[0] and not _is_shared(self.cfg):
            self._take_the_rest()

    def _take_the_rest(self) -> None:
        """Accept until the queue is empty, or holds more than we may take; close."""
        for listener in self.sockets:
            with selectors.DefaultSelector() as waiting:
                waiting.register(listener, selectors.EVENT_READ)
                while self.nr_conns < self.worker_connections and waiting.select(QUIET_SECONDS):
                    self.accept(listener)
            listener.close()
        self.sockets = []


def _is_shared(cfg: Any) -> bool:
    return any(address.startswith("fd://") for address in cfg.bind)
