"""Each bad input in docs/reference/close-codes-and-bad-input.md gets the documented response, and does not
affect another client.
"""

from __future__ import annotations

import json
import os
import re
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness.raw import read_head
from harness.waiting import wait_until
from updates_lab.site import PACKAGES, Person, Served, Site, running

PAGE = PACKAGES.parent / "docs" / "reference" / "close-codes-and-bad-input.md"
FORGED = "0123456789abcdef"
KIB = 1024
LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]


def _documented(heading: str) -> dict[str, str]:
    """The table below a heading: the response by input."""
    section = re.split(r"^## ", PAGE.read_text(), flags=re.M)
    text = next(part for part in section if part.startswith(heading + "\n"))
    rows = [line.strip("| \n").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {row[0].strip(): row[1].strip() for row in rows[1:]}


# The input of each row, in the page's order.


def _request(served: Served, person: Person, *changes: tuple[str, str]) -> bytes:
    """A correct handshake with some parts replaced."""
    text = served.handshake(person).decode()
    for old, new in changes:
        assert re.search(old, text), old
        text = re.sub(old, new.replace("\\", "\\\\"), text, count=1)
    return text.encode("latin-1")


HANDSHAKES: dict[str, tuple[tuple[str, str], ...]] = {
    "a foreign `Origin`": (("Origin: [^\r]*", "Origin: https://evil.example"),),
    "`Origin: null`": (("Origin: [^\r]*", "Origin: null"),),
    "no `Origin`": (("Origin: [^\r]*\r\n", ""),),
    "two `Origin` headers": (
        ("Origin: [^\r]*\r\n", "Origin: http://127.0.0.1\r\nOrigin: https://evil.example\r\n"),
    ),
    "a malformed `Origin`": (("Origin: [^\r]*", "Origin: //["),),
    "a foreign `Host` with the matching `Origin`": (
        ("Host: [^\r]*", "Host: evil.example"),
        ("Origin: [^\r]*", "Origin: http://evil.example"),
    ),
    "no `Host`": (("Host: [^\r]*\r\n", ""),),
    "no `Sec-WebSocket-Key`": (("Sec-WebSocket-Key: [^\r]*\r\n", ""),),
    "a malformed `Sec-WebSocket-Key`": (("Sec-WebSocket-Key: [^\r]*", "Sec-WebSocket-Key: short"),),
    "`Sec-WebSocket-Version: 12`": (("Version: 13", "Version: 12"),),
    "no `Sec-WebSocket-Version`": (("Sec-WebSocket-Version: 13\r\n", ""),),
    "no `Connection: upgrade`": (("Connection: Upgrade", "Connection: close"),),
    "a subprotocol twice": (("Protocol: [^\r]*", "Protocol: sluice.v1, sluice.v1"),),
    "a subprotocol that is not ASCII": (("Protocol: [^\r]*", "Protocol: sluice.v1, \xe4"),),
    "a method other than GET": (("GET", "POST"),),
    "an unknown path": (("/channels/updates/", "/channels/elsewhere/"),),
    "a URL of 20 KiB": (("/channels/updates/", "/channels/updates/?since=" + "a/0-0," * 3500),),
    "a header line of 20 KiB": (("Cookie: ", "X-Long: " + "x" * 20 * KIB + "\r\nCookie: "),),
    "a header name with a space": (("Cookie: ", "X Y: z\r\nCookie: "),),
    "bytes above 127 in the path": (("/channels/updates/", "/channels/updates/\xff"),),
    "bytes above 127 in the query": (("/channels/updates/", "/channels/updates/?streams=\xff"),),
    "a TLS greeting": ((r"(?s).*", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),),
    "`Daphne-Root-Path`": (("Cookie: ", "Daphne-Root-Path: /evil\r\nCookie: "),),
    "a malformed cookie": (("Cookie: [^\r]*", 'Cookie: ;;=;"=\x01; sessionid="\\999'),),
    "a session key with a NUL": (("Cookie: [^\r]*", 'Cookie: sessionid="\\000abcdefgh"'),),
}

QUERIES: dict[str, str] = {
    "`streams=` with nothing": "streams=",
    "a malformed stream name": "streams=user:7,UPPER",
    "a stream twice": "streams=all,all",
    "`streams` with more than 64 entries": "streams=" + ",".join(f"project:{n}" for n in range(65)),
    "`streams` twice": "streams=all&streams=all",
    "`since` without a position": "since=all",
    "`since` with an offset that is not a number": f"since=all/x-{FORGED}",
    "`since` with a leading zero": f"since=all/01-{FORGED}",
    "`since` with an offset above 2^53−1": f"since=all/9007199254740992-{FORGED}",
    "`since` with a tag in capitals": f"since=all/1-{FORGED.upper()}",
    "`since` with a tag that is too short": "since=all/1-0123",
    "`since` with offset 0 and a tag": f"since=all/0-{FORGED}",
    "a stream twice in `since`": "since=all/0-0,all/0-0",
    "`since` with more than 64 entries": "since=" + ",".join(f"project:{n}/0-0" for n in range(65)),
    "`since` with hundreds of entries": "since=" + ",".join(f"{a}{b}/0-0" for a in LETTERS for b in LETTERS),
    "a query above 7 KiB": "x=" + "y" * 7 * KIB,
    "a query that is not UTF-8": "streams=%ff",
    "only another person's stream": "streams=user:0",
    "unknown parameters": "a=b&streams=all&c",
    "another person's stream among the client's own": "streams=user:0,all",
    "a forged tag": "since=OWN/1-" + FORGED,
    "a forged offset": "since=OWN/9007199254740991-" + FORGED,
    "a position in a stream that the query does not ask for": f"streams=all&since=user:0/5-{FORGED}",
}


def _message(opcode: int, payload: bytes, *, fin: bool = True, rsv: int = 0, masked: bool = True) -> bytes:
    """A frame in RFC 6455's layout."""
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    size = len(payload)
    flag = 0x80 if masked else 0
    if size < 126:
        head += bytes([flag | size])
    elif size < 1 << 16:
        head += struct.pack("!BH", flag | 126, size)
    else:
        head += struct.pack("!BQ", flag | 127, size)
    if not masked:
        return head + payload
    mask = os.urandom(4)
    return head + mask + bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))


TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9
CODE_1000 = struct.pack("!H", 1000)

MESSAGES: dict[str, bytes] = {
    "text that is not UTF-8": _message(TEXT, b'{"type": "\xff"}'),
    "text that ends inside a character": _message(TEXT, '"ä"'.encode()[:2]),
    "a surrogate in UTF-8": _message(TEXT, b'"\xed\xa0\x80"'),
    "a reserved bit": _message(TEXT, b"{}", rsv=2),
    "a compressed message": _message(
        TEXT, b"\xaa\x56\x2a\xa9\x2c\x48\x55\xb2\x52\x2a\xc8\xcc\x4b\x57\xaa\x05\x00", rsv=4
    ),
    "a reserved opcode": _message(3, b"{}"),
    "a reserved control opcode": _message(11, b""),
    "no mask": _message(TEXT, b"{}", masked=False),
    "a fragmented ping": _message(PING, b"", fin=False),
    "a ping of 126 bytes": _message(PING, b"x" * 126),
    "a continuation without a first fragment": _message(0, b"{}"),
    "a message inside a fragmented one": _message(TEXT, b"{", fin=False) + _message(TEXT, b"}"),
    "a length in more bytes than necessary": b"\x81\xfe\x00\x02" + b"\0\0\0\0" + b"{}",
    "a length above 2^63": b"\x81\xff" + b"\xff" * 8 + b"\0\0\0\0" + b"{}",
    "a frame above 64 KiB": _message(TEXT, b" " * (64 * KIB + 1)),
    "fragments above 64 KiB in total": b"".join(
        _message(TEXT if n == 0 else 0, b" " * 16 * KIB, fin=False) for n in range(5)
    ),
    "the header of a huge frame": b"\x81\xff" + struct.pack("!Q", 1 << 40) + b"\0\0\0\0",
    "a close with one byte": _message(CLOSE, b"\x03"),
    "a close with a reserved code": _message(CLOSE, struct.pack("!H", 1005)),
    "a close whose reason is not UTF-8": _message(CLOSE, CODE_1000 + b"\xff"),
    "a binary message": _message(BINARY, b'{"type": "ping"}'),
    "an empty message": _message(TEXT, b""),
    "text that is not JSON": _message(TEXT, b"ping"),
    "JSON that is not an object": _message(TEXT, b'["ping"]'),
    "JSON nested 30,000 deep": _message(TEXT, b"[" * 30_000),
    "a number of 10,000 digits": _message(TEXT, b'{"type": ' + b"9" * 10_000 + b"}"),
    "an object without a type": _message(TEXT, b"{}"),
    "an unknown type": _message(TEXT, b'{"type": "subscribe"}'),
    "a type that is not a string": _message(TEXT, b'{"type": ["ping"]}'),
    "an update from the client": _message(
        TEXT, b'{"event": "new-message", "stream": "all", "position": "1-0123456789abcdef", "payload": {}}'
    ),
    "unknown keys beside a ping": _message(TEXT, b'{"type": "ping", "a": NaN, "a": [1e999]}'),
    "a ping in fragments, with a WebSocket ping between them": (
        _message(TEXT, b'{"type":', fin=False) + _message(PING, b"x") + _message(0, b'"ping"}')
    ),
}


