"""An HTTP and WebSocket client that sends requests exactly as given, with a limit for every wait.

It needs the standard library only. `manage.py try_updates` and the doctor of sluice-stack use it.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import os
import socket
import ssl
import struct
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

SECONDS: Final = 8.0  # for each wait, unless the address has its own
_LARGEST: Final = 64 * 1024  # the most bytes that are read of a response
_GUID: Final = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3

TEXT: Final = 1
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10


class NoAnswer(Exception):
    """There was no valid response. The text is the reason."""


class Cut(Exception):
    """The connection ended without a close frame."""


@dataclass(frozen=True)
class Answer:
    """A response. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: str

    @property
    def sentence(self) -> str:
        """The first line of the body, unless it is HTML or JSON."""
        first = self.body.strip().split("\n")[0][:200]
        return "" if first.startswith(("<", "{")) else first


@dataclass(frozen=True)
class Address:
    """Where to connect. `name`: the host for TLS; empty: no TLS. `seconds`: the limit for each wait."""

    host: str
    port: int
    name: str = ""
    seconds: float = SECONDS

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    def connect(self, *, verify: bool = False) -> socket.socket:
        """Open a connection. `verify`: check the certificate. Raises OSError."""
        wire = socket.create_connection((self.host, self.port), timeout=self.seconds)
        if not self.name:
            return wire
        context = ssl.create_default_context()
        if not verify:  # the doctor checks the certificate separately
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        try:
            return context.wrap_socket(wire, server_hostname=self.name)
        except BaseException:
            wire.close()
            raise


@contextlib.contextmanager
def exchange(
    address: Address,
    method: str,
    target: str,
    headers: Mapping[str, str],
    body: bytes = b"",
    *,
    verify: bool = False,
) -> Iterator[http.client.HTTPResponse]:
    """Send one request on a new connection. Read the response inside the block.

    Raises OSError and http.client.HTTPException.
    """
    with contextlib.closing(address.connect(verify=verify)) as wire:
        wire.sendall(_head(method, target, headers) + body)
        response = http.client.HTTPResponse(wire, method=method)
        response.begin()
        yield response


def request(address: Address, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
    """Send one request and return the response. Raises NoAnswer."""
    try:
        with exchange(address, method, target, headers, body) as response:
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read(_LARGEST).decode(errors="replace"))
    except (OSError, http.client.HTTPException) as error:
        raise NoAnswer(_explained(error)) from None


def upgrade_headers(key: str) -> dict[str, str]:
    """The headers of a WebSocket handshake with this key."""
    return {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": key,
    }


def new_key() -> str:
    """A random Sec-WebSocket-Key."""
    return base64.b64encode(os.urandom(16)).decode()


class WebSocket:
    """A WebSocket connection.

    `answer` is the response to the handshake; if its status is 101, frames follow.
    """

    def __init__(self, address: Address, target: str, headers: Mapping[str, str]) -> None:
        """Connect and send the handshake. Raises NoAnswer."""
        key = new_key()
        sent = {**headers, **upgrade_headers(key)}
        self._data = b""
        try:
            self._wire = address.connect()
            try:
                self._wire.sendall(_head("GET", target, sent))
                self.answer = self._read_answer()
            except BaseException:
                self._wire.close()
                raise
        except (OSError, Cut, ValueError) as error:
            raise NoAnswer(_explained(error)) from None
        self.opened_at = time.monotonic()
        expected = base64.b64encode(hashlib.sha1((key + _GUID).encode()).digest()).decode()
        self.is_genuine = self.answer.headers.get("sec-websocket-accept") == expected
        if self.answer.status != 101:
            self.close()

    def frame(self, within: float) -> tuple[int, bytes] | None:
        """The opcode and content of the next frame; None if there is none for `within` seconds.

        Raises Cut.
        """
        until = time.monotonic() + within
        while (found := self._parsed()) is None:
            left = until - time.monotonic()
            if left <= 0:
                return None
            self._wire.settimeout(left)
            try:
                self._receive()
            except TimeoutError:
                return None
            except OSError as error:
                raise Cut(_explained(error)) from None
        return found

    def pong(self, content: bytes) -> None:
        """Answer a ping. Raises Cut."""
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(content))
        try:
            self._wire.sendall(bytes([0x80 | PONG, 0x80 | len(content)]) + mask + masked)
        except OSError as error:
            raise Cut(_explained(error)) from None

    def close(self) -> None:
        """Close the connection without a close frame."""
        self._wire.close()

    def _read_answer(self) -> Answer:
        while b"\r\n\r\n" not in self._data:
            self._receive()
        head, _, self._data = self._data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        fields = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in fields}
        status = int(first.split()[1])
        if status == 101:
            return Answer(status, headers, "")
        length = int(headers.get("content-length", _LARGEST))
        try:
            while len(self._data) < min(length, _LARGEST):
                self._receive()
        except Cut:
            pass  # the end of a response without Content-Length
        return Answer(status, headers, self._data.decode(errors="replace"))

    def _receive(self) -> None:
        chunk = self._wire.recv(65536)
        if not chunk:
            raise Cut("the connection was closed")
        self._data += chunk

    def _parsed(self) -> tuple[int, bytes] | None:
        """The next complete frame of the received data.

        Servers don't mask, Daphne doesn't fragment short frames.
        """
        data = self._data
        if len(data) < 2:
            return None
        length, start = data[1] & 0x7F, 2
        if length >= 126:
            size, layout = (2, "!H") if length == 126 else (8, "!Q")
            if len(data) < 2 + size:
                return None
            (length,) = struct.unpack(layout, data[2 : 2 + size])
            start += size
        if len(data) < start + length:
            return None
        self._data = data[start + length :]
        return data[0] & 0x0F, data[start : start + length]


def _head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _explained(error: Exception) -> str:
    """The error as a clause, without its number."""
    if isinstance(error, TimeoutError):
        return f"no answer within {SECONDS:g} s"
    if isinstance(error, socket.gaierror):
        return "its name does not resolve"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}"
    if isinstance(error, ConnectionRefusedError):
        return "the connection is refused"
    if isinstance(error, http.client.RemoteDisconnected | Cut | ConnectionResetError):
        return "the connection is closed without an answer"
    if isinstance(error, http.client.HTTPException | ValueError):
        return "the answer is not HTTP"
    return str(error.strerror or error) if isinstance(error, OSError) else str(error)
