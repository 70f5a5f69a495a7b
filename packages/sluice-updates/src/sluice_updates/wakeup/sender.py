"""The sender: after a commit, a thread of this process tells the hubs, for each way that is wanted.

A lost wake-up costs a second: the hubs find the update in the database. So there are no long retries, and
nothing is stored for later. The request only puts one item into a queue.
"""

from __future__ import annotations

import functools
import time
from typing import Any, Final, Protocol

from django.db import connections, router

from .. import conf
from ..models import Update
from . import notifications, rabbitmq
from .background import FLUSH_SECONDS, BackgroundSender
from .notify import ByNotify
from .rabbitmq import ByRabbitMQ

_TICK_SECONDS: Final = 5.0
_TEST_SECONDS: Final = 15.0  # longer than a step of the broker's connection may take
_STATES: Final = ("idle", "up", "down")


class Way(Protocol):
    """A way of waking the hubs. One thread calls it, with Django's connections of its own."""

    name: str
    state: str  # "idle"; "up" and "down" from the first commit on
    announced: int  # updates that the other side accepted
    unheard: int  # updates that did not reach every hub
    skipped: int  # commits skipped while the other side was down

    def send(self, commits: list[list[int]], /) -> None:
        """Announce commits, each given by its updates' ids."""

    def idle(self) -> None:
        """Called every few seconds without a commit."""

    def close(self) -> None:
        """Close all connections, until there is something to send."""


def is_wanted() -> bool:
    """Whether commits are announced at all."""
    return bool(_senders())


def wake(ids: list[int]) -> None:
    """Announce the updates with these ids, all of one commit. Returns at once, broker or not.

    In a test run it waits instead: the test's next steps may empty or drop the tables that the thread reads.
    """
    for sender in _senders():
        sender.put(ids)
        if conf.is_test_run():
            sender.flush(_TEST_SECONDS)


def flush(timeout: float = FLUSH_SECONDS) -> bool:
    """Wait at most `timeout` seconds until all earlier commits are announced or dropped.

    This runs automatically at the interpreter's exit. Call it in processes that end without one, such as
    Celery's pool processes (signal worker_process_shutdown).
    """
    deadline = time.monotonic() + timeout
    done = [sender.flush(max(0.0, deadline - time.monotonic())) for sender in _senders()]
    return all(done)


def status() -> dict[str, Any]:
    """The counters of this process's senders, for a health page. `state` is the worst of their states."""
    senders = _senders()
    if not senders:
        return {"state": "off"}
    ways = {sender.way.name: sender.way.state for sender in senders}
    return {
        "state": max(ways.values(), key=_STATES.index),
        "ways": ways,
        "announced": sum(sender.way.announced for sender in senders),
        "unheard": sum(sender.way.unheard for sender in senders),
        "skipped": sum(sender.way.skipped for sender in senders),
        "dropped": sum(sender.dropped for sender in senders),
    }


def figures() -> dict[str, float]:
    """The numbers of metrics.SENDER_FIGURES; empty without a way."""
    senders = _senders()
    if not senders:
        return {}
    return {
        "queued": sum(sender.waiting for sender in senders),
        "down": sum(sender.way.state == "down" for sender in senders),
        "announced": sum(sender.way.announced for sender in senders),
        "unheard": sum(sender.way.unheard for sender in senders),
        "skipped": sum(sender.way.skipped for sender in senders),
        "dropped": sum(sender.dropped for sender in senders),
    }


def _senders() -> list[_Sender]:
    """A sender for each way that the settings ask for. Each has its own thread: none delays another.

    None in a test run, unless its settings ask for wake-ups.
    """
    found: list[_Sender] = []
    if not conf.wake_ups():
        return found
    if notifications.is_wanted():
        found.append(_by_notify())
    if rabbitmq.is_wanted():
        found.append(_by_broker(conf.publisher_url()))
    return found


@functools.cache
def _by_notify() -> _Sender:
    return _Sender(ByNotify())


@functools.cache
def _by_broker(url: str) -> _Sender:
    return _Sender(ByRabbitMQ(url))


class _Sender(BackgroundSender[list[int]]):
    def __init__(self, way: Way) -> None:
        super().__init__(f"updates sender {way.name}", self._send, idle=way.idle, idle_seconds=_TICK_SECONDS)
        self.way = way

    def _send(self, commits: list[list[int]]) -> None:
        try:
            self.way.send(commits)
        finally:
            if conf.is_test_run():
                # The end of the run drops the database, which fails while somebody is connected.
                connections[router.db_for_write(Update)].close()
