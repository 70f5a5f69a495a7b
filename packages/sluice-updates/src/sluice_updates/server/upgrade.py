"""The head of an HTTP request, as far as the server itself needs it. No input or output here."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from hashlib import sha1
from typing import Any, Final

HEAD_BYTES: Final = 16 * 1024
END: Final = b"\r\n\r\n"

_REQUEST_LINE = re.compile(rb"GET (/[!-~]*) HTTP/1\.1")
# White space around the value is stripped later: a pattern for it would take quadratic time on bad input.
_HEADER = re.compile(rb"([A-Za-z0-9!#$%&'*+.^_`|~-]+):([\t -~\x80-\xff]*)")
_UPGRADE = re.compile(rb"\nupgrade:[ \t]*websocket[ \t]*(?:\r|$)", re.IGNORECASE)
_BODY = re.compile(rb"\n(?:content-length|transfer-encoding):", re.IGNORECASE)
_SINGLE: Final = (b"host", b"upgrade", b"connection", b"sec-websocket-key", b"sec-websocket-version")
_WITHOUT_EFFECT_HERE: Final = (b"content-length", b"transfer-encoding", b"daphne-root-path", b"expect")
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3


Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Request:
    """A GET request without a body."""

    path: str
    query_string: bytes
    headers: Headers  # names in lower case

    @property
    def scope(self) -> dict[str, Any]:
        """The request as an ASGI scope."""
        return {
            "type": "http",
            "method": "GET",
            "scheme": "http",
            "path": self.path,
            "query_string": self.query_string,
            "headers": self.headers,
        }


@dataclass(frozen=True, slots=True)
class Upgrade:
    """A correct request for a WebSocket."""

    path: str
    query_string: bytes
    headers: Headers  # names in lower case
    accept: bytes  # the value of Sec-WebSocket-Accept
    subprotocols: list[str]

    @property
    def scope(self) -> dict[str, Any]:
        """The request as an ASGI scope."""
        return {
            "type": "websocket",
            "scheme": "ws",
            "path": self.path,
            "query_string": self.query_string,
            "headers": self.headers,
            "subprotocols": self.subprotocols,
        }


def path(head: bytes) -> bytes:
    """The path of a GET request without its query; empty for anything else."""
    match = _REQUEST_LINE.match(head)
    return b"" if match is None else match[1].partition(b"?")[0]


def wants_upgrade(head: bytes) -> bool:
    """Whether it asks for a WebSocket."""
    return _UPGRADE.search(head) is not None


def has_body(head: bytes) -> bool:
    """Whether a body may follow."""
    return _BODY.search(head) is not None


def plain(head: bytes) -> Request | None:
    """The request, if nothing about it is unusual, and it asks for no other protocol; None leaves it to
    Daphne.
    """
    parsed = _parse(head)
    if parsed is None:
        return None
    request, values = parsed
    if b"upgrade" in values or _count(request, b"host") != 1:
        return None
    return Request(request.path, request.query_string, _known(request))


def upgrade(head: bytes) -> Upgrade | None:
    """The request, if nothing about it is unusual; None leaves it to Daphne, which refuses what is wrong."""
    parsed = _parse(head)
    if parsed is None:
        return None
    request, values = parsed
    if any(_count(request, name) != 1 for name in _SINGLE):
        return None
    key = values[b"sec-websocket-key"]
    if (
        values[b"upgrade"].lower() != b"websocket"
        or b"upgrade" not in [part.strip() for part in values[b"connection"].lower().split(b",")]
        or values[b"sec-websocket-version"] != b"13"
        or not _is_key(key)
        or _count(request, b"sec-websocket-protocol") > 1
    ):
        return None
    offered = values.get(b"sec-websocket-protocol", b"")
    subprotocols = [name.strip() for name in offered.decode("latin-1").split(",")] if offered else []
    if not offered.isascii() or len(set(subprotocols)) != len(subprotocols):
        return None
    accept = base64.b64encode(sha1(key + _GUID, usedforsecurity=False).digest())
    return Upgrade(request.path, request.query_string, _known(request), accept, subprotocols)


def _parse(head: bytes) -> tuple[Request, dict[bytes, bytes]] | None:
    """The request with all its headers, and the last value of each; None if something is unusual."""
    first, *lines = head.split(b"\r\n")
    line = _REQUEST_LINE.fullmatch(first)
    if line is None:
        return None
    raw_path, _, query = line[1].partition(b"?")
    if b"%" in raw_path:
        return None
    headers = []
    for text in lines:
        match = _HEADER.fullmatch(text)
        if match is None:
            return None
        headers.append((match[1].lower(), match[2].strip(b" \t")))
    values = dict(headers)
    if any(name in values for name in _WITHOUT_EFFECT_HERE):
        return None
    return Request(raw_path.decode("ascii"), query, headers), values


def _count(request: Request, name: bytes) -> int:
    return sum(one == name for one, _ in request.headers)


def _known(request: Request) -> Headers:
    # A name with an underscore could pass for another header behind a proxy (CVE-2015-0219).
    return [(name, value) for name, value in request.headers if b"_" not in name]


def _is_key(key: bytes) -> bool:
    try:
        return len(key) == 24 and len(base64.b64decode(key, validate=True)) == 16
    except binascii.Error:
        return False
