"""The counters of this process: plain numbers, changed only on the event loop."""

from __future__ import annotations

from collections import defaultdict

# A name says what is counted. Labels follow the name: `closes{code=4008}`.
counters: defaultdict[str, int] = defaultdict(int)


def count(name: str, amount: int = 1, **labels: object) -> None:
    """Add to a counter."""
    if labels:
        name += "{" + ",".join(f"{key}={value}" for key, value in labels.items()) + "}"
    counters[name] += amount
