"""What one client saw, in order, as it came over the wire. The judge reads this and nothing else."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from .positions import Position


@dataclass(frozen=True)
class Connected:
    """A request for updates went out, with these positions in `since` and for these streams (None: the
    default ones).
    """

    transport: str
    since: dict[str, Position]
    streams: frozenset[str] | None = None
    at: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Hello:
    """Per stream the head and `recovered` (None where it was absent); streams that were denied by name."""

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
    """The connection, or the single poll, is over; the code as in the protocol's table, 1006 when it just
    broke.
    """

    code: int
    detail: str = ""
    at: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Broken:
    """The server said what the protocol does not allow."""

    detail: str
    at: float = field(default_factory=time.monotonic)


Entry = Connected | Hello | Arrived | Ended | Broken


@dataclass
class Ledger:
    """One client's entries. `left` is set when the client went away before the end; `passing` when it may do
    so before it is owed anything.
    """

    client: str
    entries: list[Entry] = field(default_factory=list)
    left: bool = False
    passing: bool = False

    def write(self, entry: Entry) -> None:
        """Add what just happened."""
        self.entries.append(entry)

    @property
    def arrived(self) -> list[Arrived]:
        """The updates alone."""
        return [entry for entry in self.entries if isinstance(entry, Arrived)]

    def events(self, event: str) -> list[Arrived]:
        """The updates of one event."""
        return [update for update in self.arrived if update.event == event]
