"""Gunicorn's threaded worker, with a stop that also serves the connections in the listening socket's backlog.

Gunicorn's own worker stops accepting at once, but keeps the listening socket open until its last request is
finished. New connections meanwhile wait in the kernel's backlog, and are reset when the socket closes. nginx
then repeats a GET on another container, but not a POST that it has already sent: its client gets a 502. Here,
when the master receives the signal to stop:

1. The kernel refuses further connections (`turn_away`), and nginx tries another container.
2. Each worker accepts the connections in the backlog, then closes the socket.
3. Current requests are finished, as with Gunicorn's own worker.

None of this happens with a socket from supervisor or systemd: it stays open for the other processes.

A worker that is forked during the shutdown stops too; with Gunicorn's own it would miss the signal.
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

# A worker waits this long for one more connection. A TCP handshake that began before `turn_away` takes less.
QUIET_SECONDS: Final = 0.05

_stopping = mmap.mmap(-1, 1)  # shared with the workers: their signal is the same for a stop and a replacement


def when_ready(arbiter: Any) -> None:
    """Gunicorn's hook, in the master. Wraps `stop`, since there is no hook before a stop."""
    stop = arbiter.stop

    def turn_away_and_stop(graceful: bool = True) -> None:
        if graceful:
            for listener in [] if _is_shared(arbiter.cfg) else arbiter.LISTENERS:
                turn_away(listener.sock)
            _stopping[0] = 1
        stop(graceful)

    arbiter.stop = turn_away_and_stop


def post_worker_init(worker: Any) -> None:
    """Gunicorn's hook, in a worker that has just installed its signal handlers.

    A signal between the fork and now is lost, and the master would wait for the worker until
    graceful_timeout.
    """
    if _stopping[0]:
        worker.alive = False


def turn_away(listener: socket.socket) -> None:
    """Make a listening TCP socket refuse new connections. Those in its backlog stay, half-open ones too.

    Binds the socket to a network interface on which no connection arrives: to the loopback, or if it listens
    there, to another one. Needs no privilege since Linux 5.7.
    https://man7.org/linux/man-pages/man7/socket.7.html
    """
    if listener.family not in (socket.AF_INET, socket.AF_INET6):
        return
    local = ipaddress.ip_address(listener.getsockname()[0]).is_loopback
    try:
        interface = next(name for _, name in socket.if_nameindex() if (name != "lo") is local)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
    except (OSError, StopIteration) as error:  # as with Gunicorn's own worker
        logger.warning("new connections can't be refused during the stop, so some may be reset: %r", error)


class Worker(ThreadWorker):
    """The worker class. It needs the hooks `when_ready` and `post_worker_init` too (configuration.py)."""

    sockets: list[Any]

    def set_accept_enabled(self, enabled: bool) -> None:
        super().set_accept_enabled(enabled)
        if not enabled and not self.alive and _stopping[0] and not _is_shared(self.cfg):
            self._take_the_rest()

    def _take_the_rest(self) -> None:
        """Accept until the backlog is empty or this worker is at its limit of connections. Then close."""
        for listener in self.sockets:
            with selectors.DefaultSelector() as waiting:
                waiting.register(listener, selectors.EVENT_READ)
                while self.nr_conns < self.worker_connections and waiting.select(QUIET_SECONDS):
                    self.accept(listener)
            listener.close()
        self.sockets = []


def _is_shared(cfg: Any) -> bool:
    return any(address.startswith("fd://") for address in cfg.bind)
