"""nginx as a browser sees it: its address, and the origin and prefix of the site."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from sluice_stack.challenge import ASKED, OURS
from sluice_updates.probe.http import Address, Answer, NoAnswer, WebSocket, request

from .finding import Skipped

PROTOCOL = "sluice.v1"
WEBSOCKET = "/channels/updates/"
_SILENCES = 2
_PORTS = {"http": 80, "https": 443}


class NotAnAddress(ValueError):
    """The argument is not the address of a site."""


@dataclass
class Front:
    """The site's nginx at `address`.

    Requests look like those of a browser with the site at `origin` + `prefix`.
    """

    address: Address
    origin: str
    prefix: str
    silent: bool = False  # nginx does not answer: no more requests are sent
    silences: int = 0  # requests without a response in time; after two, no more are sent
    held: WebSocket | None = None  # a socket that stays open while other checks run

    @classmethod
    def of(cls, url: str, at: str = "") -> Front:
        """From the site's URL. Raises NotAnAddress.

        `at` is nginx's address if it isn't the URL's: `http://HOST:PORT`, or HOST:PORT with the URL's scheme.
        """
        scheme, host, port = _parts(url)
        site = urlsplit(url)
        if at:
            at_scheme, at_host, at_port = _parts(at if "://" in at else f"{scheme}://{at}")
        else:
            at_scheme, at_host, at_port = scheme, host, port
        name = host if at_scheme == "https" else ""
        prefix = site.path.rstrip("/")
        return cls(Address(at_host, at_port, name), _origin(scheme, host, port), prefix)

    @property
    def host(self) -> str:
        """The Host header."""
        return urlsplit(self.origin).netloc

    @property
    def url(self) -> str:
        return f"{self.origin}{self.prefix}"

    def ask(
        self,
        path: str,
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        body: bytes = b"",
    ) -> Answer:
        """Send one request for prefix + `path`, which is not normalised. Raises NoAnswer or Skipped."""
        self._spare()
        usual = {"Host": self.host, "Accept": "text/html", "Connection": "close", ASKED: OURS}
        sent = usual | dict(headers or {})
        if body:
            sent["Content-Length"] = str(len(body))
        try:
            return request(self.address, method, self.prefix + path, sent, body)
        except NoAnswer:
            self.silences += 1
            raise

    def upgrade(self, path: str = WEBSOCKET, headers: Mapping[str, str] | None = None) -> WebSocket:
        """Send a WebSocket handshake as a page of the site does. A header with an empty value is not sent.

        Raises NoAnswer or Skipped.
        """
        self._spare()
        sent = {
            "Host": self.host,
            "Origin": self.origin,
            "Sec-WebSocket-Protocol": PROTOCOL,
            ASKED: OURS,
        }
        sent |= dict(headers or {})
        given = {name: value for name, value in sent.items() if value}
        try:
            return WebSocket(self.address, self.prefix + path, given)
        except NoAnswer:
            self.silences += 1
            raise

    def status_of_upgrade(self, path: str = WEBSOCKET, headers: Mapping[str, str] | None = None) -> int:
        """The status of such a handshake, whose socket is closed at once; 0 if there was no response."""
        try:
            socket = self.upgrade(path, headers)
        except NoAnswer:
            return 0
        socket.close()
        return socket.answer.status

    def close(self) -> None:
        if self.held is not None:
            self.held.close()
            self.held = None

    def _spare(self) -> None:
        if self.silent:
            raise Skipped("nginx does not answer: see front-answers")
        if self.silences >= _SILENCES:
            raise Skipped("too many requests got no answer: see above")


def _origin(scheme: str, host: str, port: int) -> str:
    """The origin in the form of browsers and SITE_URL: lower case, without the scheme's default port."""
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}" + (f":{port}" if port != _PORTS[scheme] else "")


def _parts(url: str) -> tuple[str, str, int]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise NotAnAddress(f"{url} is not an address such as https://sluice.example.org/") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise NotAnAddress(f"{url} is not an address such as https://sluice.example.org/")
    return parts.scheme, parts.hostname, port or _PORTS[parts.scheme]
