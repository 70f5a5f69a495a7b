"""Positions and the `since` syntax."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_SYNTAX = re.compile(r"(0)-(0)|([1-9][0-9]{0,15})-([0-9a-f]{16})")
_LARGEST = 2**53 - 1


@dataclass(frozen=True)
class Position:
    """An offset and the tag of the update there; `0-0` stands before the first update."""

    offset: int
    tag: str

    @classmethod
    def parse(cls, text: str) -> Position:
        """Parse a position. Raises ValueError on anything else."""
        found = _SYNTAX.fullmatch(text)
        if not found:
            raise ValueError(f"not a position: {text!r}")
        position = cls(int(found[1] or found[3]), found[2] or found[4])
        if position.offset > _LARGEST:
            raise ValueError(f"offset beyond 2^53-1: {text!r}")
        return position

    def __str__(self) -> str:
        return f"{self.offset}-{self.tag}"


START = Position(0, "0")


def since(positions: Mapping[str, Position]) -> str:
    """The `since` parameter's value."""
    return ",".join(f"{stream}/{position}" for stream, position in positions.items())


def parse_since(text: str) -> dict[str, Position]:
    """Parse a `since` value, for the ids of server-sent events. Raises ValueError."""
    positions: dict[str, Position] = {}
    for entry in text.split(",") if text else []:
        stream, slash, position = entry.partition("/")
        if not slash or stream in positions:
            raise ValueError(f"malformed entry {entry!r} in {text!r}")
        positions[stream] = Position.parse(position)
    return positions
