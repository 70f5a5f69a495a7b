"""The judge compares what each client received with the table of updates: was every owed update delivered
exactly once and in order?

It applies the checker's rules of PROTOCOL.md. It trusts no client library, and derives all positions from the
raw entries.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from .client.ledger import Arrived, Broken, Connected, Ended, Hello, Ledger
from .client.positions import START, Position

Provoked = Callable[[Ledger, str], bool]
"""Whether the test provoked a `recovered: false` for this client and stream."""


@dataclass(frozen=True)
class Row:
    """One update in the table."""

    tag: str
    event: str
    payload: Any


@dataclass
class Truth:
    """The table, read after the writers stopped: rows by stream and offset, heads, floors (the highest
    trimmed offset).
    """

    rows: dict[str, dict[int, Row]] = field(default_factory=dict)
    heads: dict[str, Position] = field(default_factory=dict)
    floors: dict[str, int] = field(default_factory=dict)

    def head(self, stream: str) -> Position:
        """The stream's last position."""
        return self.heads.get(stream, START)

    def own_faults(self) -> list[str]:
        """Faults of the table itself: offsets must run from the floor to the head without a gap."""
        faults = []
        for stream, rows in self.rows.items():
            expected = range(self.floors.get(stream, 0) + 1, self.head(stream).offset + 1)
            if sorted(rows) != list(expected):
                holes = sorted(set(expected) - set(rows))[:10]
                faults.append(
                    f"the table itself: {stream} should hold {expected}, lacks {holes}, holds {len(rows)}"
                )
            elif rows and rows[max(rows)].tag != self.head(stream).tag:
                faults.append(
                    f"the table itself: {stream} ends with {rows[max(rows)]}, its head is {self.head(stream)}"
                )
        return faults


@dataclass
class Report:
    """Counters, and a sentence about every violation."""

    counts: collections.Counter[str] = field(default_factory=collections.Counter)
    violations: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counted = ", ".join(f"{count} {what}" for what, count in self.counts.items())
        shown = "".join(f"\n  - {violation}" for violation in self.violations[:30])
        more = f"\n  … and {len(self.violations) - 30} more" if len(self.violations) > 30 else ""
        return f"checker: {counted}; {len(self.violations)} violations{shown}{more}"

    def check(self) -> Report:
        """Print the report. Raises AssertionError on any violation."""
        print(self)
        assert not self.violations, str(self)
        return self


def judge(
    truth: Truth,
    ledgers: Iterable[Ledger],
    *,
    published: int,
    provoked: Provoked = lambda ledger, stream: False,
) -> Report:
    """Judge every client. `published`: the number of updates that the test's writers added, by the heads
    before and after.
    """
    report = Report()
    report.counts["updates published"] = published
    report.violations += truth.own_faults()
    if not published:
        report.violations.append("nothing was published: this run shows nothing")
    ledgers = list(ledgers)
    if not ledgers:
        report.violations.append("there was no client: this run shows nothing")
    for ledger in ledgers:
        _Follower(truth, ledger, report, provoked).follow()
    return report


@dataclass
class _Span:
    """A contiguous part of one stream for one client, from `begin` to `position`."""

    begin: Position
    position: Position
    closed: bool = False
    received: list[Arrived] = field(default_factory=list)


