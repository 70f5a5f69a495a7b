"""What one client received, in order. It is the judge's only source about the client."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from .positions import Position


@dataclass(frozen=True)
class Connected:
    """The client sent a request for updates, with these positions in `since` and for these streams (None: the
    default streams).
    """

    transport: str
    since: dict[str, Position]
    streams: frozenset[str] | None = None
    at: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Hello:
    """The head and `recovered` of each stream (None if absent), and the names of the denied streams."""

    heads: dict[str, Position]
    recovered: dict[str, bool | None]
    denied: frozenset[str]
    at: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Arrived:
    """One update."""

    stream: str
    position: Position
    event: str
    payload: Any
    at: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Ended:
    """The connection or the single poll ended. `code`: by the protocol's table; 1006 if the connection
    broke.
    """

    code: int
    detail: str = ""
    at: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Broken:
    """The server violated the protocol."""

    detail: str
    at: float = field(default_factory=time.monotonic)


Entry = Connected | Hello | Arrived | Ended | Broken


@dataclass
class Ledger:
    """One client's entries.

    `left`: the client left before the end. `passing`: it may leave before it is owed anything. `anonymous`:
    nobody is signed in.
    """

    client: str
    entries: list[Entry] = field(default_factory=list)
    left: bool = False
    passing: bool = False
    anonymous: bool = False

    def write(self, entry: Entry) -> None:
        """Add an entry."""
        self.entries.append(entry)

    @property
    def arrived(self) -> list[Arrived]:
        """The updates only."""
        return [entry for entry in self.entries if isinstance(entry, Arrived)]

    def events(self, event: str) -> list[Arrived]:
        """The updates with that event."""
        return [update for update in self.arrived if update.event == event]
