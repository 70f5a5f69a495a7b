"""A server of the update protocol that produces, on demand, situations that a real server produces only
rarely.

It keeps a log of one stream and serves it by all three transports on a loopback port. For each transport the
test sets a rule: serve, refuse, swallow, close, fall silent, omit an update. The server records what clients
request and when. It also serves updates.js, a blank page to run it in, the state that a page fetches after a
loss, and files of the test's own.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from .compose import SOURCE
from .loopback import LoopbackServer

STREAM = "user:7"
MODULES = "/static/sluice_updates/"
PAGE = "/page"
STATE = "/state"
_FILES = SOURCE / "packages/sluice-updates/src/sluice_updates/static/sluice_updates"
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_POLICY = "default-src 'none'; script-src 'self'; connect-src 'self'; img-src data:"
_BLANK = '<!doctype html><title>peer</title><link rel="icon" href="data:,">'


@dataclass(frozen=True)
class Answer:
    """An HTTP response to send instead of the requested one."""

    status: int
    body: str = ""
    type: str = "text/plain"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Close:
    """Accept the connection, then close it with this code instead of sending hello."""

    code: int
    retry: int | None = None  # milliseconds after which the client is to come back


SERVE = "serve"
HOLD = "hold"
"""Don't accept before `release`, as a server to which many clients come at once. The state is read before."""
SWALLOW = "swallow"
"""Accept, then send nothing."""
CUT = "cut"
"""Accept, then break off at once without a close frame."""
STALL = "stall"
"""Don't respond to the request at all."""
Rule = str | Answer | Close


@dataclass(frozen=True)
class Asked:
    """A request for updates: its transport, its `since`, its time (time.monotonic)."""

    transport: str
    since: str
    at: float


@dataclass(eq=False)
class _Line:
    """An open connection."""

    transport: str
    writer: asyncio.StreamWriter
    offset: int
    greeted: bool = False
    muted: bool = False


@dataclass
class _Log:
    frames: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    generation: int = 1
    floor: int = 0

    def position(self, offset: int) -> str:
        return f"{offset}-{self.tags[offset - 1]}" if offset else "0-0"

    @property
    def head(self) -> str:
        return self.position(len(self.frames))


