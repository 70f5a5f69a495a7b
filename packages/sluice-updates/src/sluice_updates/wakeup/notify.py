"""Wakes the hubs by PostgreSQL's NOTIFY, on a connection of its own: no broker is needed."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from typing import Final

from django.db import Error, InterfaceError, OperationalError, connections, router

from .. import conf, tracing
from ..models import Update
from .notifications import COMMITTED, notify

logger = logging.getLogger(__name__)

# The thread closes its connection after this number of ticks without work.
_IDLE_TICKS: Final = 12


class ByNotify:
    """Sends a notification for one or more commits. It carries no update: the hubs read the table."""

    name = "notify"

    def __init__(self) -> None:
        self.state = "idle"  # "up" and "down" from the first commit on
        self.announced = 0  # updates
        self.unheard = 0  # always: PostgreSQL does not tell whether a hub listens
        self.skipped = 0  # commits that could not be announced
        self._idle_ticks = 0

    def send(self, commits: list[list[int]]) -> None:
        """Announce commits, each given by its updates' ids."""
        self._idle_ticks = 0
        try:
            with ExitStack() as spans:
                if not conf.publisher_url():  # else RabbitMQ's message carries the trace on
                    for ids in commits:
                        spans.enter_context(tracing.waking(ids))
                self._notify()
        except Error as error:
            self.skipped += len(commits)
            if self.state != "down":
                self.state = "down"
                logger.warning(
                    "no notifications can be sent, so updates arrive by the poll: %s",
                    " ".join(str(error).split()),
                )
            return
        if self.state == "down":
            logger.info(
                "notifications are sent again; the poll delivered %d commits meanwhile",
                self.skipped,
            )
        self.state = "up"
        self.announced += sum(map(len, commits))

    def idle(self) -> None:
        """Close a connection that is not used."""
        self._idle_ticks += 1
        if self._idle_ticks == _IDLE_TICKS:
            self.close()

    def close(self) -> None:
        """Close the connection, until there is something to send."""
        connections[router.db_for_write(Update)].close()

    def _notify(self) -> None:
        """Notify, and once more if the connection was cut while idle."""
        connection = connections[router.db_for_write(Update)]
        try:
            notify(connection, COMMITTED)
            return
        except (OperationalError, InterfaceError):
            self.close()
        try:
            notify(connection, COMMITTED)
        except Exception:
            self.close()
            raise
