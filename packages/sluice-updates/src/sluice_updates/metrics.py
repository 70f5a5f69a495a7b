"""What this process counts, in one place: plain numbers, only ever written on the event loop."""

from __future__ import annotations

from collections import defaultdict

# Names end in what they count. A label is written behind the name: `closes{code=4008}`.
counters: defaultdict[str, int] = defaultdict(int)


def count(name: str, amount: int = 1, **labels: object) -> None:
    """Add to a counter."""
    if labels:
        name += "{" + ",".join(f"{key}={value}" for key, value in labels.items()) + "}"
    counters[name] += amount
