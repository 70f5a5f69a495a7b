"""Wakes the hubs through RabbitMQ: publishes each commit to the channel layer's group. Needs the extra."""

from __future__ import annotations

import importlib.util
import logging
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from django.db import InterfaceError, OperationalError, connections, router

from .. import conf, history, identity, tracing
from ..models import Update
from .message import GROUP, pack

if TYPE_CHECKING:  # needs amqp
    from ..broker.connection import Broker

logger = logging.getLogger(__name__)

# The channel layer's exchange, and how long a message may wait in a hub's queue.
EXCHANGE: Final = "groups"
EXPIRATION_MILLISECONDS: Final = "60000"

# A message is a whole commit, up to these limits. One query reads the same number of updates.
_UPDATES_AT_ONCE: Final = 200
_CHARACTERS_PER_MESSAGE: Final = 512 * 1024

_BACKOFF_SECONDS: Final = (0.5, 5.0)
# The thread closes its database connection after this number of ticks without work.
_IDLE_TICKS: Final = 12

_INSTALLED: Final = all(importlib.util.find_spec(name) for name in ("amqp", "msgpack"))


def is_wanted() -> bool:
    """Whether a broker is configured, and the extra `rabbitmq` is installed."""
    return _INSTALLED and bool(conf.publisher_url())


class ByRabbitMQ:
    """Reads committed updates and publishes them to the layer's group, a message for each commit.

    While the broker is down, commits are skipped at no cost until the next try, 0.5 s to 5 s later at random.
    """

    name = "rabbitmq"

    def __init__(self, url: str) -> None:
        self.url = url
        self.state = "idle"  # "up" and "down" from the first message on
        self.announced = 0  # updates that the broker accepted
        self.unheard = 0  # updates that did not reach every hub: no exchange, or a full queue
        self.skipped = 0  # commits skipped while the broker was down
        self._broker: Broker | None = None
        self._unidentified = False  # the database's identity could not be read
        self._failures = 0
        self._retry_at = 0.0
        self._idle_ticks = 0

    def send(self, commits: list[list[int]]) -> None:
        """Announce commits, each given by its updates' ids. Raises only the database's errors."""
        from ..broker.connection import BrokerDown

        self._idle_ticks = 0
        if time.monotonic() < self._retry_at:
            self.skipped += len(commits)
            return
        pieces = [
            ids[i : i + _UPDATES_AT_ONCE] for ids in commits for i in range(0, len(ids), _UPDATES_AT_ONCE)
        ]
        while pieces:
            now = _take(pieces)
            try:
                database, found = _read(now)
                for ids, updates in zip(now, found, strict=True):
                    with tracing.waking(ids) as trace:
                        for message in _messages(updates):
                            self._publish(message, database, trace)
            except (BrokerDown, identity.Unknown) as error:
                self.skipped += len(now) + len(pieces)
                self._back_off(error)
                return

    def idle(self) -> None:
        """Keep the broker's connection alive or reconnect, and close an unused database connection."""
        from ..broker.connection import BrokerDown

        if self._broker is not None:
            self._broker.tick()
            if time.monotonic() >= self._retry_at:
                try:
                    self._broker.connect()
                    if not self._unidentified:
                        self._is_up()
                except BrokerDown as error:
                    self._back_off(error)
        self._idle_ticks += 1
        if self._idle_ticks == _IDLE_TICKS:
            _close_database()

    def close(self) -> None:
        """Close both connections, until there is something to send."""
        if self._broker is not None:
            self._broker.close()
            self._broker = None
        _close_database()

    def _publish(
        self, updates: Sequence[history.Update], database: str, trace: tracing.Carrier | None
    ) -> None:
        from ..broker.connection import Broker

        if self._broker is None:
            self._broker = Broker(self.url, conf.publisher_password)
        body = pack(updates, database, trace)
        if self._broker.publish(EXCHANGE, GROUP, body, {"expiration": EXPIRATION_MILLISECONDS}):
            self.announced += len(updates)
        else:
            self.unheard += len(updates)
        self._is_up()

    def _is_up(self) -> None:
        if self.state == "down":
            logger.info(
                "wake-ups are sent again; the poll delivered %d commits meanwhile",
                self.skipped,
            )
        self.state = "up"
        self._unidentified = False
        self._failures = 0

    def _back_off(self, error: Exception) -> None:
        first, longest = _BACKOFF_SECONDS
        ceiling = min(longest, first * 2**self._failures)
        self._failures = min(self._failures + 1, 10)
        self._retry_at = time.monotonic() + random.uniform(first, max(first, ceiling))
        unidentified = isinstance(error, identity.Unknown)
        if self.state != "down" or unidentified != self._unidentified:
            problem = "no wake-ups can be sent" if unidentified else "the broker accepts no wake-ups"
            logger.warning("%s, so updates arrive by the poll: %s", problem, error)
        self.state = "down"
        self._unidentified = unidentified


def _take(pieces: list[list[int]]) -> list[list[int]]:
    """Remove the first pieces, as many as one query reads."""
    count = size = 0
    while count < len(pieces) and (count == 0 or size + len(pieces[count]) <= _UPDATES_AT_ONCE):
        size += len(pieces[count])
        count += 1
    taken = pieces[:count]
    del pieces[:count]
    return taken


def _read(pieces: list[list[int]]) -> tuple[str, list[list[history.Update]]]:
    """The database's identity, and the committed updates of each piece, by stream, in order."""
    owners = {update_id: index for index, ids in enumerate(pieces) for update_id in ids}
    found: list[list[history.Update]] = [[] for _ in pieces]
    database, updates = _by_ids(list(owners))
    for update_id, update in updates.items():
        found[owners[update_id]].append(update)
    return database, found


def _by_ids(ids: list[int]) -> tuple[str, dict[int, history.Update]]:
    try:
        return history.by_ids(ids)
    except (OperationalError, InterfaceError):
        _close_database()  # it may have been cut while idle: try once more with a new one
    try:
        return history.by_ids(ids)
    except Exception:
        _close_database()
        raise


def _messages(updates: Iterable[history.Update]) -> Iterator[list[history.Update]]:
    """Split updates that are too large for one message; this is rare."""
    message: list[history.Update] = []
    size = 0
    for update in updates:
        if message and size + len(update.frame) > _CHARACTERS_PER_MESSAGE:
            yield message
            message, size = [], 0
        message.append(update)
        size += len(update.frame)
    if message:
        yield message


def _close_database() -> None:
    connections[router.db_for_write(Update)].close()
