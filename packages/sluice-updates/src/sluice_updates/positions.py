"""Positions in streams, and the query string with a client's streams and positions (PROTOCOL: Streams)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from . import streams

MAX_OFFSET: Final = 2**53 - 1
MAX_STREAMS: Final = 64
# The limit of the whole URL. nginx refuses a longer one with 414.
MAX_URL_BYTES: Final = 7 * 1024

_POSITION = re.compile(r"0-0|([1-9][0-9]{0,15})-([0-9a-f]{16})")
_QUOTED_LENGTH = 80


class MalformedQuery(ValueError):
    """The query is malformed. `detail` is the problem, `field` the parameter's name."""

    def __init__(self, detail: str, field: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a stream: after the update with this offset and tag. `ZERO` is before the first update."""

    offset: int
    tag: str

    @classmethod
    def parse(cls, text: str) -> Position:
        """Parse `14-9f3ac1d20b7e4455` or `0-0`. Raises MalformedQuery for anything else."""
        match = _POSITION.fullmatch(text)
        if match is None:
            raise MalformedQuery(f"{_quoted(text)} is not a position, such as 14-9f3ac1d20b7e4455 or 0-0")
        if match[1] is None:
            return ZERO
        offset = int(match[1])
        if offset > MAX_OFFSET:
            raise MalformedQuery(f"{_quoted(text)} is not a position: offsets end at {MAX_OFFSET}")
        return cls(offset, match[2])

    def __str__(self) -> str:
        return f"{self.offset}-{self.tag}"


ZERO: Final = Position(0, "0")


def parse_streams(query: str | bytes) -> list[str] | None:
    """The streams in a query string, in its order; None without a parameter `streams`.

    `query` is the raw query string: Django's `request.META["QUERY_STRING"]`, ASGI's `scope["query_string"]`.
    Raises MalformedQuery.
    """
    value = _parameter(query, "streams")
    if value is None:
        return None
    names = value.split(",")
    _check_count(len(names), "streams")
    seen = set()
    for name in names:
        _check_name(name, "streams")
        if name in seen:
            raise MalformedQuery(f"the stream {name} is named twice", "streams")
        seen.add(name)
    return names


def parse_since(query: str | bytes) -> dict[str, Position]:
    """The positions in a query string, by stream; none if `since` is missing or empty.

    `query` is the raw query string, as for parse_streams. Raises MalformedQuery.
    """
    return parse_positions(_parameter(query, "since") or "")


def parse_positions(text: str) -> dict[str, Position]:
    """Parse `STREAM/OFFSET-TAG[,…]`, the value of `since` or of Last-Event-ID. Raises MalformedQuery."""
    positions: dict[str, Position] = {}
    if not text:
        return positions
    entries = text.split(",")
    _check_count(len(entries), "since")
    for entry in entries:
        name, slash, position = entry.partition("/")
        if not slash:
            raise MalformedQuery(f"{_quoted(entry)} is not STREAM/OFFSET-TAG", "since")
        _check_name(name, "since")
        if name in positions:
            raise MalformedQuery(f"the stream {name} is named twice", "since")
        try:
            positions[name] = Position.parse(position)
        except MalformedQuery as error:
            raise MalformedQuery(error.detail, "since") from None
    return positions


def format_positions(positions: Mapping[str, Position]) -> str:
    """Write positions in the syntax of `since`."""
    return ",".join(f"{name}/{position}" for name, position in positions.items())


def _parameter(query: str | bytes, name: str) -> str | None:
    """The decoded value of a parameter, or None. Raises MalformedQuery if the parameter is repeated."""
    if len(query) > MAX_URL_BYTES:
        raise MalformedQuery(f"the query is longer than {MAX_URL_BYTES} bytes")
    text = query.decode("latin-1") if isinstance(query, bytes) else query
    try:
        values = [
            value for key, value in parse_qsl(text, keep_blank_values=True, errors="strict") if key == name
        ]
    except UnicodeDecodeError:
        raise MalformedQuery("the query is not UTF-8") from None
    if len(values) > 1:
        raise MalformedQuery(f"{name} is given {len(values)} times", name)
    return values[0] if values else None


def _check_count(count: int, field: str) -> None:
    if count > MAX_STREAMS:
        raise MalformedQuery(f"{field} has {count} entries, at most {MAX_STREAMS} are allowed", field)


def _check_name(name: str, field: str) -> None:
    if not streams.is_valid(name):
        raise MalformedQuery(f"{_quoted(name)} is not the name of a stream, such as user:7 or all", field)


def _quoted(text: str) -> str:
    """A client's text for an error message: cut and escaped."""
    return ascii(text if len(text) <= _QUOTED_LENGTH else text[:_QUOTED_LENGTH] + "…")
