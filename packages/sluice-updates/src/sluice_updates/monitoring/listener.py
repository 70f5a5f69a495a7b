"""A small HTTP server in a thread, for one path: /metrics."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

logger = logging.getLogger(__name__)

# Processes of one program may have the same setting: each takes the next free port.
PORTS: Final = 16
CLIENT_SECONDS: Final = 5.0

Render = Callable[[], tuple[str, bytes]]


def open_socket(bind: str) -> socket.socket:
    """A listening socket at ADDRESS:PORT, or at the next port that is free. Raises OSError."""
    host, _, port = bind.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    first = int(port)
    for number in range(first, min(first + PORTS, 65536)):
        try:
            return socket.create_server((host, number), family=family, backlog=16)
        except OSError as error:
            refused = error
    raise refused


class Listener:
    """Serves `render()`, a content type and a body, on a listening socket.

    Several processes may have a listener on one inherited socket: the first of them to accept answers.
    """

    def __init__(self, listening: socket.socket, render: Render) -> None:
        self._server = _Server(listening, render)
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)

    @property
    def address(self) -> str:
        """ADDRESS:PORT"""
        host, port = self._server.server_address[:2]
        host = str(host)
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Close the socket and end the thread."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, listening: socket.socket, render: Render) -> None:
        super().__init__(listening.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        # Another process that has the same socket may be faster to accept.
        listening.setblocking(False)
        self.render = render

    def get_request(self) -> tuple[socket.socket, Any]:
        client, address = super().get_request()
        client.setblocking(True)
        return client, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        logger.debug("a scrape broke off", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "sluice"
    sys_version = ""
    timeout = CLIENT_SECONDS

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/metrics":
            self._answer(404, "text/plain; charset=utf-8", b"Not found; the metrics are at /metrics.\n")
            return
        try:
            kind, body = self.server.render()
        except Exception:
            logger.exception("the metrics could not be rendered")
            self._answer(500, "text/plain; charset=utf-8", b"The metrics failed; see the program's log.\n")
            return
        self._answer(200, kind, body)

    do_HEAD = do_GET

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        logger.debug(format, *arguments)
