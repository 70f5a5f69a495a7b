"""The head of a handshake, and the frames of a client: what the server's own protocol reads."""

from __future__ import annotations

import time

import pytest

from sluice_updates.server import rfc6455, upgrade

HEAD = (
    b"GET /channels/updates/?streams=all HTTP/1.1\r\nHost: example.org\r\nUpgrade: websocket\r\n"
    b"Connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: sluice.v1, other\r\nX_Y: z"
)


def test_a_correct_request_is_read() -> None:
    request = upgrade.upgrade(HEAD)
    assert request is not None
    assert (request.path, request.query_string) == ("/channels/updates/", b"streams=all")
    assert request.accept == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # the example of RFC 6455, 1.3
    assert request.subprotocols == ["sluice.v1", "other"]
    assert (b"host", b"example.org") in request.headers
    assert b"x_y" not in dict(request.headers), "it could pass for another header"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"GET ", b"POST "),
        (b"HTTP/1.1", b"HTTP/1.0"),
        (b"/channels/", b"/%63hannels/"),
        (b"Host: example.org\r\n", b""),
        (b"Host: example.org", b"Host: example.org\r\nHost: evil.example"),
        (b"websocket\r\n", b"h2c\r\n"),
        (b"keep-alive, Upgrade", b"close"),
        (b"Version: 13", b"Version: 12"),
        (b"dGhlIHNhbXBsZSBub25jZQ==", b"short"),
        (b"sluice.v1, other", b"sluice.v1, sluice.v1"),
        (b"X_Y: z", b"Content-Length: 1"),
        (b"X_Y: z", b"X Y: z"),
        (b"X_Y: z", b"X: \x00"),
        (b"X_Y: z", b"X: a\r\n folded"),
    ],
)
def test_anything_unusual_is_left_to_daphne(old: bytes, new: bytes) -> None:
    assert old in HEAD
    assert upgrade.upgrade(HEAD.replace(old, new, 1)) is None


@pytest.mark.parametrize(
    "bad", [b"X: " + b"\t" * 15_000 + b"\x7f", b"Connection: " + b" " * 15_000 + b"x", b"X:" + b" \t" * 7_500]
)
def test_no_head_takes_long_to_read(bad: bytes) -> None:
    began = time.process_time()
    for _ in range(10):
        upgrade.upgrade(HEAD + b"\r\n" + bad)
        upgrade.wants_upgrade(HEAD + b"\r\n" + bad)
    assert time.process_time() - began < 0.5


def test_only_a_request_for_a_websocket_wants_an_upgrade() -> None:
    assert upgrade.wants_upgrade(HEAD)
    assert not upgrade.wants_upgrade(HEAD.replace(b"websocket", b"h2c"))
    assert not upgrade.has_body(HEAD)
    assert upgrade.has_body(HEAD + b"\r\ncontent-length: 3")


def test_empty_fragments_take_no_memory() -> None:
    reader = rfc6455.Reader()
    reader.feed(b"\x01\x80\0\0\0\0" + b"\x00\x80\0\0\0\0" * 10_000)
    assert reader.next() is None
    assert reader._fragments == []
    reader.feed(b"\x80\x82\0\0\0\0ok")
    assert reader.next() == rfc6455.Message(rfc6455.TEXT, b"ok")
    assert reader.is_empty
