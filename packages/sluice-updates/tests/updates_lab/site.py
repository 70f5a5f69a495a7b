"""A site with its database, its servers in separate processes, and protocol clients."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from harness.waiting import wait_until

TESTS = Path(__file__).resolve().parents[1]
PACKAGES = TESTS.parents[1]
SUBPROTOCOL = "sluice.v1"
# Seconds for events that normally take about one; a busy machine needs more.
SOON = 8.0


def environment(**more: str) -> dict[str, str]:
    """The environment variables of the site's processes."""
    paths = [TESTS, *PACKAGES.glob("*/src")]
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "HUBSITE_"))
    }
    return inherited | {
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "DJANGO_SETTINGS_MODULE": "hubsite.settings",
        "PYTHONUNBUFFERED": "1",
        **more,
    }


class Site:
    """The site's database, and a process that works on it as views do (hubsite/control.py)."""

    def __init__(self, database_url: str, **variables: str) -> None:
        self.database_url = database_url
        self._process = subprocess.Popen(
            [sys.executable, "-m", "hubsite.control"],
            env=environment(DATABASE_URL=database_url, **variables),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._people = 0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: object, **keywords: object) -> Any:
            assert self._process.stdin and self._process.stdout
            self._process.stdin.write(json.dumps([name, arguments, keywords]) + "\n")
            self._process.stdin.flush()
            answer = json.loads(self._process.stdout.readline())
            assert "error" not in answer, answer["error"]
            return answer["result"]

        return call

    def person(self) -> Person:
        """A new user with a session."""
        self._people += 1
        name = f"person{self._people}"
        return Person(name, *self.sign_in(name))

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(10)


class Person:
    """A user and a session."""

    def __init__(self, name: str, user_id: int | str, session: str) -> None:
        self.name = name
        self.id = user_id
        self.session = session
        self.stream = f"user:{user_id}"


class Served:
    """A Daphne process that serves the site."""

    def __init__(self, site: Site, log: Path, *command: str, **variables: str) -> None:
        """`command` follows `python`; `{port}` in it is the port, for a server that opens its own socket.

        By default the database does not wake it (HUBSITE_NOTIFY), so that tests see each other way alone.
        """
        self.site = site
        self.log = log
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        command = command or ("-m", "sluice_updates.server", "hubsite.asgi:application")
        own = any("{port}" in word for word in command)
        if own:
            listener.close()
        with listener, log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, *(word.format(port=self.port) for word in command)],
                env=environment(DATABASE_URL=site.database_url, **{"HUBSITE_NOTIFY": "no"} | variables),
                stdin=subprocess.DEVNULL if own else listener.fileno(),  # as supervisor's fcgi-program does
                stdout=output,
                stderr=output,
            )

    def wait_until_healthy(self) -> Served:
        """Wait for its first successful health check."""
        wait_until(self._answers, 20, "the server", fatal=self._death)
        return self

    def health(self) -> tuple[int, dict[str, Any]]:
        """Status and report of /channels/healthz."""
        status, _, body = self.get("/channels/healthz")
        return status, json.loads(body)

    def get(
        self, path: str, method: str = "GET", body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """An HTTP request: status, headers, body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SOON)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return (
                response.status,
                {name.lower(): value for name, value in response.getheaders()},
                response.read(),
            )
        finally:
            connection.close()

    def wake(self, updates: object, **more: object) -> None:
        """Announce updates to the hub, through the channel layer. `more`: other keys of the message."""
        named = more or {"database": self.site.identity()}
        message = {"type": "updates.committed", "updates": updates, **named}
        assert self.get("/relay", "POST", body=json.dumps(message).encode())[0] == 200

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(
        self,
        person: Person | None = None,
        query: str = "",
        *,
        session: str | None = None,
        origin: str | None = "own",
        subprotocols: Sequence[str] = (SUBPROTOCOL,),
        path: str = "/channels/updates/",
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> Socket:
        """A WebSocket."""
        session = session if session is not None else person.session if person else None
        return Socket(
            connect(
                f"ws://127.0.0.1:{self.port}{path}" + (f"?{query}" if query else ""),
                origin=Origin(self.origin if origin == "own" else origin) if origin else None,
                subprotocols=[Subprotocol(name) for name in subprotocols] or None,
                additional_headers={
                    **({"Cookie": f"a=b; sessionid={session}"} if session else {}),
                    **(headers or {}),
                },
                compression=None,
                ping_interval=None,
                close_timeout=2,
                **more,
            )
        )

    def raw(self) -> socket.socket:
        """A TCP connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=SOON)

    def handshake(self, person: Person | None, query: str = "", *, more: str = "") -> bytes:
        """The bytes of a correct WebSocket handshake."""
        cookie = f"Cookie: sessionid={person.session}\r\n" if person else ""
        return (
            f"GET /channels/updates/{'?' if query else ''}{query} HTTP/1.1\r\n"
            f"Host: 127.0.0.1:{self.port}\r\n"
            "Upgrade: websocket\r\n"
            "Connection: Upgrade\r\n"
            f"Origin: {self.origin}\r\n"
            "Sec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
            f"Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n"
            f"{cookie}{more}\r\n"
        ).encode()

    def text(self) -> str:
        """Its log."""
        return self.log.read_text(errors="replace")

    def signal(self, number: int = signal.SIGTERM) -> None:
        """Send it a signal; SIGTERM stops it."""
        self.process.send_signal(number)

    def stop(self) -> int:
        """Stop it and return its exit status."""
        self.signal()
        return self.end()

    def end(self) -> int:
        """Wait for its end and return its exit status."""
        try:
            return self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def _answers(self) -> bool:
        try:
            return self.get("/channels/healthz")[0] == 200
        except OSError:
            return False

    def _death(self) -> str | None:
        status = self.process.poll()
        return None if status is None else f"it ended with {status}: {self.text()[-3000:]}"


