"""The hub, one per process: it receives every committed update once and writes it to all subscribers.

Updates arrive by wake-ups through the channel layer (fast, may be lost) and by a poll of the database, every
second (always) and whenever the database itself tells of a commit. Any of these is enough. Everything here
runs on one event loop, except functions that are passed to a DatabaseThread. Input and output are in the
modules that it puts together: poller, auditor, database_thread, and one for each way of waking:
channel_layer, notifications, data_version.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from .. import close_codes, conf, history, limits, metrics, tracing
from ..history import Reading, StreamState
from ..metrics import count
from ..positions import Position
from ..wakeup.message import WokenUpdate
from .anonymous_auditor import AnonymousAuditor
from .auditor import Auditor
from .authenticator import Authenticator
from .channel_layer import LayerLink
from .data_version import DataVersion
from .database_thread import DatabaseThread
from .frames import UpdateFrame
from .notifications import Notifications
from .own_database import OwnDatabase
from .people import People
from .poller import Poller, has_changed
from .way import Way
from .window import FollowedStream, Subscriber, Subscription

logger = logging.getLogger(__name__)

_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def get_hub() -> Hub:
    """The hub of the running event loop, started at its first use."""
    loop = asyncio.get_running_loop()
    hub = _hubs.get(loop)
    if hub is None:
        hub = _hubs[loop] = Hub(loop)
        hub.start()
    return hub


def running_hubs() -> list[Hub]:
    """The hubs of this process, from any thread."""
    return list(_hubs.values())


class Hub:
    """Follows streams, and has every connection of this process."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.id = secrets.token_hex(8)
        self.streams: dict[str, FollowedStream] = {}
        self.people = People()
        self.draining = False
        self.handshake = DatabaseThread("sluice-handshake")
        self.authenticator = Authenticator(
            self.handshake, head=self._head, knows=self.knows, learn=self.learn
        )
        self.database = OwnDatabase()
        self.layer = LayerLink(self.id, self._wake_up, self.database.is_own)
        self.anonymous_auditor = AnonymousAuditor(loop, self.people)
        self.auditor = Auditor(loop, self.people, self.anonymous_auditor.suspect)
        self.poller = Poller(
            loop,
            self.streams,
            self.database,
            take=self.take,
            history_rewritten=self.history_rewritten,
            cursor_lost=self.auditor.doubt_all,
        )
        self.ways: list[Way] = [
            self.layer,
            Notifications(self.id, poll_soon=self.poller.poll_soon, send=self.poller.notify),
            DataVersion(self.poller.poll_soon),
        ]
        self._idle: OrderedDict[str, None] = OrderedDict()  # streams without subscribers, the oldest first
        self._sightings: OrderedDict[str, int] = OrderedDict()
        self._window_bytes = 0
        self._unwritten: dict[FollowedStream, None] = {}  # those with updates that are not written yet
        self._writing: asyncio.TimerHandle | None = None
        self._wrote_at = 0.0
        self._tasks: list[asyncio.Task[None]] = []
        self._stopped = False

    def start(self) -> None:
        """Start the tasks. Neither database nor broker needs to be up."""
        works: list[Callable[[], Awaitable[None]]] = [
            self.poller.poll_forever,
            self.poller.fill_forever,
            self._sweep_forever,
            self.auditor.audit_forever,
        ]
        for way in self.ways:
            works += way.tasks()
        if conf.anonymous():
            works.append(self.anonymous_auditor.audit_anonymous_forever)
        self._tasks = [self.loop.create_task(_supervise(work)) for work in works]
        self._tasks.append(self.loop.create_task(self._end_with_the_loop()))

    async def stop(self) -> None:
        """End the hub's tasks and threads. The caller closes the connections before."""
        for task in self._tasks:
            task.cancel()
        if self._writing is not None:
            self._writing.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._stop_threads()

    async def _end_with_the_loop(self) -> None:
        """End the threads when the loop ends, which cancels all tasks: each has a connection to the database.

        In an asynchronous test, that is a test database. It can't be dropped while somebody is connected.
        """
        try:
            await asyncio.Event().wait()
        finally:
            self._stop_threads()

    def _stop_threads(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        for way in self.ways:
            way.stop()
        self.poller.stop()
        self.authenticator.stop()
        self.handshake.stop()
        self.auditor.stop()
        self.anonymous_auditor.stop()
        _hubs.pop(self.loop, None)

    # Streams and subscriptions

    def follow(self, name: str, state: StreamState) -> FollowedStream:
        """Follow a stream, unless it is followed already. `state` was just read from the database."""
        stream = self.streams.get(name)
        if stream is None:
            stream = self.streams[name] = FollowedStream(name, state.head)
            self._rest(stream)
            if self._sightings.pop(name, 0) > state.head.offset:
                self.poller.fill(name)  # an update arrived since the reading
        elif state.head.offset > stream.head.offset:
            self.poller.fill(name)
        return stream

    def knows(self, name: str, position: Position | None) -> bool:
        """Whether a client with this position needs no query. The handshake thread calls this, too."""
        stream = self.streams.get(name)
        return stream is not None and stream.knows(position)

    def _head(self, name: str) -> Position | None:
        """The head of a stream that is followed. The handshake thread calls this."""
        stream = self.streams.get(name)
        return None if stream is None else stream.head

    def subscribe(self, connection: Subscriber, stream: FollowedStream, position: Position) -> Subscription:
        """Subscribe a connection to a stream. It catches up, then calls go_live()."""
        subscription = Subscription(connection, stream, position)
        stream.subscriptions[subscription] = None
        stream.idle_since = None
        self._idle.pop(stream.name, None)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Write no more of the stream to the connection."""
        subscription.live = False
        stream = subscription.stream
        stream.subscriptions.pop(subscription, None)
        if not stream.subscriptions and self.streams.get(stream.name) is stream:
            self._rest(stream)

    def _rest(self, stream: FollowedStream) -> None:
        """Follow a stream without subscribers for a while: its pages may come back."""
        stream.idle_since = self.loop.time()
        self._idle[stream.name] = None
        self._idle.move_to_end(stream.name)
        if len(self._idle) > limits.IDLE_STREAMS:  # where anybody may read any name, one client can name many
            self._forget(next(iter(self._idle)))

    def _forget(self, name: str) -> None:
        stream = self.streams.pop(name)
        del self._idle[name]
        if stream.head.offset:
            # A handshake may have read it just before its last update.
            self._sight(name, stream.head.offset)

    def go_live(self, subscription: Subscription) -> bool:
        """Start writing updates to the connection. False: it still misses updates up to the head."""
        if subscription.offset < subscription.stream.head.offset:
            return False
        subscription.live = True
        return True

    async def read(self, wanted: Mapping[str, Position | None]) -> Reading:
        """Read what follows these positions from the database. Raises DatabaseUnavailable."""
        heads = {name: self.streams[name].head for name in wanted if name in self.streams}
        reading = await self.handshake.run(
            history.read, wanted, limits.REPLAY_UPDATES, within=limits.HELLO_SECONDS
        )
        self.learn(reading, heads)
        return reading

    def learn(self, reading: Reading, before: Mapping[str, Position]) -> None:
        """Take new updates from a reading, and check it against the heads that the hub had `before` it."""
        for name, state in reading.states.items():
            held = before.get(name)
            if held is not None and has_changed(held, state.head):
                self.history_rewritten(name)
        self.take(map(UpdateFrame.of, reading.updates))

    def history_rewritten(self, name: str) -> None:
        """Close all subscribers of a stream whose history in the database was changed."""
        stream = self.streams.pop(name, None)
        if stream is None:
            return
        self._idle.pop(name, None)
        count("histories_rewritten")
        logger.warning(
            "the history of the stream %s was rewritten; its connections are closed with 4010", name
        )
        for subscription in list(stream.subscriptions):
            subscription.connection.close(close_codes.HISTORY_REWRITTEN)

    # Updates

    def take(self, frames: Iterable[UpdateFrame]) -> None:
        """Write updates to all subscribers, each if it is the next one of its stream.

        After a pause they are written at once. Soon after another write they are collected for BURST_SECONDS:
        writing several costs little more than writing one.
        """
        for frame in frames:
            self._take(frame)
        if self._unwritten and self._writing is None:
            wait = self._wrote_at + limits.BURST_SECONDS - self.loop.time()
            if wait <= 0:
                self._write()
            else:
                self._writing = self.loop.call_later(wait, self._write)

    def _take(self, frame: UpdateFrame) -> None:
        self.auditor.notice(frame)
        stream = self.streams.get(frame.stream)
        if stream is None:
            self._sight(frame.stream, frame.offset)
        elif frame.offset == stream.head.offset + 1:
            self._append(stream, frame)
            while (follower := stream.out_of_order.pop(stream.head.offset + 1, None)) is not None:
                self._append(stream, follower)
        elif frame.offset > stream.head.offset:
            count("updates_out_of_order")
            if len(stream.out_of_order) < limits.OUT_OF_ORDER_FRAMES:
                stream.out_of_order[frame.offset] = frame
            self.poller.fill(stream.name)
        else:
            tag = stream.tag_at(frame.offset)
            if tag is not None and tag != frame.tag:
                self.history_rewritten(stream.name)

    def _append(self, stream: FollowedStream, frame: UpdateFrame) -> None:
        before = stream.size
        stream.append(frame)
        self._window_bytes += stream.size - before
        self._unwritten[stream] = None
        count("updates_taken")
        if stream.pending_bytes > limits.BURST_BYTES:
            self._deliver(stream)

    def _write(self) -> None:
        """Write what was collected."""
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None
        for stream in list(self._unwritten):
            self._deliver(stream)
        self._wrote_at = self.loop.time()

    def _deliver(self, stream: FollowedStream) -> None:
        self._unwritten.pop(stream, None)
        burst = stream.collected()
        if self.streams.get(stream.name) is not stream:  # its history was rewritten
            return
        first, last = burst.frames[0], burst.frames[-1]
        single = first is last
        now = self.loop.time()
        span = tracing.writing([(stream.name, one.offset) for one in burst.frames]) if tracing.taken else None
        written = 0
        for subscription in list(stream.subscriptions):
            if not subscription.live or subscription.offset >= last.offset:
                continue
            connection = subscription.connection
            if subscription.offset + 1 < first.offset:
                connection.fall_behind(subscription)
                continue
            try:
                if single:
                    connection.write_update(subscription, first, now)
                elif subscription.offset + 1 == first.offset:
                    connection.write_updates(subscription, burst, now)
                else:
                    connection.write_updates(subscription, burst.after(subscription.offset), now)
            except Exception:  # a failure of one client must not affect others
                logger.exception("an update could not be written to a connection; closing it with 1011")
                connection.close(close_codes.INTERNAL_ERROR)
            written += 1
        if span is not None:
            tracing.written(span, written)
        count("frames_written", written * len(burst.frames))
        if not single:
            count("coalesced_writes", written)
        if written:
            metrics.written(frame.published for frame in burst.frames)

    def _sight(self, name: str, offset: int) -> None:
        sightings = self._sightings
        sightings[name] = max(offset, sightings.get(name, 0))
        sightings.move_to_end(name)
        if len(sightings) > limits.SIGHTINGS:
            sightings.popitem(last=False)

    def _wake_up(self, updates: Iterable[WokenUpdate], trace: Mapping[str, Any] | None) -> None:
        frames = [UpdateFrame(*update) for update in updates]
        places = [(frame.stream, frame.offset) for frame in frames] if trace else []
        with tracing.receiving(trace, places):
            self.take(frames)
        if tracing.taken:
            waiting = {stream.name for stream in self._unwritten}
            tracing.forget(place for place in places if place[0] not in waiting)

    # Memory

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(limits.IDLE_SECONDS / 6)
            now = self.loop.time()
            for name, stream in list(self.streams.items()):
                if stream.idle_since is not None and now - stream.idle_since > limits.IDLE_SECONDS:
                    self._forget(name)
            self._window_bytes = sum(stream.size for stream in self.streams.values())
            for stream in self.streams.values():
                while self._window_bytes > limits.WINDOWS_BYTES and stream.window:
                    before = stream.size
                    stream.forget()
                    self._window_bytes -= before - stream.size


async def _supervise(work: Callable[[], Awaitable[None]]) -> None:
    """Run one of the hub's tasks for the life of the process: restart it whenever it ends."""
    while True:
        try:
            await work()
        except Exception:
            count("tasks_restarted", task=work.__name__)
            logger.exception("%s failed; restarting it", work.__qualname__)
        await asyncio.sleep(random.uniform(0.2, 2.0))
