"""The least of an ASGI server, with one client, an event stream:

    python -m hubsite.little_server HOW SESSION

HOW is the way in which it learns of its stop. `signal`: by a handler of the signal. `loop`: by a handler of
the event loop. `listener`: by other means (here a line on standard input); it then closes its listening
socket. Like real servers, it waits for its connections after that. It prints what happens.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from typing import Any

from hubsite.asgi import application


class Server:
    def __init__(self, how: str) -> None:
        self._stopping = asyncio.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        loop = asyncio.get_running_loop()
        if how == "signal":
            signal.signal(signal.SIGTERM, self._on_signal)
        elif how == "loop":
            loop.add_signal_handler(signal.SIGTERM, self._stop)
        else:
            loop.add_reader(sys.stdin, self._stop)

    async def run(self, session: str) -> None:
        to_lifespan: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        started = asyncio.Event()

        async def send(message: dict[str, Any]) -> None:
            started.set()

        lifespan = asyncio.ensure_future(application({"type": "lifespan", "asgi": {}}, to_lifespan.get, send))
        to_lifespan.put_nowait({"type": "lifespan.startup"})
        await started.wait()
        stream = asyncio.create_task(self._stream(session))
        await self._stopping.wait()
        await stream
        to_lifespan.put_nowait({"type": "lifespan.shutdown"})
        await lifespan

    async def _stream(self, session: str) -> None:
        ended = asyncio.Event()

        async def receive() -> dict[str, Any]:
            await ended.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if body := message.get("body", b""):
                print(body.decode().strip(), flush=True)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                print("the stream ended", flush=True)
                ended.set()

        headers = [(b"host", b"localhost"), (b"cookie", f"sessionid={session}".encode())]
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/channels/updates/sse",
            "query_string": b"",
            "headers": headers,
            "server": self._listener.getsockname(),
        }
        await application(scope, receive, send)

    def _on_signal(self, *_: object) -> None:
        self._stop()

    def _stop(self) -> None:
        print("the server stops", flush=True)
        self._listener.close()
        asyncio.get_running_loop().remove_reader(sys.stdin)
        self._stopping.set()


async def main() -> None:
    await Server(sys.argv[1]).run(sys.argv[2])


asyncio.run(main())
