"""Numbers of several processes, in memory that they share: a parent makes it, the children inherit it.

Each process writes to a slot of its own, so none waits for another, and any of them reads all. The memory
is of a fixed size, however often processes are replaced: a new one continues the counters of its slot.
(prometheus_client's own way is a file for each process that there ever was.)
"""

from __future__ import annotations

import mmap
from collections.abc import Collection, Mapping, Sequence


class Slots:
    """`fields` names the numbers of a slot. The values of `gauges` end with the process that wrote them."""

    def __init__(self, fields: Sequence[str], slots: int, gauges: Collection[str] = ()) -> None:
        self.fields = tuple(fields)
        self._gauges = frozenset(gauges)
        self._size = len(self.fields)
        self._count = slots
        self._numbers = memoryview(mmap.mmap(-1, 8 * self._size * slots)).cast("d")

    def __len__(self) -> int:
        return self._count

    def base(self, slot: int) -> dict[str, float]:
        """The counters that a slot has already: its next process adds to them."""
        found = zip(self.fields, self._read(slot), strict=True)
        return {name: 0.0 if name in self._gauges else value for name, value in found}

    def write(self, slot: int, values: Mapping[str, float]) -> None:
        """Write all numbers of a slot."""
        start = slot * self._size
        for index, name in enumerate(self.fields):
            self._numbers[start + index] = values.get(name, 0.0)

    def end(self, slot: int) -> None:
        """The slot's process has ended: its counters stay."""
        self.write(slot, self.base(slot))

    def total(self) -> dict[str, float]:
        """The sums of all slots."""
        slots = [self._read(slot) for slot in range(self._count)]
        return dict(zip(self.fields, map(sum, zip(*slots, strict=True)), strict=True))

    def _read(self, slot: int) -> Sequence[float]:
        start = slot * self._size
        return self._numbers[start : start + self._size].tolist()