class _Follower:
    """Follows one client through its ledger."""

    def __init__(self, truth: Truth, ledger: Ledger, report: Report, provoked: Provoked) -> None:
        self.truth = truth
        self.ledger = ledger
        self.report = report
        self.provoked = provoked
        self.spans: dict[str, list[_Span]] = {}
        self.connected = Connected("none", {})
        self.here: dict[str, Position] = {}  # this connection's position in each stream
        self.gapped: set[str] = set()

    def follow(self) -> None:
        self.report.counts["clients"] += 1
        for entry in self.ledger.entries:
            if isinstance(entry, Connected):
                self.report.counts[f"connections by {entry.transport}"] += 1
                self.connected, self.here, self.gapped = entry, {}, set()
            elif isinstance(entry, Hello):
                self._hello(entry)
            elif isinstance(entry, Arrived):
                self._arrived(entry)
            elif isinstance(entry, Broken):
                self._violation(f"protocol broken: {entry.detail}")
            elif isinstance(entry, Ended):
                self.here, self.gapped = {}, set()
        owed = sum(self._close(stream, spans) for stream, spans in self.spans.items())
        self.report.counts["updates owed"] += owed
        if not owed and not self.ledger.passing:
            self._violation("was owed nothing: it shows nothing")

    def _hello(self, hello: Hello) -> None:
        asked = self.connected.streams
        named = frozenset(hello.heads) | hello.denied
        if asked is not None and named != asked:
            self._violation(f"asked for {sorted(asked)}, hello names {sorted(named)}")
        if self.ledger.anonymous and (personal := sorted(name for name in named if name.startswith("user:"))):
            self._violation(f"nobody is signed in, but hello names {personal}; owed is 4001")
        for stream in hello.denied:
            if stream in self.spans:
                self.spans[stream][-1].closed = True
        for stream, head in hello.heads.items():
            self._greeted(stream, head, self.connected.since.get(stream), hello.recovered[stream])

    def _greeted(self, stream: str, head: Position, since: Position | None, recovered: bool | None) -> None:
        if (since is None) != (recovered is None):
            self._violation(f"{stream}: since {since}, but hello says recovered: {recovered}")
        if since is not None and recovered:
            self.report.counts["recovered"] += 1
            if head.offset < since.offset or (head.offset == since.offset and head != since):
                self._violation(f"{stream}: recovered from {since}, though the head is {head}")
            self.here[stream] = since
            if stream not in self.spans or self.spans[stream][-1].closed:
                self._begin(stream, since)
            return
        if since is not None and recovered is False:
            self.report.counts["not recovered"] += 1
            if not self.provoked(self.ledger, stream):
                self._violation(
                    f"{stream}: recovered: false for {since}, head {head}, and nothing provoked it"
                )
        self.here[stream] = head
        self._begin(stream, head)

    def _begin(self, stream: str, at: Position) -> None:
        spans = self.spans.setdefault(stream, [])
        if spans:
            spans[-1].closed = True
        spans.append(_Span(at, at))

    def _arrived(self, update: Arrived) -> None:
        stream, position = update.stream, update.position
        self.report.counts["updates arrived"] += 1
        if stream not in self.here:
            self._violation(f"{stream}: {position} arrived, a stream that hello did not name")
            return
        if stream in self.gapped:
            return
        known = self.here[stream]
        if position.offset <= known.offset:
            self._violation(
                f"{stream}: {position} arrived again or out of order, after {known} on the same connection"
            )
            return
        if position.offset > known.offset + 1:
            self._violation(f"{stream}: {position} arrived after {known}: a gap")
            self.gapped.add(stream)
            return
        self.here[stream] = position
        span = self.spans[stream][-1]
        if position.offset <= span.position.offset:
            self.report.counts["doubles of another connection"] += 1
            return
        span.position = position
        span.received.append(update)

    def _close(self, stream: str, spans: list[_Span]) -> int:
        """Compare the spans with the table, and return the number of owed updates."""
        last = spans[-1]
        stayed = not (self.ledger.left or last.closed)
        end = self.truth.head(stream) if stayed else last.position
        if last.position != end:
            missing = (
                f"{last.position.offset + 1} … {end.offset}" if end.offset > last.position.offset else "none"
            )
            self._violation(
                f"{stream}: ended at {last.position}, the table at {end}; never arrived: {missing}"
            )
        for span in spans:
            for update in span.received:
                self._compare(stream, update, strictly=span is last)
        return sum(len(span.received) for span in spans[:-1]) + max(0, end.offset - last.begin.offset)

    def _compare(self, stream: str, update: Arrived, *, strictly: bool) -> None:
        offset = update.position.offset
        if offset <= self.truth.floors.get(stream, 0):
            self.report.counts["compared by order only (trimmed)"] += 1
            return
        row = self.truth.rows.get(stream, {}).get(offset)
        if row is None or row.tag != update.position.tag:
            if strictly:
                self._violation(f"{stream}: {update.position} arrived, which the table does not hold ({row})")
            else:
                self.report.counts["of a past that was taken back"] += 1
        elif (row.event, row.payload) != (update.event, update.payload):
            seen = Row(update.position.tag, update.event, update.payload)
            self._violation(f"{stream}: {update.position} arrived as {seen}, the table holds {row}")

    def _violation(self, what: str) -> None:
        self.report.violations.append(f"{self.ledger.client}: {what}")
