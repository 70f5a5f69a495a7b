"""The ASGI servers, each with its usual command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

APPLICATION: Final = "hubsite.asgi:application"


@dataclass(frozen=True)
class Server:
    """A server as the page names it. `command` follows `python`; `{port}` in it is the port.

    `started`: what each worker logs when it has started. A signal before that may be lost (granian).
    """

    name: str
    package: str
    command: str
    started: str = ""
    workers: int = 1

    @property
    def words(self) -> list[str]:
        return [*self.command.split(), APPLICATION]


SERVERS: Final[Mapping[str, Server]] = {
    server.name: server
    for server in (
        Server("our own", "sluice-updates", "-m sluice_updates.server"),
        Server("uvicorn", "uvicorn", "-m uvicorn --port {port} --loop asyncio --http h11"),
        Server("uvicorn, uvloop", "uvicorn", "-m uvicorn --port {port} --loop uvloop --http httptools"),
        Server(
            "uvicorn, two workers",
            "uvicorn",
            "-m uvicorn --port {port} --workers 2",
            "Application startup complete",
            2,
        ),
        Server(
            "Gunicorn, two uvicorn workers",
            "gunicorn",
            "-m gunicorn --bind 127.0.0.1:{port} --workers 2 --worker-class uvicorn_worker.UvicornWorker",
            "Application startup complete",
            2,
        ),
        Server(
            "granian",
            "granian",
            "-m granian --interface asgi --port {port} --loop asyncio",
            "Started worker-",
        ),
        Server(
            "granian, uvloop, two workers",
            "granian",
            "-m granian --interface asgi --port {port} --loop uvloop --workers 2",
            "Started worker-",
            2,
        ),
        Server(
            "hypercorn",
            "hypercorn",
            "-m hypercorn --bind 127.0.0.1:{port} --graceful-timeout 10",
            "Running on",
        ),
        Server(
            "hypercorn, uvloop, two workers",
            "hypercorn",
            "-m hypercorn --bind 127.0.0.1:{port} --graceful-timeout 10 --worker-class uvloop --workers 2",
            "Running on",
            2,
        ),
        Server("stock Daphne", "daphne", "-m daphne --port {port}"),
    )
}
