"""The JSON frames, parsed strictly. Unknown keys and events are ignored, as clients must do."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from .ledger import Arrived, Hello
from .positions import Position

STREAM = re.compile(r"[a-z]+(:[A-Za-z0-9_-]{1,64})?")


class Malformed(Exception):
    """A frame that the protocol does not allow."""


@dataclass(frozen=True)
class Other:
    """A frame that is neither hello nor an update: ping, pong, error, close, or an unknown event."""

    event: str
    payload: Any = None


@dataclass(frozen=True)
class Greeting:
    """Hello with its timers: seconds between pings, and the reconnect window in milliseconds."""

    hello: Hello
    ping: float
    retry: float


def parse(text: str) -> Greeting | Arrived | Other:
    """Parse a frame's text. Raises Malformed."""
    try:
        frame = json.loads(text)
    except ValueError as error:
        raise Malformed(f"not JSON: {text[:200]!r}: {error}") from None
    return interpret(frame)


def interpret(frame: Any) -> Greeting | Arrived | Other:
    """Parse a decoded frame. Raises Malformed."""
    if not isinstance(frame, dict) or not isinstance(frame.get("event"), str):
        raise Malformed(f"a frame without an event: {frame!r}")
    if frame["event"] == "hello":
        return _greeting(frame.get("payload"))
    if "stream" in frame or "position" in frame:
        return _update(frame)
    return Other(frame["event"], frame.get("payload"))


def streams(states: Any) -> Hello:
    """Parse the `streams` of a hello or a poll. Raises Malformed."""
    if not isinstance(states, dict):
        raise Malformed(f"streams: {states!r}")
    heads: dict[str, Position] = {}
    recovered: dict[str, bool | None] = {}
    denied: set[str] = set()
    for stream, state in states.items():
        if not STREAM.fullmatch(stream) or not isinstance(state, dict):
            raise Malformed(f"streams: {stream!r}: {state!r}")
        if state.get("denied") is True:
            denied.add(stream)
            continue
        if state.get("recovered") not in (True, False, None) or "denied" in state:
            raise Malformed(f"streams: {stream!r}: {state!r}")
        try:
            heads[stream] = Position.parse(state.get("head", ""))
        except (ValueError, TypeError) as error:
            raise Malformed(f"streams: {stream!r}: {error}") from None
        recovered[stream] = state.get("recovered")
    return Hello(heads, recovered, frozenset(denied))


def _greeting(payload: Any) -> Greeting:
    if not isinstance(payload, dict):
        raise Malformed(f"hello: {payload!r}")
    ping, retry = payload.get("ping"), payload.get("retry")
    if not isinstance(ping, (int, float)) or not isinstance(retry, (int, float)) or ping <= 0 or retry < 0:
        raise Malformed(f"hello: ping {ping!r}, retry {retry!r}")
    return Greeting(streams(payload.get("streams")), float(ping), float(retry))


def _update(frame: dict[str, Any]) -> Arrived:
    try:
        position = Position.parse(frame["position"])
        stream = frame["stream"]
        if not STREAM.fullmatch(stream) or position.offset == 0:
            raise ValueError(f"{stream!r} at {position}")
        return Arrived(stream, position, frame["event"], frame["payload"])
    except (KeyError, TypeError, ValueError) as error:
        raise Malformed(f"update {frame!r}: {error!r}") from None
