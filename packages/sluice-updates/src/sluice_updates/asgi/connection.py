"""What WebSockets and event streams have in common: handshake, hello, catching up, pings, close."""

from __future__ import annotations

import asyncio
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import ClassVar

from .. import addresses, authentication, close_codes, conf, limits
from ..asgi_types import Scope
from ..authentication import Anonymous, Person
from ..handshake import Admission, Handshake
from ..history import Reading
from ..metrics import count
from ..positions import MalformedQuery, Position, parse_since, parse_streams
from ..push.database_thread import DatabaseUnavailable
from ..push.frames import Burst, Frame, UpdateFrame, bursts, hello
from ..push.hub import Hub
from ..push.window import Subscription

logger = logging.getLogger(__name__)

PACE_STEP_SECONDS = 0.01
_PINGS_A_SECOND = 8  # turns in which pings are written


class Closed(Exception):
    """Raised to close the connection with this code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Connection(ABC):
    """One client of the hub. Subclasses implement the transport."""

    TRANSPORT: ClassVar[str]
    __slots__ = (
        "_backlog",
        "_catching_up",
        "_finished",
        "_opening",
        "_patience",
        "_pinging",
        "closed_with",
        "hub",
        "last_frame_at",
        "reader",
        "subscriptions",
    )

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.reader: Person | Anonymous | None = None  # None: not known yet
        self.subscriptions: dict[str, Subscription] = {}  # by stream
        self.closed_with: int | None = None
        self.last_frame_at = hub.loop.time()
        self._opening: asyncio.Task[None] | None = None
        self._finished: Callable[[], None] | None = None
        self._backlog: dict[
            Subscription, list[UpdateFrame]
        ] = {}  # subscriptions that are catching up, and the updates read for each
        self._catching_up: asyncio.Task[None] | None = None  # the only task that works on the backlog
        self._patience = float("inf")  # seconds that remain for the client to catch up
        self._pinging: asyncio.TimerHandle | None = None

    # Implemented by subclasses

    @abstractmethod
    def unsent(self) -> int:
        """Bytes that the client has not received yet."""

    @abstractmethod
    def write_hello(self, frame: Frame) -> None:
        """Write the first frame, to a client that understands it."""

    @abstractmethod
    def write_frame(self, subscription: Subscription, frame: UpdateFrame) -> None:
        """Write an update. The subscription's position is at this update already."""

    @abstractmethod
    def write_burst(self, subscription: Subscription, burst: Burst) -> None:
        """Write several updates at once, likewise."""

    @abstractmethod
    def write_ping(self) -> None:
        """Write a ping, to a client that understands it."""

    @abstractmethod
    def write_close(self, code: int) -> None:
        """Write the close."""

    def since(self, scope: Scope) -> dict[str, Position]:
        """The client's positions, by stream. Raises MalformedQuery."""
        return parse_since(scope["query_string"])

    # From open to close

    def open(self, scope: Scope, finished: Callable[[], None] | None = None) -> None:
        """Start: authenticate, send hello, replay, go live; or close. Returns at once.

        `finished` is called after hello or a close, or when the client is gone.
        """
        self._finished = finished
        self.hub.people.connections.add(self)
        count("connections_opened", transport=self.TRANSPORT)
        self._opening = asyncio.ensure_future(self._open(scope))

    def close(self, code: int) -> None:
        """End the connection from this side, with this close code."""
        if self.closed_with is None:
            self.closed_with = code
            count("closes", code=code)
            self.write_close(code)
            self.leave()

    def restart(self) -> None:
        """Tell the client that the server restarts."""
        self.close(close_codes.RESTART)

    def leave(self) -> None:
        """Remove the connection from the hub: nothing more is written to it."""
        if self.closed_with is None:
            self.closed_with = 1006
        for subscription in self.subscriptions.values():
            self.hub.unsubscribe(subscription)
        self.subscriptions = {}
        self.hub.people.leave(self, self.reader)
        self.reader = None
        if self._pinging is not None:
            self._pinging.cancel()
        self._finish()  # a task that is cancelled before its first step does nothing
        for task in (self._opening, self._catching_up):
            if task is not None and task is not asyncio.current_task():
                task.cancel()

    def deny(self, names: Iterable[str]) -> None:
        """End the subscriptions to streams that the client may no longer read."""
        for name in names:
            subscription = self.subscriptions.pop(name, None)
            if subscription is not None:
                count("subscriptions_ended")
                self.hub.unsubscribe(subscription)
        if not self.subscriptions:
            self.close(close_codes.NOTHING_ALLOWED)

    # Updates

    def write_update(self, subscription: Subscription, frame: UpdateFrame, now: float) -> None:
        """Write the next update of a stream. A client with too many unsent bytes falls behind."""
        subscription.offset = frame.offset
        subscription.tag = frame.tag
        self.last_frame_at = now
        self.write_frame(subscription, frame)
        self._check_unsent()

    def _check_unsent(self) -> None:
        if self.unsent() > limits.UNSENT_BYTES:
            for followed in self.subscriptions.values():
                if followed.live:
                    self.fall_behind(followed)

    def write_updates(self, subscription: Subscription, burst: Burst, now: float) -> None:
        """The same for several updates that follow the subscription's position."""
        last = burst.frames[-1]
        self.write_burst(subscription, burst)
        subscription.offset = last.offset
        subscription.tag = last.tag
        self.last_frame_at = now
        self._check_unsent()

    def fall_behind(self, subscription: Subscription) -> None:
        """Let a subscription catch up at the client's pace, from the shared window: it has no queue."""
        count("fallen_behind")
        subscription.live = False
        self._backlog[subscription] = []
        if self._catching_up is None:
            self._catching_up = asyncio.ensure_future(self._guard(self._recover()))

    # Opening

    async def _open(self, scope: Scope) -> None:
        try:
            await self._guard(self._greet(scope))
        finally:
            self._finish()
            self._opening = None

    def _finish(self) -> None:
        finished, self._finished = self._finished, None
        if finished is not None:
            finished()

    async def _guard(self, work: Awaitable[None]) -> None:
        """Turn any error into a close."""
        try:
            await work
        except Closed as closed:
            self.close(closed.code)
        except DatabaseUnavailable:
            self.close(close_codes.TRY_LATER)
        except Exception:
            logger.exception("a connection failed; closing it with 1011")
            self.close(close_codes.INTERNAL_ERROR)

    async def _greet(self, scope: Scope) -> None:
        if self.hub.draining:
            raise Closed(close_codes.RESTART)
        try:
            wanted, since = parse_streams(scope["query_string"]), self.since(scope)
        except MalformedQuery as malformed:
            logger.info("malformed query, closing with 4000: %s", malformed.detail)
            raise Closed(close_codes.BAD_REQUEST) from None
        key = authentication.session_key(scope)
        if key is None and not conf.anonymous():
            raise Closed(close_codes.NOT_SIGNED_IN)
        address = addresses.group(addresses.of(scope)) if conf.anonymous() else ""
        self._catching_up = asyncio.current_task()
        try:
            async with asyncio.timeout(limits.HELLO_SECONDS):
                admission = await self.hub.authenticator.authenticate(Handshake(key, wanted, since, address))
                self._enter(admission)
                told, backlog = await self._subscribe(admission, since)
        except TimeoutError:
            raise Closed(close_codes.TRY_LATER) from None
        self.write_hello(
            hello(
                told,
                ping=limits.PING_SECONDS,
                retry=limits.retry_milliseconds(len(self.hub.people.connections)),
            )
        )
        self._finish()
        self._keep_alive()
        self._backlog.update(backlog)
        await self._catch_up_all()

    def _enter(self, admission: Admission) -> None:
        """Raises Closed if this reader may not connect."""
        reader, streams = admission.reader, len(admission.allowed)
        if reader is None:
            raise Closed(close_codes.NOT_SIGNED_IN)
        if not admission.allowed:
            raise Closed(close_codes.NOTHING_ALLOWED)
        if isinstance(reader, Anonymous):
            if (limit := self.hub.people.crowd(reader, streams)) is not None:
                count("anonymous_refused", limit=limit)
                raise Closed(close_codes.TOO_MANY)
        elif self.hub.people.is_full(reader):
            raise Closed(close_codes.TOO_MANY)
        self.reader = reader
        self.hub.people.enter(self, reader, streams)

    async def _subscribe(
        self, admission: Admission, since: Mapping[str, Position]
    ) -> tuple[dict[str, dict[str, object]], list[tuple[Subscription, list[UpdateFrame]]]]:
        """Subscribe to all allowed streams.

        Returns the entries of hello by stream, and the updates to replay.
        """
        told: dict[str, dict[str, object]] = {name: {"denied": True} for name in admission.streams}
        backlog = []
        reading = admission.reading
        left = [name for name in admission.streams if name in admission.allowed]
        while left:
            unknown = []
            for name in left:
                given = since.get(name)
                if reading is not None and name in reading.states:
                    stream = self.hub.follow(name, reading.states[name])
                    head = reading.states[name].head
                    recovered = reading.recovered[name] if given is not None else None
                elif self.hub.knows(name, given):
                    stream = self.hub.streams[name]
                    head = stream.head
                    recovered = True if given is not None else None
                else:
                    unknown.append(name)
                    continue
                position = given if given is not None and recovered else head
                frames = _frames(reading, name)
                stream.prepend(position, frames)
                subscription = self.subscriptions[name] = self.hub.subscribe(self, stream, position)
                backlog.append((subscription, frames))
                told[name] = (
                    {"head": str(head)} if recovered is None else {"head": str(head), "recovered": recovered}
                )
                if recovered is not None:
                    count("resumes", recovered=recovered)
            left = unknown
            if left:  # the hub has just forgotten these streams
                reading = await self.hub.read({name: since.get(name) for name in left})
        return told, backlog

    async def _recover(self) -> None:
        """Catch up after falling behind."""
        self._patience = limits.BEHIND_SECONDS
        await self._catch_up_all()

    async def _catch_up_all(self) -> None:
        while self._backlog:
            subscription = next(iter(self._backlog))
            await self._catch_up(subscription, self._backlog.pop(subscription))
        self._catching_up = None

    async def _catch_up(self, subscription: Subscription, frames: list[UpdateFrame]) -> None:
        """Write the missed updates of a subscription until the hub can continue live."""
        await self._replay(subscription, frames)
        while self._holds(subscription):
            await self._pace()
            if self.hub.go_live(subscription):
                break
            stream = subscription.stream
            missed = stream.after(subscription.offset)
            if missed is None:
                try:
                    reading = await self.hub.read({stream.name: subscription.position})
                except DatabaseUnavailable:  # an open connection may stay
                    await asyncio.sleep(limits.POLL_SECONDS)
                    continue
                if not reading.recovered[stream.name]:
                    raise Closed(close_codes.HISTORY_REWRITTEN)
                missed = _frames(reading, stream.name)
            await self._replay(subscription, missed)

    async def _replay(self, subscription: Subscription, frames: list[UpdateFrame]) -> None:
        """Write missed updates."""
        for burst in bursts(frames, limits.BURST_BYTES):
            await self._pace()
            if not self._holds(subscription):
                return
            if burst.frames[0].offset <= subscription.offset:
                burst = burst.after(subscription.offset)
            if burst.frames and burst.frames[0].offset == subscription.offset + 1:
                self.write_updates(subscription, burst, self.hub.loop.time())
                count("updates_replayed", len(burst.frames))

    async def _pace(self) -> None:
        """Wait until the client has received most of the unsent bytes. Raises Closed after too long."""
        unsent = self.unsent()
        taken_at = self.hub.loop.time()
        while unsent > limits.PACE_BYTES:
            await asyncio.sleep(PACE_STEP_SECONDS)
            before, unsent = unsent, self.unsent()
            now = self.hub.loop.time()
            self._patience -= PACE_STEP_SECONDS
            if unsent < before:
                taken_at = now
            if now - taken_at > limits.STUCK_SECONDS or self._patience < 0:
                raise Closed(close_codes.TOO_SLOW)

    def _holds(self, subscription: Subscription) -> bool:
        """Whether the connection is still subscribed."""
        return self.subscriptions.get(subscription.stream.name) is subscription

    def _keep_alive(self) -> None:
        """Send a ping after a while without a frame, and schedule the next check."""
        now = self.hub.loop.time()
        if now - self.last_frame_at >= limits.PING_SECONDS:
            self.write_ping()
            self.last_frame_at = now
        if self.closed_with is None:
            # Rounded, so that many connections share a turn of the loop, which costs as much as a ping.
            due = math.ceil((self.last_frame_at + limits.PING_SECONDS) * _PINGS_A_SECOND) / _PINGS_A_SECOND
            self._pinging = self.hub.loop.call_at(due, self._keep_alive)


def _frames(reading: Reading | None, name: str) -> list[UpdateFrame]:
    if reading is None:
        return []
    return [UpdateFrame.of(update) for update in reading.updates if update.stream == name]