class Socket:
    """A WebSocket client that knows the protocol's frames."""

    def __init__(self, connection: AbstractContextManager[ClientConnection]) -> None:
        self._connection = connection
        self.wire = connection.__enter__()

    def frame(self, timeout: float = SOON) -> dict[str, Any]:
        """The next frame."""
        text = self.wire.recv(timeout=timeout)
        assert isinstance(text, str)
        return json.loads(text)

    def hello(self) -> dict[str, Any]:
        """The states of the streams in the first frame, hello."""
        frame = self.frame()
        assert frame["event"] == "hello", frame
        return frame["payload"]["streams"]

    def numbers(self, count: int, timeout: float = SOON) -> list[int]:
        """The message ids of the next updates."""
        return [self.frame(timeout)["payload"]["message_id"] for _ in range(count)]

    def send(self, message: object) -> None:
        """Send JSON, or text as it is."""
        self.wire.send(message if isinstance(message, (str, bytes)) else json.dumps(message))

    def close_code(self, timeout: float = SOON) -> int:
        """Read until the server closes, and return its code (1006: it sent none)."""
        deadline = time.monotonic() + timeout
        try:
            while True:
                self.wire.recv(timeout=max(0.0, deadline - time.monotonic()))
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else 1006

    def is_quiet(self, seconds: float) -> bool:
        """Whether no frame arrives within this time."""
        with suppress(TimeoutError):
            self.wire.recv(timeout=seconds)
            return False
        return True

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, *raised: Any) -> None:
        with suppress(ConnectionClosed):  # it may have been closed long before
            self._connection.__exit__(*raised)


class Events:
    """A client of the server-sent events."""

    def __init__(self, served: Served, person: Person | None, query: str = "", **headers: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=SOON)
        if person is not None:
            headers["Cookie"] = f"sessionid={person.session}"
        self._connection.request("GET", f"/channels/updates/sse?{query}", headers=headers)
        self.response = self._connection.getresponse()

    def next(self) -> dict[str, Any] | None:
        """The next event's fields, `data` decoded; None at the end. Comments are skipped."""
        fields: dict[str, Any] = {}
        for line in iter(self.response.readline, b""):
            text = line.decode().rstrip("\n")
            if not text and fields:
                return fields | {"data": json.loads(fields["data"])}
            name, _, value = text.partition(":")
            if name:
                fields[name] = value.removeprefix(" ")
        return None

    def __enter__(self) -> Events:
        return self

    def __exit__(self, *raised: object) -> None:
        self.response.close()  # it may have the socket alone
        self._connection.close()


@contextmanager
def running(site: Site, log: Path, *command: str, **variables: str) -> Iterator[Served]:
    """A server for one test, killed at the end if the test hasn't stopped it."""
    served = Served(site, log, *command, **variables)
    try:
        yield served.wait_until_healthy()
    finally:
        if served.process.poll() is None:
            served.process.kill()
            served.process.wait()
