"""The client's own rules: positions, frames, back-off."""

from __future__ import annotations

import pytest

from harness.client import frames
from harness.client.backoff import Backoff
from harness.client.ledger import Arrived
from harness.client.positions import START, Position, parse_since, since

TAG = "9f3ac1d20b7e4455"


@pytest.mark.parametrize("text", [f"14-{TAG}", "0-0", f"{2**53 - 1}-{TAG}"])
def test_a_position_survives_its_text(text: str) -> None:
    assert str(Position.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "14",
        "14-",
        f"014-{TAG}",
        f"0-{TAG}",
        "1-0",
        f"1-{TAG.upper()}",
        f"{2**53}-{TAG}",
        f" 1-{TAG}",
        f"1-{TAG}\n",
        f"-1-{TAG}",
    ],
)
def test_anything_else_is_no_position(text: str) -> None:
    with pytest.raises(ValueError):
        Position.parse(text)


def test_since_survives_its_text() -> None:
    positions = {"user:7": Position(14, TAG), "all": START}
    assert since(positions) == f"user:7/14-{TAG},all/0-0"
    assert parse_since(since(positions)) == positions
    with pytest.raises(ValueError):
        parse_since("all/0-0,all/0-0")


def test_the_frames_of_the_protocol_are_read() -> None:
    hello = frames.parse(
        '{"event": "hello", "payload": {"streams": {"user:7": {"head": "14-9f3ac1d20b7e4455",'
        ' "recovered": true},'
        ' "project:9": {"denied": true}}, "ping": 25, "retry": 2000}, "new": 1}'
    )
    assert isinstance(hello, frames.Greeting)
    assert (hello.ping, hello.retry, hello.hello.denied) == (25.0, 2000.0, frozenset({"project:9"}))
    assert (hello.hello.heads, hello.hello.recovered) == ({"user:7": Position(14, TAG)}, {"user:7": True})
    update = frames.parse(
        '{"event": "new-message", "payload": {"message_id": 3}, "stream": "user:7",'
        f' "position": "15-{TAG}"}}'
    )
    assert isinstance(update, Arrived) and update.position.offset == 15
    assert frames.parse('{"event": "ping"}') == frames.Other("ping")


@pytest.mark.parametrize(
    "text",
    [
        "not JSON",
        "[]",
        "{}",
        '{"event": 3}',
        '{"event": "hello", "payload": {"streams": {}, "ping": 25}}',
        '{"event": "hello", "payload": {"streams": {"user:7": {"head": "14"}}, "ping": 25, "retry": 2000}}',
        '{"event": "hello", "payload":'
        ' {"streams": {"user:7": {"head": "0-0", "recovered": "yes"}}, "ping": 25, "retry": 2000}}',
        '{"event": "x", "payload": {}, "stream": "user:7"}',
        '{"event": "x", "payload": {}, "stream": "user:7", "position": "0-0"}',
        f'{{"event": "x", "payload": {{}}, "stream": "User:7", "position": "1-{TAG}"}}',
    ],
)
def test_other_frames_are_malformed(text: str) -> None:
    with pytest.raises(frames.Malformed):
        frames.parse(text)


@pytest.mark.parametrize("code", [4000, 4001, 4003, 4009])
def test_some_codes_forbid_a_reconnect(code: int) -> None:
    assert Backoff().delay(code, 0.0, 2.0) is None


def test_the_backoff_doubles_to_twenty_seconds_with_full_jitter() -> None:
    waits = [[Backoff._limit(tries) for tries in range(8)]]
    assert waits == [[0.5, 1, 2, 4, 8, 10, 10, 10]]
    backoff = Backoff()
    drawn = [backoff.delay(1006, 0.0, 2.0) for _ in range(8)]
    assert all(wait is not None and 0 <= wait <= limit for wait, limit in zip(drawn, waits[0], strict=True))


def test_the_past_changed_twice_is_not_hurried_twice() -> None:
    backoff = Backoff()
    assert backoff.delay(4010, 100.0, 2.0) == 0
    again = backoff.delay(4010, 105.0, 2.0)
    assert again is not None and 0 < again <= 0.5
    assert backoff.delay(4010, 200.0, 2.0) == 0


def test_a_restart_is_spread_over_the_servers_window() -> None:
    wait = Backoff().delay(1012, 0.0, 2.0)
    assert wait is not None and 0 <= wait <= 2


def test_too_many_connections_is_waited_out() -> None:
    wait = Backoff().delay(4013, 0.0, 2.0)
    assert wait is not None and wait >= 30
