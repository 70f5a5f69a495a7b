"""A model of the routing table, written in Python from the page's sentences and RFC 3986."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

TOO_LONG = 7 * 1024
# A name, dots, a port: a request line may contain nothing else as its authority.
_AUTHORITY = re.compile(r"(?!.*\.\.)[A-Za-z0-9.-]*(:[0-9]*)?")


@dataclass(frozen=True)
class Request:
    """A client's request: a request line, and headers in their order, where names may repeat."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    version: str = "HTTP/1.1"

    def values(self, name: str) -> list[str]:
        return [value.strip(" \t") for field, value in self.headers if field.lower() == name.lower()]

    def encode(self) -> bytes:
        lines = [
            f"{self.method} {self.target} {self.version}",
            *(f"{name}: {value}" for name, value in self.headers),
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


@dataclass(frozen=True)
class Verdict:
    """The route (wsgi, asgi or nginx), the status of nginx's own response, and the path that a backend
    receives.
    """

    by: str
    status: int = 0
    path: bytes = b""


def judge(
    request: Request, prefix: str, *, asgi: Sequence[str] = ("/channels/",), name: str = "localhost"
) -> Verdict:
    """The expected result of a request, on a site with the host name `name` below `prefix`, whose ASGI
    prefixes are `asgi`.
    """
    authority, raw = _split_absolute_form(request.target)
    path = normalised(raw)
    if path is None or not _AUTHORITY.fullmatch(authority or ""):
        return Verdict("nginx", 400)
    if len(raw) > TOO_LONG:
        return Verdict("nginx", 414)
    # In a request line, a name may end with a dot. The Host header must match exactly.
    asked = name if authority is None else re.sub(r"\.(?=:|$)", "", authority)
    if not _known(request.values("Host")[0], name) or not _known(asked, name):
        return Verdict("nginx", 421)
    for root in asgi:
        if path.startswith(f"{prefix}{root}".encode()):
            exact = raw.startswith(prefix + root)
            return _below_asgi_prefix(request, raw, prefix, path) if exact else Verdict("nginx", 404)
    if path.startswith(f"{prefix}/".encode()):
        return Verdict("wsgi", path=path[len(prefix) :])
    return Verdict("wsgi", path=path) if path in (b"/healthz", b"/readyz") else Verdict("nginx", 404)


def _below_asgi_prefix(request: Request, raw: str, prefix: str, path: bytes) -> Verdict:
    if request.method != "GET":
        return Verdict("nginx", 405)
    if request.values("Transfer-Encoding") or any(int(length) for length in request.values("Content-Length")):
        return Verdict("nginx", 413)
    plain = raw.partition("?")[0] in (f"{prefix}/channels/updates/sse", f"{prefix}/channels/healthz")
    if plain or is_upgrade(request):
        return Verdict("asgi", path=path[len(prefix) :])
    return Verdict("nginx", 426)


def is_upgrade(request: Request) -> bool:
    """An HTTP/1.1 GET with one `Upgrade: websocket` (any case) and a Connection that contains `upgrade`."""
    tokens = [
        token.strip(" \t").lower() for value in request.values("Connection") for token in value.split(",")
    ]
    upgrades = [value.lower() for value in request.values("Upgrade")]
    return request.version == "HTTP/1.1" and upgrades == ["websocket"] and "upgrade" in tokens


def normalised(raw: str) -> bytes | None:
    """The path of a raw target: cut at ? and #, decoded once, slashes merged, dot segments resolved. None if
    it is invalid (400).
    """
    encoded = re.split(r"[?#]", raw, maxsplit=1)[0]
    if not encoded.startswith("/") or re.search(r"%(?![0-9A-Fa-f]{2})|%00|[\x00-\x20\x7f]", encoded):
        return None
    decoded = re.sub(rb"%(..)", lambda found: bytes([int(found[1], 16)]), encoded.encode("latin-1"))
    segments: list[bytes] = []
    parts = re.split(rb"/+", decoded[1:].lstrip(b"/")) if decoded.strip(b"/") else [b""]
    for part in parts:
        if part == b"..":
            if not segments:
                return None
            segments.pop()
        elif part not in (b".", b""):
            segments.append(part)
    folder = bool(segments) and parts[-1] in (b"", b".", b"..")
    return b"/" + b"/".join(segments) + (b"/" if folder else b"")


def _split_absolute_form(target: str) -> tuple[str | None, str]:
    found = re.fullmatch(r"https?://([^/?]*)([/?].*)?", target, re.DOTALL)
    if not found:
        return None, target
    rest = found[2] or "/"
    return found[1], rest if rest.startswith("/") else "/" + rest


def _known(host: str, name: str) -> bool:
    return re.fullmatch(re.escape(name) + r"(:[0-9]{1,5})?", host, re.IGNORECASE) is not None


# --- hostile spellings --------------------------------------------------------------------------------------

_ENDINGS = (
    "/",
    "/updates/",
    "/updates/sse",
    "/healthz",
    "",
    "x/",
    "/../admin/",
    "/..",
    "/.",
    "/../../",
    "/%2e%2e/admin/",
    "/a/../updates/",
)
_PATHS = (
    "/",
    "/admin/",
    "/accounts/login/",
    "/volumes/1/crops/",
    "/updates/",
    "/healthz",
    "/readyz",
    "/CHANNELS/",
    "/Channels/updates/",
    "/channels/updates/",
    "/ws",
    "/ws/",
    "/ws/channels/",
    "/channels/ws/",
)
_TAILS = (
    "",
    "",
    "",
    "?",
    "?since=user:7/14-9f3ac1d20b7e4455,all/0-0",
    "?/../admin/",
    "?next=/channels/updates/",
    "#x",
    "#/../admin/",
    "%23",
    "%3f",
    "%3F/..",
    ";v=1",
)


def hostile_target(chance: random.Random, prefix: str, asgi: Sequence[str]) -> str:
    """A request target at the routes' borders, in a correct or manipulated spelling."""
    start = chance.choice(
        (*(prefix,) * 12, "", prefix.upper(), prefix + "/..", prefix[:-1], prefix.replace(".", "x"))
    )
    path = start + (
        chance.choice(asgi)[:-1] + chance.choice(_ENDINGS)
        if chance.random() < 0.75
        else chance.choice(_PATHS)
    )
    for _ in range(chance.choice((0, 0, 1, 1, 1, 2, 3))):
        path = chance.choice(_TWISTS)(chance, path)
    target = path + chance.choice(_TAILS)
    if chance.random() < 0.05:
        target = (
            chance.choice(
                (
                    "http://localhost",
                    "https://localhost:8080",
                    "http://LOCALHOST",
                    "http://evil.example",
                    "http://localhost.evil.example",
                )
            )
            + target
        )
    return target


def _anywhere(chance: random.Random, path: str, inserted: str) -> str:
    at = chance.randint(0, len(path))
    return path[:at] + inserted + path[at:]


def _at_slash(chance: random.Random, path: str, replacement: str) -> str:
    slashes = [at for at, letter in enumerate(path) if letter == "/"]
    if not slashes:
        return path
    at = chance.choice(slashes)
    return path[:at] + replacement + path[at + 1 :]


def _encode_one(chance: random.Random, path: str) -> str:
    if not path:
        return path
    at = chance.randrange(len(path))
    shape = chance.choice(("%{:02x}", "%{:02X}", "%25{:02x}"))
    return path[:at] + shape.format(ord(path[at]) & 0xFF) + path[at + 1 :]


_TWISTS = (
    _encode_one,
    _encode_one,
    lambda chance, path: _at_slash(chance, path, "//"),
    lambda chance, path: _at_slash(chance, path, "/./"),
    lambda chance, path: _at_slash(chance, path, "/x/../"),
    lambda chance, path: _at_slash(chance, path, "/x/%2e%2E/"),
    lambda chance, path: _at_slash(chance, path, "/channels/../"),
    lambda chance, path: _at_slash(chance, path, "/ws/../"),
    lambda _, path: path.replace("/channels/", "/ws/../channels/"),
    lambda _, path: path.replace("/ws/", "/channels/../ws/"),
    lambda chance, path: _at_slash(chance, path, "%2f"),
    lambda chance, path: _at_slash(chance, path, "\\"),
    lambda chance, path: _at_slash(chance, path, "/..;/"),
    lambda chance, path: _at_slash(chance, path, "/..%2f"),
    lambda chance, path: _anywhere(
        chance,
        path,
        chance.choice(
            ("%0a", "%0d%0a", "%20", "%09", "%00", "%", "%zz", "%25", "%2525", "%c0%af", "\xa0", "\xff")
        ),
    ),
    lambda chance, path: _anywhere(
        chance,
        path,
        chance.choice((".", "..", "~", "|", "$1", "*", "(", "\\1", "+", "&", "@", ":", '"', "<")),
    ),
    lambda _, path: "".join(letter.upper() if letter.isascii() else letter for letter in path),
    lambda chance, path: path[: chance.randint(1, max(1, len(path)))],
)


def hostile_request(chance: random.Random, prefix: str, asgi: Sequence[str]) -> Request:
    """Usually an upgrade; sometimes another method, a body, half an upgrade, or a foreign Host."""
    headers = [
        (
            "Host",
            chance.choice(
                ("localhost",) * 16
                + ("localhost:8080", "LocalHost:1", "evil.example", "localhost.evil.example", "localhost|x")
            ),
        )
    ]
    headers += [
        (
            "Connection",
            chance.choice(
                ("Upgrade",) * 6
                + ("keep-alive, upgrade", "UPGRADE", "upgrade ,x", "close", "upgraded", "x-upgrade")
            ),
        )
    ]
    headers += [
        ("Upgrade", chance.choice(("websocket",) * 8 + ("WebSocket", "h2c", "websocket, h2c", "xwebsocket")))
    ] * (chance.random() < 0.8)
    headers += [("Content-Length", chance.choice(("0", "00", "5", "12")))] * (chance.random() < 0.15)
    method = chance.choice(("GET",) * 12 + ("HEAD", "POST", "OPTIONS", "DELETE", "PROPFIND"))
    return Request(method, hostile_target(chance, prefix, asgi), tuple(headers))


def hostile_requests(
    seed: str, prefix: str, count: int, asgi: Sequence[str] = ("/channels/",)
) -> Sequence[Request]:
    """Random requests, the same for the same seed."""
    chance = random.Random(seed)
    return [hostile_request(chance, prefix, asgi) for _ in range(count)]
