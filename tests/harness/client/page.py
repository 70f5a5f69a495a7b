"""A client that behaves like a page: positions in memory, one transport at a time, a reconnect after every
cut, until it leaves.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from urllib.parse import quote

from . import frames, http
from .backoff import Backoff, retry_after
from .ledger import Arrived, Broken, Connected, Ended, Hello, Ledger
from .positions import Position, parse_since, since
from .websocket import Closed, ProtocolBroken, Refused, WebSocket

ADMISSION_DEADLINE = 10.0  # to the upgrade, or to the head of the event stream
CONNECT_DEADLINE = 5.0  # from there to hello
SILENCE = 10.0  # seconds of silence allowed on top of the server's ping interval


class _Over(Exception):
    """The connection ended, with a code of the protocol's table and, if the server sent one, a delay before
    the next attempt (seconds).
    """

    def __init__(self, code: int, detail: str = "", after: float | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.after = after


class Page:
    """One client of the updates of the site at `place`, signed in by `cookies`; without any it is anonymous.

    `transport` is "websocket", "sse" or "polling". A change takes effect at the next connection; `switch`
    forces one. `streams` None asks for the default streams. `ledger` holds everything received. `poll_every`
    is in seconds.
    """

    def __init__(
        self,
        name: str,
        place: http.Place,
        cookies: str,
        *,
        transport: str = "websocket",
        streams: Iterable[str] | None = None,
        since: Mapping[str, Position] | None = None,
        poll_every: float = 1.0,
    ) -> None:
        self.name = name
        self.place = place
        self.cookies = cookies
        self.transport = transport
        self.streams = None if streams is None else tuple(streams)
        self.positions: dict[str, Position] = dict(since or {})
        self.first_since = dict(since or {})
        self.poll_every = poll_every
        self.ledger = Ledger(name, anonymous=not cookies)
        self.live = False
        self.stopped_by: int | None = None
        self._backoff = Backoff()
        self._retry = 2.0
        self._ping = 25.0
        self._greeted_at: float | None = None
        self._leaving = False
        self._wake = asyncio.Event()
        self._cutting = False
        self._running: asyncio.Task[None] | None = None

    # ---- for tests

    async def run(self) -> None:
        """Run the client until `leave`, or until a close code forbids reconnecting."""
        while not self._leaving:
            over = await self._one_connection()
            self.live = False
            if self._leaving:
                break
            now = time.monotonic()
            if self._greeted_at is not None and now - self._greeted_at >= 10:
                self._backoff.reset()
            self._greeted_at = None
            wait = over.after if over.after is not None else self._backoff.delay(over.code, now, self._retry)
            if wait is None:
                self.stopped_by = over.code
                break
            await self._pause(wait)

    def online(self) -> None:
        """Do what a browser's `online` event does: reset the back-off and reconnect at once."""
        self._backoff.reset()
        self._wake.set()

    def switch(self, transport: str | None = None) -> None:
        """Cut the connection from this side and reconnect at once, by another transport if one is given."""
        self.transport = transport or self.transport
        self.online()
        if self._running:
            self._cutting = True
            self._running.cancel()

    def leave(self) -> None:
        """Leave for good. The client is owed only what it received before."""
        self._leaving = True
        self.ledger.left = True
        self.switch()

    # ---- one connection

    async def _pause(self, seconds: float) -> None:
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def _one_connection(self) -> _Over:
        asked = None if self.streams is None else frozenset(self.streams)
        self.ledger.write(Connected(self.transport, dict(self.positions), asked))
        talk = _TRANSPORTS[self.transport]
        over = _Over(1000, "cut by this side", after=0.0)
        self._running = asyncio.ensure_future(talk(self))
        try:
            await self._running
        except _Over as error:
            over = error
        except asyncio.CancelledError:
            if not self._cutting:  # the whole client is being cancelled
                raise
        except (OSError, asyncio.IncompleteReadError, http.BadAnswer, TimeoutError, Closed, Refused) as error:
            after = retry_after(error.reason) if isinstance(error, Closed) and error.code == 1013 else None
            over = _Over(getattr(error, "code", 1006), repr(error), after)
            if over.code in (1000, 1001, 1005):
                over.code = 1006
        except (frames.Malformed, ProtocolBroken) as error:
            self.ledger.write(Broken(str(error)))
            over = _Over(1006, str(error))
        self._running, self._cutting = None, False
        self.ledger.write(Ended(over.code, over.detail))
        return over

    def _hello(self, hello: Hello) -> None:
        self.ledger.write(hello)
        for stream, head in hello.heads.items():
            if hello.recovered[stream] is not True:
                self.positions[stream] = head
        for stream in hello.denied:
            self.positions.pop(stream, None)
        self.live = True
        self._greeted_at = time.monotonic()

    def _update(self, update: Arrived) -> None:
        self.ledger.write(update)
        known = self.positions.get(update.stream)
        if known is None:
            raise frames.Malformed(f"an update of {update.stream}, which hello did not name")
        if update.position.offset == known.offset + 1:
            self.positions[update.stream] = update.position
        elif update.position.offset > known.offset:
            raise _Over(1006, f"a gap in {update.stream}: {known}, then {update.position}")

    def _frame(self, text: str) -> None:
        frame = frames.parse(text)
        if isinstance(frame, frames.Greeting):
            self._ping, self._retry = frame.ping, frame.retry / 1000
            self._hello(frame.hello)
        elif isinstance(frame, Arrived):
            self._update(frame)
        elif not self.live:
            raise frames.Malformed(f"{frame.event!r} before hello")

    def _query(self, positions: Mapping[str, Position]) -> str:
        parts = [] if self.streams is None else ["streams=" + quote(",".join(self.streams), safe=":,")]
        if positions:
            parts.append("since=" + quote(since(positions), safe=":,/"))
        return "?" + "&".join(parts) if parts else ""

    # ---- the transports

    async def _websocket(self) -> None:
        async with asyncio.timeout(ADMISSION_DEADLINE):
            target = "/channels/updates/" + self._query(self.positions)
            socket = await WebSocket.connect(self.place, target, cookies=self.cookies)
            if socket.subprotocol != "sluice.v1":
                raise frames.Malformed(f"subprotocol {socket.subprotocol!r}, offered sluice.v1")
        try:
            async with asyncio.timeout(CONNECT_DEADLINE):
                self._frame(await socket.receive())
            while True:
                async with asyncio.timeout(self._ping + SILENCE):
                    self._frame(await socket.receive())
        finally:
            socket.abort()

    async def _sse(self) -> None:
        headers = {"Accept": "text/event-stream", "Cookie": self.cookies, "Sec-Fetch-Site": "same-origin"}
        if self.positions != self.first_since:
            headers["Last-Event-ID"] = since(self.positions)
        target = self.place.prefix + "/channels/updates/sse" + self._query(self.first_since)
        async with asyncio.timeout(ADMISSION_DEADLINE):
            response = await http.send(self.place, "GET", target, headers)
        try:
            if response.status != 200:
                raise _Over(1006, f"status {response.status}")
            if not response.headers.get("content-type", "").startswith("text/event-stream"):
                raise frames.Malformed(f"content-type {response.headers.get('content-type')!r}")
            await self._events(response)
        finally:
            response.close()

    async def _events(self, response: http.Response) -> None:
        chunks = response.chunks()
        rest = b""
        event: dict[str, str] = {}
        while True:
            async with asyncio.timeout(self._ping + SILENCE if self.live else CONNECT_DEADLINE):
                try:
                    rest += await anext(chunks)
                except StopAsyncIteration:
                    raise _Over(1006, "the event stream ended without a close") from None
            *lines, rest = rest.split(b"\n")
            for line in lines:
                text = line.rstrip(b"\r").decode()
                if text:
                    name, _, value = text.partition(":")
                    value = value.removeprefix(" ")
                    event[name] = f"{event['data']}\n{value}" if name == "data" and "data" in event else value
                elif event:
                    self._event(event)
                    event = {}

    def _event(self, event: dict[str, str]) -> None:
        if event.get("event") == "close":
            close = json.loads(event["data"])
            after = close["retry"] / 1000 if "retry" in close else None
            raise _Over(int(close["code"]), "close event", after)
        if "event" in event:
            raise frames.Malformed(f"an event named {event['event']!r}")
        if "data" not in event:
            return
        self._frame(event["data"])
        frame = json.loads(event["data"])
        if ("id" in event) != (frame["event"] == "hello" or "position" in frame):
            raise frames.Malformed(f"id {event.get('id')!r} with {frame!r}")
        if "id" in event and self._vector(event["id"]) != self.positions:
            raise frames.Malformed(f"id {event['id']!r} where the position is {since(self.positions)!r}")

    def _vector(self, text: str) -> dict[str, Position]:
        try:
            return parse_since(text)
        except ValueError as error:
            raise frames.Malformed(f"id: {error}") from None

    async def _polling(self) -> None:
        headers = {"Accept": "application/json", "Cookie": self.cookies, "Connection": "close"}
        target = self.place.prefix + "/updates/" + self._query(self.positions)
        async with asyncio.timeout(2 * CONNECT_DEADLINE):
            response = await http.send(self.place, "GET", target, headers)
            body = await response.body()
            response.close()
        if response.status != 200:
            raise _refused_poll(response)
        if "no-store" not in response.headers.get("cache-control", ""):
            raise frames.Malformed(f"cache-control {response.headers.get('cache-control')!r}")
        more = self._poll_answer(body)
        raise _Over(1000, "polled", after=0.0 if more else self.poll_every)

    def _poll_answer(self, body: bytes) -> bool:
        answer = json.loads(body)
        hello = frames.streams(answer.get("streams"))
        self._hello(hello)
        for decoded in answer["updates"]:
            update = frames.interpret(decoded)
            if not isinstance(update, Arrived):
                raise frames.Malformed(f"a poll with {decoded!r}")
            self._update(update)
        if hello.denied and not hello.heads:
            raise _Over(4003, "every stream denied")
        more = answer["more"]
        if more not in (True, False) or (more and not answer["updates"]):
            raise frames.Malformed(f"more is {more!r} with {len(answer['updates'])} updates")
        if not more and any(self.positions[stream] != head for stream, head in hello.heads.items()):
            raise frames.Malformed(
                f"a poll without more ends at {since(self.positions)!r}, its heads are {since(hello.heads)!r}"
            )
        return bool(more)


def _refused_poll(response: http.Response) -> _Over:
    code = {400: 4000, 401: 4001, 429: 4013, 503: 1013}.get(response.status, 1006)
    after = response.headers.get("retry-after", "")
    return _Over(code, f"status {response.status}", after=float(after) if after.isdigit() else None)


_TRANSPORTS: dict[str, Callable[[Page], Awaitable[None]]] = {
    "websocket": Page._websocket,
    "sse": Page._sse,
    "polling": Page._polling,
}
TRANSPORTS = tuple(_TRANSPORTS)