@pytest.fixture(scope="module", params=["application", "wrapped"])
def served(
    request: pytest.FixtureRequest, site: Site, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """The server's own protocol reads what clients send, and Daphne's does."""
    log = tmp_path_factory.mktemp("served") / "server.log"
    command = ("-m", "sluice_updates.server", f"hubsite.asgi:{request.param}")
    with running(site, log, *command, HUBSITE_LIMITS='{"POLL_SECONDS": 0.2}') as served:
        yield served
        assert served.stop() == 0
        assert "Traceback" not in served.text(), served.text()


@pytest.fixture(scope="module", autouse=True)
def neighbour(served: Served, site: Site) -> Iterator[Callable[[], None]]:
    """A client that gets an update in each test, and receives all of them, in order, on one connection."""
    person = site.person()
    sent: list[int] = []

    def send() -> None:
        site.send(person.stream, len(sent))
        sent.append(len(sent))

    with served.connect(person) as socket:
        socket.hello()
        yield send
        assert socket.numbers(len(sent)) == sent


@pytest.mark.parametrize("kind", HANDSHAKES)
def test_handshakes(served: Served, person: Person, neighbour: Callable[[], None], kind: str) -> None:
    neighbour()
    with served.raw() as client:
        client.sendall(_request(served, person, *HANDSHAKES[kind]))
        assert _http_answer(client) == _documented("Bad handshakes")[kind]


@pytest.mark.parametrize("kind", QUERIES)
def test_queries(
    served: Served, site: Site, person: Person, neighbour: Callable[[], None], kind: str
) -> None:
    neighbour()
    site.send(person.stream, 1)
    with served.connect(person, QUERIES[kind].replace("OWN", person.stream)) as socket:
        assert _first_answer(socket) == _documented("Bad queries")[kind]


@pytest.mark.parametrize("kind", MESSAGES)
def test_messages(served: Served, person: Person, neighbour: Callable[[], None], kind: str) -> None:
    neighbour()
    with served.raw() as client:
        frames = _open(client, served, person)
        client.sendall(MESSAGES[kind])
        assert _answer(frames) == _documented("Bad messages")[kind]


def test_the_fifth_bad_message_closes(served: Served, person: Person) -> None:
    with served.connect(person) as socket:
        socket.hello()
        for text in ("?", "[]", "{}", b"binary", "{"):
            socket.send(text)
        assert [socket.frame()["event"] for _ in range(5)] == ["error"] * 5
        assert socket.close_code() == 4000


def test_the_page_has_no_other_rows() -> None:
    assert list(_documented("Bad handshakes")) == list(HANDSHAKES)
    assert list(_documented("Bad queries")) == list(QUERIES)
    assert list(_documented("Bad messages")) == list(MESSAGES)


def test_the_page_has_every_close_code() -> None:
    source = PACKAGES / "sluice-updates/src/sluice_updates/close_codes.py"
    ours = set(re.findall(r"Final = (\d{4})", source.read_text()))
    documented = set(re.findall(r"^\| (\d{4})", PAGE.read_text(), flags=re.M))
    assert ours <= documented


def test_a_connection_that_is_reset_within_a_frame_is_removed(served: Served, person: Person) -> None:
    before = served.health()[1]["connections"]
    with served.raw() as client:
        _open(client, served, person)
        assert served.health()[1]["connections"] == before + 1
        client.sendall(b"\x81\xfe\x01")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # RST
    wait_until(lambda: served.health()[1]["connections"] == before, 8, "the end of the connection")


def test_unfinished_handshakes_delay_no_other_client(served: Served, person: Person) -> None:
    half = [served.raw() for _ in range(50)]
    try:
        for client in half:
            client.sendall(b"GET /channels/updates/ HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ")
        with served.connect(person) as socket:
            socket.hello()
    finally:
        for client in half:
            client.close()


def _http_answer(client: socket.socket) -> str:
    """`HTTP 403`, or the WebSocket's response after the upgrade."""
    received = read_head(client)
    if not received:
        return "the connection is cut"
    status = int(received.split(b" ", 2)[1])
    if status != 101:
        return f"HTTP {status}"
    return _answer(_frames(client, received.split(b"\r\n\r\n", 1)[1]))


def _first_answer(socket: Any) -> str:
    from websockets.exceptions import ConnectionClosed

    try:
        frame = socket.frame()
    except ConnectionClosed as closed:
        assert closed.rcvd
        return f"close {closed.rcvd.code}"
    streams = frame["payload"]["streams"]
    said = {key: value for state in streams.values() for key, value in state.items() if key != "head"}
    return f"hello, `{json.dumps(said)[2:-1].replace(chr(34), '')}`" if said else "hello"


def _open(client: socket.socket, served: Served, person: Person) -> Iterator[tuple[int, bytes]]:
    client.sendall(served.handshake(person))
    frames = _frames(client, read_head(client).split(b"\r\n\r\n", 1)[1])
    assert b"hello" in next(frames)[1]
    return frames


def _answer(frames: Iterator[tuple[int, bytes]]) -> str:
    """The first event, or the close code, that the server sends."""
    for opcode, payload in frames:
        if opcode == CLOSE:
            return f"close {int.from_bytes(payload[:2])}"
        if opcode == TEXT:
            frame = json.loads(payload)
            code = frame.get("payload", {}).get("code")
            return f"`{frame['event']}`, `{code}`" if code else f"`{frame['event']}`"
    return "the connection is cut"


def _frames(client: socket.socket, received: bytes) -> Iterator[tuple[int, bytes]]:
    """The server's frames, as opcode and payload."""

    def take(size: int) -> bytes:
        nonlocal received
        while len(received) < size:
            data = client.recv(65536)
            if not data:
                return b""
            received += data
        taken, received = received[:size], received[size:]
        return taken

    while head := take(2):
        size = head[1] & 0x7F
        if size == 126:
            size = int.from_bytes(take(2))
        elif size == 127:
            size = int.from_bytes(take(8))
        yield head[0] & 0x0F, take(size)
