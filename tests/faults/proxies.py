"""Harmful proxies between browsers and a site: they don't support WebSockets."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType

PIECE = 65536
_REFUSAL = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Proxy:
    """A TCP proxy on a free loopback port, in front of another port.

    With `refuses`, it responds to upgrades with 403. Otherwise it forwards an upgrade and its response, and
    swallows all later frames. It forwards other requests. `upgrades` counts the requested upgrades.
    """

    def __init__(self, port: int, *, refuses: bool) -> None:
        self.target = ("127.0.0.1", port)
        self.refuses = refuses
        self.upgrades = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = {self._listener}

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._listener.getsockname()
        return host, port

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for end in list(self._open):
            _cut(end)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), name="proxied", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self._open.add(client)
        try:
            request = _head(client)
            upgrade = b"\r\nupgrade:" in request.lower()
            self.upgrades += upgrade
            if upgrade and self.refuses:
                client.sendall(_REFUSAL)
                return
            with socket.create_connection(self.target, timeout=10) as server:
                server.settimeout(None)
                self._open.add(server)
                try:
                    server.sendall(request)
                    if upgrade:
                        client.sendall(_head(server).partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
                    self._pump(server, client, swallows=upgrade)
                finally:
                    self._open.discard(server)
        except OSError:  # one end closed, or the test did
            return
        finally:
            self._open.discard(client)
            _cut(client)

    @staticmethod
    def _pump(server: socket.socket, client: socket.socket, *, swallows: bool) -> None:
        """Forward until one end closes. Our client sends nothing after its request but its close."""

        def watch() -> None:
            while True:
                try:
                    if not client.recv(PIECE):
                        break
                except OSError:
                    break
            _cut(server)

        threading.Thread(target=watch, name="proxied", daemon=True).start()
        while piece := server.recv(PIECE):
            if not swallows:
                client.sendall(piece)


def _head(wire: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = wire.recv(PIECE)
        if not piece:
            raise ConnectionResetError("the end, before the headers'")
        data += piece
    return data


def _cut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
