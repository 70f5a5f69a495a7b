"""One request over a bare socket, byte for byte: for requests that no HTTP library would send."""

from __future__ import annotations

import socket
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """Status, headers (names in lower case, the last of equal names wins) and body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def backend(self) -> str:
        """The program that made the response: wsgi, asgi or nginx (needs EXPOSE_BACKEND=yes)."""
        return self.headers.get("x-backend", "")


def request(port: int, raw: bytes, *, host: str = "127.0.0.1", deadline: float = 10.0) -> Answer:
    """Send `raw` and read one response. A response without a length ends with the connection; a 101 has no
    body.
    """
    with socket.create_connection((host, port), timeout=deadline) as wire:
        wire.sendall(raw)
        return read_answer(wire)


def get(
    port: int, target: str, *, method: str = "GET", headers: dict[str, str] | None = None, body: bytes = b""
) -> Answer:
    """Send a plain request for exactly `target`. It has Host and `Connection: close` unless `headers`
    replaces them.
    """
    sent = {"Host": f"localhost:{port}", "Connection": "close"} | (headers or {})
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items())]
    return request(port, "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)


UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "c2x1aWNlLWUyZS10ZXN0cw==",
    "Sec-WebSocket-Protocol": "sluice.v1",
}
"""The headers of a WebSocket handshake, without Origin."""


def upgrade(port: int, target: str, headers: dict[str, str] | None = None) -> Answer:
    """Send a WebSocket handshake for exactly `target`, with the site's own origin."""
    return get(port, target, headers=UPGRADE | {"Origin": f"http://localhost:{port}"} | (headers or {}))


def read_answer(wire: socket.socket) -> Answer:
    """Read one response."""
    answer = parse(read_head(wire))
    if answer.status == 101:
        return answer
    return Answer(answer.status, answer.headers, _read_body(wire, answer.headers, answer.body))


def read_head(wire: socket.socket) -> bytes:
    """Read the headers and the empty line after them, or to the end of the connection. The result may include
    a part of the body.
    """
    data = b""
    while b"\r\n\r\n" not in data and (chunk := wire.recv(65536)):
        data += chunk
    return data


def parse(data: bytes) -> Answer:
    """Parse a response."""
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    assert lines[0].startswith("HTTP/"), f"not an HTTP response: {data[:200]!r}"
    parsed = (line.partition(":") for line in lines[1:])
    headers = {name.strip().lower(): value.strip() for name, _, value in parsed}
    return Answer(int(lines[0].split()[1]), headers, body)


def _read_body(wire: socket.socket, headers: dict[str, str], body: bytes) -> bytes:
    length = headers.get("content-length")
    while length is None or len(body) < int(length):
        chunk = wire.recv(65536)
        if not chunk:
            break
        body += chunk
    return body
