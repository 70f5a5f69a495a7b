"""A minimal HTTP/1.1 client on asyncio. It sends the target byte for byte, and reads the body as a stream."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from harness.tls import trusting


class BadAnswer(Exception):
    """The received bytes are not an HTTP response."""


@dataclass(frozen=True)
class Place:
    """Where a site begins: `http://localhost:8080/prefix`.

    `through`: host and port to connect to instead, under the site's own name. `tls`: the context for a site
    with https.
    """

    host: str
    port: int
    prefix: str = ""
    through: tuple[str, int] | None = None
    tls: ssl.SSLContext | None = None

    @classmethod
    def of(cls, url: str, certificate: Path | None = None) -> Place:
        """Parse a URL. `certificate`: the one to trust, with https."""
        parts = urlsplit(url)
        assert parts.scheme in ("http", "https") and parts.hostname, url
        tls = trusting(certificate) if parts.scheme == "https" else None
        default = 443 if tls else 80
        return cls(parts.hostname, parts.port or default, parts.path.rstrip("/"), tls=tls)

    @property
    def authority(self) -> str:
        """The Host header."""
        return f"{self.host}:{self.port}"

    @property
    def origin(self) -> str:
        """The Origin header of the site's own pages."""
        return f"{'https' if self.tls else 'http'}://{self.authority}"


@dataclass
class Response:
    """A response whose body may not have arrived yet."""

    status: int
    headers: dict[str, str]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    _body: bytes | None = field(default=None, repr=False)

    async def body(self) -> bytes:
        """Read the whole body."""
        if self._body is None:
            self._body = b"".join([chunk async for chunk in self.chunks()])
        return self._body

    async def chunks(self) -> AsyncIterator[bytes]:
        """Read the body piece by piece. Raises asyncio.IncompleteReadError if the connection breaks off
        within it.
        """
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            while size := int((await self.reader.readuntil(b"\r\n")).split(b";")[0], 16):
                yield await self.reader.readexactly(size)
                await self.reader.readexactly(2)
        elif "content-length" in self.headers:
            yield await self.reader.readexactly(int(self.headers["content-length"]))
        else:
            while piece := await self.reader.read(65536):
                yield piece

    def close(self) -> None:
        """Drop the connection."""
        self.writer.close()


async def send(
    place: Place, method: str, target: str, headers: Mapping[str, str], body: bytes = b""
) -> Response:
    """Send one request on a new connection and read the response's head. Raises OSError, BadAnswer,
    IncompleteReadError.
    """
    reader, writer = await asyncio.open_connection(
        *(place.through or (place.host, place.port)),
        limit=2**21,
        ssl=place.tls,
        server_hostname=place.host if place.tls else None,
    )
    try:
        lines = [f"{method} {target} HTTP/1.1", f"Host: {place.authority}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        if not head[0].startswith("HTTP/1.1 "):
            raise BadAnswer(head[0])
        parsed = (line.partition(":") for line in head[1:] if line)
        return Response(
            int(head[0].split()[1]), {n.strip().lower(): v.strip() for n, _, v in parsed}, reader, writer
        )
    except BaseException:
        writer.close()
        raise
