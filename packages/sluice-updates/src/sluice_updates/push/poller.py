"""The poller: queries the database every second for new updates, and reads missing updates of a gap.

It has its own thread and connection, so handshakes do not delay it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from .. import commits, history, limits
from ..commits import Cursor, Polled
from ..history import StreamState
from ..identity import Unknown
from ..metrics import count
from ..positions import Position
from ..wakeup import notifications
from . import own_database
from .database_thread import DatabaseThread, DatabaseUnavailable
from .frames import UpdateFrame
from .own_database import OwnDatabase
from .window import FollowedStream

logger = logging.getLogger(__name__)


class Poller:
    """Gives the hub every committed update that it does not have, and reports rewritten histories.

    `streams`: the streams that the hub follows. `database` learns the database's identity. `take` is called
    with updates, `history_rewritten` with the name of a stream whose history changed, `cursor_lost` when the
    poll starts again without a cursor.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        streams: Mapping[str, FollowedStream],
        database: OwnDatabase,
        *,
        take: Callable[[Iterable[UpdateFrame]], None],
        history_rewritten: Callable[[str], None],
        cursor_lost: Callable[[], None],
    ) -> None:
        self.polled_at = 0.0  # loop time of the last successful poll; 0: none yet
        self.latency = 0.0  # of that poll, in seconds
        self.failures = 0  # of polls, in a row
        self.has_polled = asyncio.Event()  # successfully or not
        self._loop = loop
        self._streams = streams
        self._database = database
        self._take = take
        self._history_rewritten = history_rewritten
        self._cursor_lost = cursor_lost
        self._thread = DatabaseThread("sluice-hub")
        self._cursor: Cursor | None = None
        self._through: object = None  # the driver's connection to which the cursor belongs
        self._compared_at = 0.0
        self._compare_until = 0.0
        self._gaps: set[str] = set()
        self._gap = asyncio.Event()
        self._hint = asyncio.Event()

    def poll_soon(self) -> None:
        """Poll at once: something may have been committed. Many calls have one poll."""
        self._hint.set()

    async def notify(self, *words: str) -> None:
        """Send a notification by PostgreSQL. Raises DatabaseUnavailable."""
        await self._thread.run(_notify, words, within=2 * limits.STALL_SECONDS)

    def fill(self, name: str) -> None:
        """Read the missing updates of a stream, soon."""
        self._gaps.add(name)
        self._gap.set()

    def stop(self) -> None:
        """Close the connection to the database. The hub ends the tasks."""
        self._thread.stop()

    async def poll_forever(self) -> None:
        """Query every second, and after each hint, what has committed since."""
        loop = self._loop
        while True:
            began = loop.time()
            self._hint.clear()
            count("polls")
            try:
                await self._poll(began)
            except DatabaseUnavailable as error:
                self._cursor = self._through = None
                self._failed(error)
            else:
                self._worked(began)
            self.has_polled.set()
            await self._pause(began)

    async def _pause(self, began: float) -> None:
        """Wait for the next poll.

        After a hint, it comes when the pause is as long as the last poll, so that a slow database is not
        asked without a pause. With the database down, hints do not hurry it.
        """
        ended = self._loop.time()
        due = began + limits.POLL_SECONDS
        if not self.failures:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._hint.wait()
                due = min(due, max(began + limits.HINT_SECONDS, 2 * ended - began))
        await asyncio.sleep(max(0.0, due - self._loop.time()))

    async def fill_forever(self) -> None:
        """Read missing updates, whenever a stream has a gap."""
        while True:
            await self._gap.wait()
            await asyncio.sleep(limits.REORDER_SECONDS)  # two wake-ups in the wrong order need no query
            self._gap.clear()
            names, self._gaps = self._gaps, set()
            wanted = {name: self._streams[name].head for name in names if name in self._streams}
            try:
                more = await self._fill(wanted) if wanted else False
            except DatabaseUnavailable:
                more = True
                await asyncio.sleep(limits.POLL_SECONDS)
            if more:
                self._gaps |= wanted.keys()
                self._gap.set()

    async def _poll(self, now: float) -> None:
        compare = (
            self._cursor is None
            or now - self._compared_at > limits.COMPARE_SECONDS
            or now < self._compare_until
        )
        heads = {name: stream.head for name, stream in self._streams.items()} if compare else None
        ask = compare or self._database.in_doubt
        polled, states, through, identity = await self._thread.run(
            partial(_poll, self._cursor, self._through, heads, ask), within=2 * limits.STALL_SECONDS
        )
        if identity is not None:
            self._database.learn(identity)
        if not polled.complete or self._through is not through:
            self._compared_at = 0.0
        if self._through is not through:
            # Commits before this cursor are found by comparing heads, for a while: a handshake may be reading
            # a stream now that is followed only a moment later.
            self._compare_until = now + 2 * limits.HELLO_SECONDS
            self._cursor_lost()  # one of those commits may have changed rights
        self._cursor, self._through = polled.cursor, through
        for name in polled.rewound:
            self._history_rewritten(name)
        self._take(map(UpdateFrame.of, polled.updates))
        if heads is not None and states is not None:
            self._compared_at = now
            self._compare(heads, states)

    def _compare(self, before: dict[str, Position], states: dict[str, StreamState]) -> None:
        for name, state in states.items():
            if has_changed(before[name], state.head):
                self._history_rewritten(name)
                continue
            stream = self._streams.get(name)
            if stream is not None and state.head.offset > stream.head.offset:
                self.fill(name)

    async def _fill(self, wanted: dict[str, Position]) -> bool:
        """Returns whether there is more to read."""
        count("refills")
        reading = await self._thread.run(
            history.read, wanted, limits.REFILL_UPDATES, within=2 * limits.STALL_SECONDS
        )
        for name, recovered in reading.recovered.items():
            if not recovered:  # rewritten, or trimmed past the hub's head: clients must reconnect
                self._history_rewritten(name)
        self._take(map(UpdateFrame.of, reading.updates))
        for name in wanted:
            if (stream := self._streams.get(name)) is not None:
                stream.drop_stale()
        return reading.more

    def _failed(self, error: DatabaseUnavailable) -> None:
        count("polls_failed")
        self.failures += 1
        if self.failures == 1:
            logger.warning("the database can't be polled: %s", error)

    def _worked(self, began: float) -> None:
        if self.failures:
            logger.info("the database can be polled again")
        self.failures = 0
        self.polled_at = self._loop.time()
        self.latency = self.polled_at - began


def has_changed(before: Position, now: Position) -> bool:
    """Whether a head moved back, or is a different update."""
    return now.offset < before.offset or (now.offset == before.offset and now.tag != before.tag)


def _notify(words: tuple[str, ...]) -> None:
    """In the thread."""
    notifications.notify(history.database(), *words)


def _poll(
    cursor: Cursor | None, through: object, heads: dict[str, Position] | None, ask: bool
) -> tuple[Polled, dict[str, StreamState] | None, object, str | Unknown | None]:
    """In the thread: what committed since the cursor, and the states of the streams in `heads`. Also the
    database's identity, if the caller asks for it or the connection is new.
    """
    database = history.database()
    database.ensure_connection()
    current = database.connection
    if current is not through:
        cursor, ask = None, True
    identity = own_database.read(database) if ask else None
    polled = commits.poll(cursor)
    return polled, history.heads(heads) if heads else None, current, identity