class Peer(LoopbackServer):
    """The server. A context manager; the test's thread may call its methods."""

    def __init__(self) -> None:
        super().__init__("peer")
        kinds = ("websocket", "sse", "polling", "health", "plain", "state")
        self.rules: dict[str, Rule] = dict.fromkeys(kinds, SERVE)
        self.rules["plain"] = Answer(426, "426: this needs an upgrade.\n")
        self.asked: list[Asked] = []
        self.closed_by_clients: list[int] = []
        self.ping = 25
        self.retry = 2000
        self.denied: set[str] = set()
        self.poll_path = "/updates/"
        self.files: dict[str, Answer] = {}  # by their paths
        self.slow: dict[str, float] = {}  # seconds before the response, by path
        self._log = _Log()
        self._lines: set[_Line] = set()
        self._released = asyncio.Event()

    def __enter__(self) -> Self:
        super().__enter__()
        self._background.begin(self._ping_all())
        return self

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    # ---- for tests

    def all_rules(self, rule: Rule, *transports: str) -> None:
        """Apply the rule to these transports from now on."""
        for transport in transports:
            self.rules[transport] = rule

    def publish(self, count: int = 1, *, event: str = "numbered", leave_out: bool = False) -> None:
        """Commit updates, numbered from 1 by their offsets. With `leave_out`, no client receives them."""
        self._background.do(lambda: self._publish(count, event, leave_out))

    def repeat(self) -> None:
        """Send the last update again to all clients, with the same position."""
        self._each(lambda line: self._write(line, self._log.frames[-1]))

    def trim(self) -> None:
        """Trim all updates. Only the head's position remains."""
        self._background.do(lambda: setattr(self._log, "floor", len(self._log.frames)))

    def rewrite(self) -> None:
        """Rewrite the history: the same offsets with other tags."""
        self._background.do(self._rewrite)

    def close(self, code: int) -> None:
        """Close every connection with this code."""
        self._each(lambda line: self._close(line, code))

    def cut(self) -> None:
        """Break off every connection."""
        self._each(lambda line: line.writer.transport.abort())

    def mute(self) -> None:
        """Send nothing more on the open connections, not even pongs, but keep them open."""
        self._each(lambda line: setattr(line, "muted", True))

    def say(self, frame: str) -> None:
        """Send a raw frame to all clients."""
        self._each(lambda line: self._write(line, frame))

    def release(self) -> None:
        """Accept the connections that are held."""
        self._background.do(self._released.set)

    def connections(self, transport: str = "") -> int:
        """Number of connections that received a hello, by one transport or any."""
        return self._background.do(
            lambda: sum(line.transport == transport or not transport for line in self._greeted())
        )

    @property
    def head(self) -> str:
        return self._background.do(lambda: self._log.head)

    def attempts(self, transport: str, since: float = 0) -> list[Asked]:
        """Requests by this transport after `since` (time.monotonic)."""
        return [asked for asked in list(self.asked) if asked.transport == transport and asked.at >= since]

    # ---- the log

    def _publish(self, count: int, event: str, leave_out: bool) -> None:
        for _ in range(count):
            number = len(self._log.frames) + 1
            self._log.tags.append(f"{self._log.generation:08x}{number:08x}")
            frame = {"event": event, "payload": {"number": number}}
            frame |= {"stream": STREAM, "position": self._log.position(number)}
            self._log.frames.append(json.dumps(frame))
            if not leave_out:
                for line in self._greeted():
                    line.offset = number
                    self._write(line, self._log.frames[-1])

    def _rewrite(self) -> None:
        log = self._log
        log.generation += 1
        frames, log.frames, log.tags = log.frames, [], []
        for line in self._lines:
            line.greeted = False
        self._publish(len(frames), "numbered", True)

    def _state(self, since: str) -> tuple[dict[str, Any], int]:
        """The stream's entry in hello, and the offset after which updates follow."""
        if STREAM in self.denied:
            return {"denied": True}, len(self._log.frames)
        given = dict(entry.split("/") for entry in since.split(",") if entry).get(STREAM)
        state: dict[str, Any] = {"head": self._log.head}
        if given is None:
            return state, len(self._log.frames)
        offset = int(given.split("-")[0])
        known = self._log.floor <= offset <= len(self._log.frames)
        state["recovered"] = known and self._log.position(offset) == given
        return state, offset if state["recovered"] else len(self._log.frames)

    # ---- connections

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, asyncio.IncompleteReadError, struct.error):
                await self._obey(reader, writer)
        finally:
            writer.close()

    async def _obey(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {n.lower(): v.strip() for n, _, v in (text.partition(":") for text in lines)}
        target = urlsplit(request.split()[1])
        since = parse_qs(target.query).get("since", [""])[0]
        kind = self._kind(target.path, headers)
        if kind in ("websocket", "sse", "polling", "state"):
            self.asked.append(Asked(kind, since, time.monotonic()))
        rule = self.rules.get(kind, SERVE)
        await asyncio.sleep(self.slow.get(target.path, 0))
        if rule == HOLD and kind == "state":
            rule = self._plain_answer(kind, target.path, since)
            await self._released.wait()
        elif rule == HOLD:
            await self._released.wait()
            rule = SERVE
        if rule == STALL:
            await reader.read()
        elif isinstance(rule, Answer):
            self._answer(writer, rule)
        elif rule == CUT and kind not in ("websocket", "sse"):
            writer.transport.abort()
        elif kind in ("websocket", "sse"):
            line = _Line(kind, writer, 0)
            self._lines.add(line)
            try:
                self._accept(line, headers)
                self._begin(line, rule, since)
                await writer.drain()
                await self._listen(line, reader)
            finally:
                self._lines.discard(line)
        else:
            self._answer(writer, self._plain_answer(kind, target.path, since))
        await writer.drain()

    def _kind(self, path: str, headers: dict[str, str]) -> str:
        if path == "/channels/updates/":
            return "websocket" if headers.get("upgrade") == "websocket" else "plain"
        kinds = {
            "/channels/updates/sse": "sse",
            "/channels/healthz": "health",
            self.poll_path: "polling",
            STATE: "state",
        }
        return kinds.get(path, "file")

    def _plain_answer(self, kind: str, path: str, since: str) -> Answer:
        if kind == "health":
            return Answer(200, '{"status": "ok", "origin": "known"}', "application/json")
        if kind == "polling":
            state, offset = self._state(since)
            updates = ", ".join(self._log.frames[offset:])
            return Answer(
                200,
                f'{{"streams": {json.dumps({STREAM: state})}, "updates": [{updates}], "more": false}}',
                "application/json",
            )
        if kind == "state":
            numbers = [json.loads(frame)["payload"]["number"] for frame in self._log.frames]
            state = {"positions": {STREAM: self._log.head}, "numbers": numbers}
            return Answer(200, json.dumps(state), "application/json")
        if path in self.files:
            return self.files[path]
        if path == PAGE:
            return Answer(200, _BLANK, "text/html", (("Content-Security-Policy", _POLICY),))
        if path.startswith(MODULES):
            return Answer(200, (_FILES / Path(path).name).read_text(), "text/javascript; charset=utf-8")
        return Answer(404, "404: no such thing\n")

    @staticmethod
    def _answer(writer: asyncio.StreamWriter, answer: Answer) -> None:
        body = answer.body.encode()
        lines = [f"HTTP/1.1 {answer.status} -", f"Content-Type: {answer.type}"]
        lines += [f"Content-Length: {len(body)}", "Connection: close"]
        # The browser would not keep a page with `no-store` in its back/forward cache.
        lines += ["Cache-Control: " + ("no-cache" if answer.type == "text/html" else "no-store")]
        lines += [f"{name}: {value}" for name, value in answer.headers]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    @staticmethod
    def _accept(line: _Line, headers: dict[str, str]) -> None:
        if line.transport == "sse":
            line.writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
                b"Connection: close\r\n\r\n:\n\n"
            )
            return
        key = headers["sec-websocket-key"] + _GUID
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        line.writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Protocol: sluice.v1\r\n" + f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
        )

    def _begin(self, line: _Line, rule: Rule, since: str) -> None:
        if isinstance(rule, Close):
            self._close(line, rule.code, rule.retry)
        elif rule == CUT:
            line.writer.close()
        elif rule == SERVE:
            state, line.offset = self._state(since)
            hello = {"streams": {STREAM: state}, "ping": self.ping, "retry": self.retry}
            self._write(line, json.dumps({"event": "hello", "payload": hello}))
            line.greeted = True
            for frame in self._log.frames[line.offset :]:
                self._write(line, frame)
            line.offset = len(self._log.frames)

    async def _listen(self, line: _Line, reader: asyncio.StreamReader) -> None:
        """Read until the client leaves or the connection is closed."""
        if line.transport == "sse":
            await reader.read()
            return
        while True:
            first, second = await reader.readexactly(2)
            length = second & 0x7F
            if length == 126:
                (length,) = struct.unpack("!H", await reader.readexactly(2))
            mask = await reader.readexactly(4)
            data = bytes(
                byte ^ mask[index % 4] for index, byte in enumerate(await reader.readexactly(length))
            )
            if first & 0x0F == 0x8:
                self.closed_by_clients.append(struct.unpack("!H", data[:2])[0] if data else 1005)
                return
            if data == b'{"type": "ping"}':
                self._write(line, '{"event": "pong"}')

    async def _ping_all(self) -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.2)
            if time.monotonic() - last >= self.ping:
                last = time.monotonic()
                for line in self._greeted():
                    self._write(line, '{"event": "ping"}')

    def _greeted(self) -> list[_Line]:
        return [line for line in self._lines if line.greeted]

    def _write(self, line: _Line, text: str) -> None:
        if line.muted:
            return
        data = text.encode()
        if line.transport == "sse":
            line.writer.write(b"data: " + data + b"\n\n")
            return
        length = len(data)
        head = struct.pack("!BB", 0x81, length) if length < 126 else struct.pack("!BBH", 0x81, 126, length)
        line.writer.write(head + data)

    def _close(self, line: _Line, code: int, retry: int | None = None) -> None:
        line.greeted = False
        if line.transport == "sse":
            data = {"code": code} if retry is None else {"code": code, "retry": retry}
            line.writer.write(f"event: close\ndata: {json.dumps(data)}\n\n".encode())
            line.writer.close()
        elif code == 1005:
            line.writer.write(b"\x88\x00")
        else:
            reason = b"" if retry is None else f"retry={retry}".encode()
            line.writer.write(struct.pack("!BBH", 0x88, 2 + len(reason), code) + reason)

    def _each(self, action: Callable[[_Line], None]) -> None:
        def run() -> None:
            for line in set(self._lines):
                action(line)

        self._background.do(run)
